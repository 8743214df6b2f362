/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/manifest.h"

#include "base/text.h"
#include "tests/unit/test.h"

#define D "\"digest\":\"sha256:1111111111111111111111111111111111111111111111111111111111111111\""
#define TYPED(type, n, more) "{\"mediaType\":\"" type "\"," D ",\"size\":" #n more "}"
#define ENTRY(n, os, arch, more) \
        TYPED(OCI_TYPE_MANIFEST, n, ",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch "\"" more "}")
#define VARIANT(v) ",\"variant\":\"" v "\""
#define BARE(n) TYPED(OCI_TYPE_MANIFEST, n, "")
#define ATTESTATION(n) \
        TYPED(OCI_TYPE_MANIFEST, n, \
              ",\"platform\":{\"os\":\"unknown\",\"architecture\":\"unknown\"}," \
              "\"annotations\":{\"vnd.docker.reference.type\":\"attestation-manifest\"}")

/* The sizes of the entries serve as their names. */
static const struct {
        const char *entries, *platform;
        unsigned chosen; /* 0: none */
} cases[] = {
        { ENTRY(1, "linux", "arm64", "") "," ENTRY(2, "linux", "amd64", ""), "linux/amd64", 2 },
        { ENTRY(1, "linux", "arm64", "") "," ENTRY(2, "linux", "amd64", ""), "linux/arm64", 1 },
        { ENTRY(1, "linux", "arm64", "") "," ENTRY(2, "linux", "amd64", ""), "linux/s390x", 0 },
        { ENTRY(1, "windows", "amd64", "") "," ENTRY(2, "linux", "amd64", ""), "linux/amd64", 2 },
        { ENTRY(1, "linux", "amd64", "") "," ENTRY(2, "linux", "amd64", ""), "linux/amd64", 1 },
        { ENTRY(1, "linux", "arm64", VARIANT("v8")), "linux/arm64", 1 },
        { ENTRY(1, "linux", "arm64", ""), "linux/arm64/v8", 1 },
        { ENTRY(1, "linux", "arm64", ""), "linux/arm64/v9", 0 },
        { ENTRY(1, "linux", "arm", VARIANT("v6")) "," ENTRY(2, "linux", "arm", VARIANT("v7")), "linux/arm",
          2 },
        { ENTRY(1, "linux", "arm", VARIANT("v6")) "," ENTRY(2, "linux", "arm", VARIANT("v7")), "linux/arm/v6",
          1 },
        { ENTRY(1, "linux", "arm", VARIANT("v5")), "linux/arm", 1 },
        { ENTRY(1, "linux", "amd64", VARIANT("v3")) "," ENTRY(2, "linux", "amd64", ""), "linux/amd64", 2 },
        { ENTRY(1, "linux", "amd64", VARIANT("v3")) "," ENTRY(2, "linux", "amd64", VARIANT("v1")),
          "linux/amd64", 2 },
        { ATTESTATION(1) "," ENTRY(2, "linux", "amd64", "") "," ATTESTATION(3), "linux/amd64", 2 },
        { ATTESTATION(1), "unknown/unknown", 0 },
        { BARE(1), "linux/amd64", 1 },
        { BARE(1) "," ATTESTATION(2), "linux/amd64", 1 },
        { BARE(1) "," BARE(2), "linux/amd64", 0 },
        { BARE(1) "," ENTRY(2, "linux", "amd64", ""), "linux/amd64", 2 },
        { ENTRY(1, "linux", "arm64", ""), "linux/amd64", 0 },
        { TYPED(OCI_TYPE_MANIFEST, 1,
                ",\"artifactType\":\"application/"
                "x\",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\"}"),
          "linux/amd64", 1 },
        { TYPED(OCI_TYPE_MANIFEST, 1,
                ",\"artifactType\":\"" OCI_TYPE_CONFIG
                "\",\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\"}"),
          "linux/amd64", 0 },
        { TYPED(OCI_TYPE_INDEX, 1, ",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}"),
          "linux/amd64", 1 },
        { TYPED("application/vnd.example", 1, "") "," BARE(2), "linux/amd64", 2 },
        { TYPED("application/vnd.example", 1, ""), "linux/amd64", 0 },
        { TYPED(OCI_TYPE_MANIFEST, 1, ",\"platform\":null"), "linux/amd64", 1 },
        { "", "linux/amd64", 0 },
};

