/* SPDX-License-Identifier: Apache-2.0 */
/* ModelKits, and those that build on others: a registry of kits made of JSON stands in for the client. */
#include "tests/unit/oci/plan_text.h"

#define TYPE "application/vnd.kitops.modelkit."
#define KIT(layers) MANIFEST(TYPE "config.v1+json", layers)
#define INFO(path, digest) "{\"path\":\"" path "\",\"digest\":\"" digest "\"}"
#define DIGEST_D "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

struct kit {
        const char *reference, *manifest, *config;
};

static int fetch(void *userdata, const struct oci_reference *reference, struct oci_artifact *ret,
                 struct error *e) {
        for (const struct kit *k = userdata; k && k->reference; k++)
                if (strcmp(k->reference, reference->text) == 0) {
                        artifact_parse(ret, k->manifest, k->config);
                        return 0;
                }
        return error_set(e, ERROR_NOT_FOUND, "no such kit");
}

static struct model_plan *plan_kit(const char *manifest, const char *config, const struct kit *others,
                                   struct error *e) {
        _cleanup_(oci_reference_freep) struct oci_reference *reference = reference_of("r.io/kit:v1");
        _cleanup_artifact_ struct oci_artifact artifact = { 0 };
        const struct oci_format_input in = {
                .reference = reference, .artifact = &artifact, .fetch = fetch, .userdata = (void *)others
        };
        struct model_plan *plan = NULL;

        artifact_parse(&artifact, manifest, config);
        return oci_format_plan(&plan, &in, e) < 0 ? NULL : plan;
}

static void assert_kit(const char *manifest, const char *config, const struct kit *others,
                       const char *expected) {
        struct error e = { 0 };
        _cleanup_(model_plan_freep) struct model_plan *plan = plan_kit(manifest, config, others, &e);

        if (!plan)
                fail_msg("%s", e.text);
        _cleanup_free_ char *text = plan_text(plan);
        assert_string_equal(text, expected);
}

static void assert_no_kit(const char *manifest, const char *config, const struct kit *others,
                          enum error_kind kind, const char *says) {
        struct error e = { 0 };
        struct model_plan *plan = plan_kit(manifest, config, others, &e);

        if (plan)
                fail_msg("%s with %s was accepted", manifest, config ? config : "nothing");
        if (e.kind != kind || !strstr(e.text, says))
                fail_msg("\"%s\" is not in \"%s\" (kind %d)", says, e.text, (int)e.kind);
}

static void test_tars_of_kits_with_layer_info_go_to_the_root(void **state) {
        (void)state;
        assert_kit(
            KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "") "," LAYER(
                TYPE "modelpart.v1.tar+gzip", DIGEST_B, "") "," LAYER(TYPE "docs.v1.tar+zstd", DIGEST_C, "")),
            "{\"model\":{\"path\":\"sub/m.bin\",\"digest\":\"" DIGEST_A
            "\",\"parts\":[" INFO("sub/p", DIGEST_B) "]},\"docs\":[" INFO("R.md", DIGEST_C) "]}",
            NULL,
            "modelkit root=\n" MADE "tar \"\"\n"
            "tar+gzip \"\"\n"
            "tar+zstd \"\"\n");
}

static void test_tars_of_kits_without_layer_info_go_beside_their_entry(void **state) {
        (void)state;
        assert_kit(KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "") "," LAYER(
                       TYPE "code.v1.tar", DIGEST_B,
                       "") "," LAYER(TYPE "dataset.v1.tar", DIGEST_C,
                                     "") "," LAYER(TYPE "code.v1.tar", DIGEST_D,
                                                   "") "," LAYER(TYPE "modelpart.v1.tar", DIGEST_D, "")),
                   "{\"model\":{\"path\":\"a/b/m.bin\",\"parts\":[{\"path\":\"a/p\"}]},"
                   "\"code\":[{\"path\":\"x\"},{\"path\":\"./y/z/\"}],\"datasets\":[{\"path\":\".\"}]}",
                   NULL,
                   "modelkit root=\n" MADE "tar \"a/b\"\n"
                   "tar \"\"\n"
                   "tar \"\"\n"
                   "tar \"y\"\n"
                   "tar \"a\"\n");
        assert_no_kit(KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "")), "{\"model\":{\"path\":\"../../x/y\"}}",
                      NULL, ERROR_INVALID, "..");
}

