/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/manifest.h"

#include "tests/unit/test.h"

#define D1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define CONFIG \
        "\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"" D1 \
        "\",\"size\":7}"
#define LAYER "{\"mediaType\":\"t\",\"digest\":\"" D2 "\",\"size\":9}"
#define MANIFEST(members) "{\"schemaVersion\":2," CONFIG "," members "}"

static struct oci_manifest *parse(const char *json, const char *type, struct error *e) {
        struct oci_manifest *m = NULL;

        return oci_manifest_parse(&m, json, strlen(json), type, "manifest of x", e) < 0 ? NULL : m;
}

static void test_manifests_and_indexes_are_told_apart(void **state) {
        static const struct {
                const char *json, *type;
                bool is_index;
        } cases[] = {
                { MANIFEST("\"layers\":[]"), NULL, false },
                { MANIFEST("\"layers\":[]"), OCI_TYPE_MANIFEST, false },
                { MANIFEST("\"layers\":[]"), DOCKER_TYPE_MANIFEST "; charset=utf-8", false },
                { MANIFEST("\"layers\":[]"), "text/plain", false },
                { MANIFEST("\"layers\":[]"), "Application/VND.oci.image.manifest.v1+JSON", false },
                { MANIFEST("\"mediaType\":\"" OCI_TYPE_MANIFEST "\""), NULL, false },
                { MANIFEST("\"layers\":null,\"annotations\":null,\"unknown\":[1]"), NULL, false },
                { "{\"schemaVersion\":2,\"manifests\":[]}", NULL, true },
                { "{\"schemaVersion\":2,\"manifests\":[]}", OCI_TYPE_INDEX, true },
                { "{\"schemaVersion\":2,\"manifests\":[],\"mediaType\":\"" DOCKER_TYPE_LIST "\"}",
                  DOCKER_TYPE_LIST, true },
                { "{\"schemaVersion\":2,\"manifests\":null}", NULL, true },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct error e = { 0 };
                _cleanup_(oci_manifest_freep) struct oci_manifest *m =
                    parse(cases[i].json, cases[i].type, &e);

                if (!m)
                        fail_msg("%s: %s", cases[i].json, e.text);
                assert_int_equal(m->is_index, cases[i].is_index);
        }
}

static void test_all_fields_are_read(void **state) {
        struct error e = { 0 };
        _cleanup_(oci_manifest_freep) struct oci_manifest *m = parse(
            MANIFEST("\"artifactType\":\"a\",\"annotations\":{\"k\":\"v\"},\"layers\":[{\"mediaType\":\"t\","
                     "\"digest\":\"" D2 "\",\"size\":9223372036854775807,\"annotations\":{\"x\":\"y\"}}]"),
            NULL, &e);
        char text[DIGEST_TEXT_SIZE];

        (void)state;
        assert_non_null(m);
        assert_string_equal(m->artifact_type, "a");
        assert_string_equal(oci_annotation(m->annotations, "k"), "v");
        assert_null(oci_annotation(m->annotations, "other"));
        assert_null(oci_annotation(NULL, "k"));
        assert_string_equal(m->config.media_type, OCI_TYPE_CONFIG);
        assert_int_equal(m->config.size, 7);
        assert_string_equal(digest_format(&m->config.digest, text), D1);
        assert_int_equal(m->n_layers, 1);
        assert_string_equal(m->layers[0].media_type, "t");
        assert_true(m->layers[0].size == INT64_MAX);
        assert_string_equal(digest_format(&m->layers[0].digest, text), D2);
        assert_string_equal(oci_annotation(m->layers[0].annotations, "x"), "y");
}