static struct oci_manifest *index_of(const char *entries) {
        struct oci_manifest *m = NULL;
        struct error e = { 0 };
        char json[2048];

        snprintf(json, sizeof json, "{\"schemaVersion\":2,\"manifests\":[%s]}", entries);
        if (oci_manifest_parse(&m, json, strlen(json), NULL, "index", &e) < 0)
                fail_msg("%s: %s", entries, e.text);
        return m;
}

static void test_the_entry_for_a_platform_is_chosen(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_(oci_manifest_freep) struct oci_manifest *m = index_of(cases[i].entries);
                const struct oci_descriptor *d = NULL;
                struct error e = { 0 };

                int r = oci_index_choose(&d, m, cases[i].platform, &e);
                unsigned chosen = d ? (unsigned)d->size : 0;
                if (chosen != cases[i].chosen)
                        fail_msg("%s of %s: %u instead of %u (%s)", cases[i].platform, cases[i].entries,
                                 chosen, cases[i].chosen, e.text);
                assert_int_equal(r, chosen ? 0 : -ENOENT);
        }
}

static void test_the_error_lists_what_there_is(void **state) {
        _cleanup_(oci_manifest_freep) struct oci_manifest *m = index_of(ENTRY(
            1, "linux", "arm64", VARIANT("v8")) "," ENTRY(2, "windows", "amd64", "") "," ATTESTATION(3));
        const struct oci_descriptor *d = NULL;
        struct error e = { 0 };

        (void)state;
        assert_true(oci_index_choose(&d, m, "linux/amd64", &e) < 0);
        assert_int_equal(e.kind, ERROR_NOT_FOUND);
        assert_non_null(strstr(e.text, "linux/amd64"));
        assert_non_null(strstr(e.text, "linux/arm64/v8, windows/amd64"));
        assert_null(strstr(e.text, "unknown"));
}

static void test_without_a_platform_the_nodes_is_taken(void **state) {
        _cleanup_(oci_manifest_freep) struct oci_manifest *m = NULL;
        const char *node = oci_platform_of_node();
        const struct oci_descriptor *d = NULL;
        char entries[1024], os[32], arch[32];

        (void)state;
        assert_true(text_starts_with(node, "linux/"));
        assert_int_equal(sscanf(node, "%31[^/]/%31[^/]", os, arch), 2);
        snprintf(entries, sizeof entries,
                 "%s,{" D ",\"size\":2,\"platform\":{\"os\":\"%s\",\"architecture\":\"%s\"}}",
                 ENTRY(1, "plan9", "mips", ""), os, arch);
        m = index_of(entries);
        assert_int_equal(oci_index_choose(&d, m, NULL, NULL), 0);
        assert_int_equal(d->size, 2);
}

static void test_a_malformed_platform_is_refused(void **state) {
        static const char *const bad[] = { "",
                                           "linux",
                                           "linux/",
                                           "/amd64",
                                           "linux/arm64/",
                                           "a/b/c/d",
                                           "linux/0123456789012345678901234567890123456789" };
        _cleanup_(oci_manifest_freep) struct oci_manifest *m = index_of(BARE(1));

        (void)state;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                const struct oci_descriptor *d = NULL;
                struct error e = { 0 };

                if (oci_index_choose(&d, m, bad[i], &e) >= 0)
                        fail_msg("%s was accepted", bad[i]);
                assert_int_equal(e.kind, ERROR_INVALID);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_entry_for_a_platform_is_chosen),
                cmocka_unit_test(test_the_error_lists_what_there_is),
                cmocka_unit_test(test_without_a_platform_the_nodes_is_taken),
                cmocka_unit_test(test_a_malformed_platform_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