static void test_raw_layers_are_named_by_annotation_or_kitfile(void **state) {
        (void)state;
        assert_kit(
            KIT(LAYER(TYPE "model.v1.raw", DIGEST_A, NOTE("org.cncf.model.filepath", "x/m.bin")) "," LAYER(
                TYPE "docs.v1.raw+gzip", DIGEST_B,
                "") "," LAYER(TYPE "mcp.v1.raw", DIGEST_C, "") "," LAYER(TYPE "code.v1.raw+zstd", DIGEST_D,
                                                                         "")),
            "{\"model\":" INFO("x/m.bin", DIGEST_A) ",\"docs\":[" INFO("R.md", DIGEST_B) "," INFO(
                "S.md", DIGEST_B) "],"
                                  "\"mcpServers\":[" INFO("s.mcpb", DIGEST_C) "],\"prompts\":[" INFO(
                                      "p.md", DIGEST_D) "]}",
            NULL,
            "modelkit root=\n" MADE "raw \"x/m.bin\"\n"
            "raw+gzip \"R.md\"\n"
            "raw+gzip \"S.md\"\n"
            "raw \"s.mcpb\"\n"
            "raw+zstd \"p.md\"\n");
        assert_no_kit(KIT(LAYER(TYPE "model.v1.raw", DIGEST_A, "")), "{}", NULL, ERROR_INVALID,
                      "which file it is");
}

static void test_prereleases_are_tars_at_the_root(void **state) {
        (void)state;
        assert_kit(MANIFEST("application/vnd.jozu.model.config.v1+json",
                            LAYER("application/vnd.jozu.model.content.v1.tar+gzip", DIGEST_A, "")),
                   "{\"model\":{\"path\":\"m\"}}", NULL, "modelkit root=\n" MADE "tar+gzip \"\"\n");
}

static void test_malformed_kits_are_refused(void **state) {
        static const struct {
                const char *manifest, *config, *says;
        } cases[] = {
                { KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "")), "[]", "Kitfile" },
                { KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "")), "{\"model\":7}", "model" },
                { KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "")), "{\"code\":[7]}", "code" },
                { KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "")), "{\"code\":{}}", "code" },
                { KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "")),
                  "{\"docs\":[{\"path\":\"a\",\"digest\":\"sha256:0\"}]}", "docs" },
                { KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "")),
                  "{\"model\":" INFO("m", DIGEST_A) ",\"docs\":[" INFO("lost", DIGEST_B) "]}", "\"lost\"" },
                { KIT(LAYER(TYPE "model.v1.tar+xz", DIGEST_A, "")), "{}", "model.v1.tar+xz" },
                { KIT(LAYER("application/x", DIGEST_A, "")), "{}", "application/x" },
                { KIT(""), "{\"model\":{\"path\":\"m.bin\"}}", "no layers" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                assert_no_kit(cases[i].manifest, cases[i].config, NULL, ERROR_INVALID, cases[i].says);
        assert_no_kit(KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "")), NULL, NULL, ERROR_INVALID, "empty");
}

/* ---- the Kitfile ---- */

#define RAW(path) \
        KIT(LAYER(TYPE "model.v1.raw", DIGEST_A, NOTE("org.cncf.model.filepath", path)) "," LAYER( \
            TYPE "code.v1.raw", DIGEST_B, NOTE("org.cncf.model.filepath", "x/y")))