static const struct {
        const char *json, *type, *says;
} refused[] = {
        { "", NULL, "manifest of x" },
        { "[]", NULL, "manifest of x" },
        { "{}", NULL, "neither" },
        { "{\"schemaVersion\":2,\"layers\":[]}", NULL, "neither" },
        { "{\"schemaVersion\":1,\"fsLayers\":[]}", NULL, "schema 1" },
        { "{\"schemaVersion\":1," CONFIG "}", NULL, "schemaVersion" },
        { "{" CONFIG "}", NULL, "schemaVersion" },
        { MANIFEST("\"layers\":[]"), "application/vnd.docker.distribution.manifest.v1+prettyjws",
          "schema 1" },
        { MANIFEST("\"layers\":[]"), OCI_TYPE_INDEX, "members" },
        { "{\"schemaVersion\":2,\"manifests\":[]}", OCI_TYPE_MANIFEST, "members" },
        { MANIFEST("\"mediaType\":\"" OCI_TYPE_INDEX "\""), NULL, "members" },
        { MANIFEST("\"manifests\":[]"), NULL, "at once" },
        { "{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}", NULL, "at once" },
        { MANIFEST("\"layers\":{}"), NULL, "layers" },
        { MANIFEST("\"layers\":[7]"), NULL, "layer 1" },
        { MANIFEST("\"layers\":[" LAYER ",{\"mediaType\":\"t\",\"size\":9}]"), NULL, "layer 2" },
        { MANIFEST("\"layers\":[{\"digest\":\"" D1 "\"}]"), NULL, "size" },
        { MANIFEST("\"layers\":[{\"digest\":\"" D1 "\",\"size\":-1}]"), NULL, "size" },
        { MANIFEST("\"layers\":[{\"digest\":\"" D1 "\",\"size\":1.5}]"), NULL, "size" },
        { MANIFEST("\"layers\":[{\"digest\":\"" D1 "\",\"size\":9223372036854775808}]"), NULL, "" },
        { MANIFEST("\"layers\":[{\"digest\":\"sha256:00\",\"size\":1}]"), NULL, "not a digest" },
        { MANIFEST("\"layers\":[{\"digest\":\"sha512:00\",\"size\":1}]"), NULL, "SHA-256" },
        { MANIFEST("\"layers\":[{\"digest\":\"" D1 "\",\"size\":1,\"annotations\":{\"k\":7}}]"), NULL,
          "\"k\"" },
        { MANIFEST("\"annotations\":{\"k\":{}}"), NULL, "\"k\"" },
        { "{\"schemaVersion\":2,\"config\":7}", NULL, "config" },
        { "{\"schemaVersion\":2,\"config\":{\"size\":1}}", NULL, "config" },
        { "{\"schemaVersion\":2,\"schemaVersion\":2," CONFIG "}", NULL, "manifest of x" },
};

static void test_malformed_documents_are_refused_with_the_reason(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
                struct error e = { 0 };
                struct oci_manifest *m = parse(refused[i].json, refused[i].type, &e);

                if (m)
                        fail_msg("%s was accepted", refused[i].json);
                assert_int_equal(e.kind, ERROR_INVALID);
                if (!strstr(e.text, refused[i].says) || !strstr(e.text, "manifest of x"))
                        fail_msg("%s: \"%s\" is not in \"%s\"", refused[i].json, refused[i].says, e.text);
        }
}

static struct oci_manifest *parse_many(size_t n, struct error *e) {
        static const char head[] = "{\"schemaVersion\":2," CONFIG ",\"layers\":[", tail[] = "]}";
        char *json = malloc(sizeof head + sizeof tail + n * sizeof LAYER), *p = json;

        assert_non_null(json);
        p = stpcpy(p, head);
        for (size_t i = 0; i < n; i++)
                p = stpcpy(stpcpy(p, i ? "," : ""), LAYER);
        stpcpy(p, tail);
        struct oci_manifest *m = parse(json, NULL, e);
        free(json);
        return m;
}

static void test_the_number_of_layers_is_capped(void **state) {
        struct error e = { 0 };
        struct oci_manifest *most = parse_many(OCI_LAYERS_MAX, &e),
                            *more = parse_many(OCI_LAYERS_MAX + 1, &e);

        (void)state;
        assert_non_null(most);
        assert_int_equal(most->n_layers, OCI_LAYERS_MAX);
        assert_null(more);
        assert_int_equal(e.kind, ERROR_INVALID);
        oci_manifest_free(most);
}

static void test_the_size_of_a_document_is_capped(void **state) {
        size_t size = OCI_MANIFEST_MAX + 2;
        _cleanup_free_ char *json = malloc(size);
        struct oci_manifest *m = NULL;
        struct error e = { 0 };

        (void)state;
        assert_non_null(json);
        memset(json, ' ', size);
        memcpy(json, MANIFEST("\"layers\":[]"), strlen(MANIFEST("\"layers\":[]")));
        assert_int_equal(oci_manifest_parse(&m, json, OCI_MANIFEST_MAX, NULL, "x", &e), 0);
        oci_manifest_free(m);
        assert_true(oci_manifest_parse(&m, json, OCI_MANIFEST_MAX + 1, NULL, "x", &e) < 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_manifests_and_indexes_are_told_apart),
                cmocka_unit_test(test_all_fields_are_read),
                cmocka_unit_test(test_malformed_documents_are_refused_with_the_reason),
                cmocka_unit_test(test_the_number_of_layers_is_capped),
                cmocka_unit_test(test_the_size_of_a_document_is_capped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