static void test_the_selection_applies_to_the_kitfile(void **state) {
        static const struct {
                const char *manifest, *root, *include, *exclude, *plan;
        } cases[] = {
                { RAW("a"), NULL, NULL, "Kitfile", "modelkit root=\nraw \"a\"\nraw \"x/y\"\n" },
                { RAW("a"), NULL, "x/**", NULL, "modelkit root=\nraw \"x/y\"\n" },
                { RAW("a"), NULL, "[Ka]*", NULL, "modelkit root=\n" MADE "raw \"a\"\n" },
                { RAW("a"), "x", NULL, NULL, "modelkit root=x\nraw \"x/y\"\n" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                const char *const include[] = { cases[i].include, NULL }, *const exclude[] = {
                        cases[i].exclude, NULL
                };
                _cleanup_(oci_selection_freep) struct oci_selection *selection = NULL;
                _cleanup_(oci_reference_freep) struct oci_reference *reference = reference_of("r.io/kit:v1");
                _cleanup_artifact_ struct oci_artifact artifact = { 0 };
                _cleanup_(model_plan_freep) struct model_plan *plan = NULL;

                assert_int_equal(oci_selection_new(&selection, cases[i].root, include, exclude, NULL, NULL),
                                 0);
                artifact_parse(&artifact, cases[i].manifest, "{}");
                assert_int_equal(oci_format_plan(&plan,
                                                 &(struct oci_format_input){ .reference = reference,
                                                                             .artifact = &artifact,
                                                                             .selection = selection },
                                                 NULL),
                                 0);
                _cleanup_free_ char *text = plan_text(plan);
                assert_string_equal(text, cases[i].plan);
        }
}

static void test_a_layer_in_the_place_of_the_kitfile_wins(void **state) {
        (void)state;
        assert_kit(RAW("Kitfile"), "{}", NULL, "modelkit root=\nraw \"Kitfile\"\nraw \"x/y\"\n");
        assert_kit(RAW("Kitfile/z"), "{}", NULL, "modelkit root=\nraw \"Kitfile/z\"\nraw \"x/y\"\n");
        assert_kit(RAW("Kitfile2"), "{}", NULL, "modelkit root=\n" MADE "raw \"Kitfile2\"\nraw \"x/y\"\n");
}

/* ---- kits on kits ---- */

#define CHILD KIT(LAYER(TYPE "code.v1.tar", DIGEST_C, ""))
#define CHILD_OF(reference) "{\"model\":{\"path\":\"" reference "\"},\"code\":[" INFO("c", DIGEST_C) "]}"

static const struct kit family[] = {
        { "r.io/base:v1",
          KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "") "," LAYER(TYPE "docs.v1.tar", DIGEST_B, "") "," LAYER(
              TYPE "modelpart.v1.raw", DIGEST_D, "")),
          "{\"model\":{\"path\":\"m\",\"digest\":\"" DIGEST_A
          "\",\"parts\":[" INFO("p", DIGEST_D) "]},\"docs\":[" INFO("d", DIGEST_B) "]}" },
        { "s.io/tuned:latest", KIT(LAYER(TYPE "modelpart.v1.tar", DIGEST_B, "")),
          "{\"model\":{\"path\":\"r.io/base:v1\",\"parts\":[" INFO("lora", DIGEST_B) "]}}" },
        { "r.io/loop:v1", KIT(LAYER(TYPE "docs.v1.tar", DIGEST_B, "")),
          "{\"model\":{\"path\":\"r.io/loop:v1\"},\"docs\":[" INFO("d", DIGEST_B) "]}" },
        { "r.io/image:v1", MANIFEST(OCI_TYPE_CONFIG, ""), NULL },
        { 0 },
};

static void test_a_kit_on_a_kit_takes_its_model_and_parts_from_there(void **state) {
        (void)state;
        assert_kit(CHILD, CHILD_OF("r.io/base:v1"), family,
                   "modelkit root=\n" MADE "tar \"\" @r.io/base:v1\n"
                   "raw \"p\" @r.io/base:v1\n"
                   "tar \"\"\n");
}

static void test_grandparents_come_first_and_each_from_its_repository(void **state) {
        (void)state;
        assert_kit(CHILD, CHILD_OF("s.io/tuned:latest"), family,
                   "modelkit root=\n" MADE "tar \"\" @r.io/base:v1\n"
                   "raw \"p\" @r.io/base:v1\n"
                   "tar \"\" @s.io/tuned:latest\n"
                   "tar \"\"\n");
}

static void test_a_model_with_a_layer_of_its_own_is_a_file_whatever_its_name(void **state) {
        (void)state;
        assert_kit(KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "")),
                   "{\"model\":" INFO("r.io/base:v1", DIGEST_A) "}", NULL,
                   "modelkit root=\n" MADE "tar \"\"\n");
        assert_kit(KIT(LAYER(TYPE "model.v1.tar", DIGEST_A, "")), "{\"model\":{\"path\":\"a:b\"}}", NULL,
                   "modelkit root=\n" MADE "tar \"\"\n");
}

static void test_parents_that_are_nowhere_or_nothing_are_refused(void **state) {
        (void)state;
        assert_no_kit(CHILD, CHILD_OF("r.io/base:v2"), family, ERROR_NOT_FOUND,
                      "parent kit r.io/base:v2: no such kit");
        assert_no_kit(CHILD, CHILD_OF("r.io/image:v1"), family, ERROR_INVALID, "not a ModelKit");
        assert_no_kit(CHILD, CHILD_OF("base:v1"), family, ERROR_INVALID, "does not name the registry");
        assert_no_kit(CHILD, CHILD_OF("team/base:v1"), family, ERROR_INVALID, "does not name the registry");
        assert_no_kit(CHILD, CHILD_OF("oci-layout:/etc:x"), family, ERROR_INVALID,
                      "does not name the registry");
        assert_no_kit(CHILD, CHILD_OF("r.io/A:v1"), family, ERROR_INVALID, "path of the model");
}

static void test_a_kit_that_builds_on_itself_is_refused(void **state) {
        (void)state;
        assert_no_kit(CHILD, CHILD_OF("r.io/loop:v1"), family, ERROR_INVALID, "builds on itself");
}

/* Every answer is another kit that builds on the next one. */
static int fetch_endless(void *userdata, const struct oci_reference *reference, struct oci_artifact *ret,
                         struct error *e) {
        unsigned *n = userdata;
        char manifest[2048], config[256];

        (void)reference;
        (void)e;
        snprintf(manifest, sizeof manifest, "{\"n\":%u,%s", ++*n, &CHILD[1]);
        snprintf(config, sizeof config, "{\"model\":{\"path\":\"r.io/kit:v%u\"}}", *n);
        artifact_parse(ret, manifest, config);
        return 0;
}

static void test_the_line_of_ancestors_has_an_end(void **state) {
        _cleanup_(oci_reference_freep) struct oci_reference *reference = reference_of("r.io/kit:v0");
        _cleanup_artifact_ struct oci_artifact artifact = { 0 };
        unsigned fetched = 0;
        const struct oci_format_input in = {
                .reference = reference, .artifact = &artifact, .fetch = fetch_endless, .userdata = &fetched
        };
        struct model_plan *plan = NULL;
        struct error e = { 0 };

        (void)state;
        artifact_parse(&artifact, CHILD, CHILD_OF("r.io/kit:v0"));
        assert_true(oci_format_plan(&plan, &in, &e) < 0);
        assert_int_equal(e.kind, ERROR_INVALID);
        assert_int_equal(fetched, 10);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_tars_of_kits_with_layer_info_go_to_the_root),
                cmocka_unit_test(test_tars_of_kits_without_layer_info_go_beside_their_entry),
                cmocka_unit_test(test_raw_layers_are_named_by_annotation_or_kitfile),
                cmocka_unit_test(test_prereleases_are_tars_at_the_root),
                cmocka_unit_test(test_malformed_kits_are_refused),
                cmocka_unit_test(test_the_selection_applies_to_the_kitfile),
                cmocka_unit_test(test_a_layer_in_the_place_of_the_kitfile_wins),
                cmocka_unit_test(test_a_kit_on_a_kit_takes_its_model_and_parts_from_there),
                cmocka_unit_test(test_grandparents_come_first_and_each_from_its_repository),
                cmocka_unit_test(test_a_model_with_a_layer_of_its_own_is_a_file_whatever_its_name),
                cmocka_unit_test(test_parents_that_are_nowhere_or_nothing_are_refused),
                cmocka_unit_test(test_a_kit_that_builds_on_itself_is_refused),
                cmocka_unit_test(test_the_line_of_ancestors_has_an_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
