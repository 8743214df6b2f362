/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/oci/plan_text.h"

#define OCI_LAYER "application/vnd.oci.image.layer.v1."
#define DOCKER_LAYER "application/vnd.docker.image.rootfs."
#define IMAGE(layers) MANIFEST(OCI_TYPE_CONFIG, layers)

static void test_an_image_is_layers_with_whiteouts_below_models(void **state) {
        (void)state;
        assert_plan(IMAGE(LAYER(OCI_LAYER "tar", DIGEST_A, "") "," LAYER(
                        OCI_LAYER "tar+gzip", DIGEST_B, "") "," LAYER(OCI_LAYER "tar+zstd", DIGEST_A, "")),
                    NULL,
                    "modelcar root=models?\n"
                    "tar \"\" whiteouts\n"
                    "tar+gzip \"\" whiteouts\n"
                    "tar+zstd \"\" whiteouts\n");
        assert_plan(MANIFEST(DOCKER_TYPE_CONFIG, LAYER(DOCKER_LAYER "diff.tar.gzip", DIGEST_A,
                                                       "") "," LAYER(DOCKER_LAYER "diff.tar", DIGEST_B, "")),
                    NULL,
                    "modelcar root=models?\n"
                    "tar+gzip \"\" whiteouts\n"
                    "tar \"\" whiteouts\n");
}

static void test_layers_that_an_image_cannot_be_unpacked_from_are_named(void **state) {
        (void)state;
        assert_no_plan(IMAGE(LAYER("application/vnd.oci.image.layer.nondistributable.v1.tar", DIGEST_A, "")),
                       ERROR_INVALID, "nondistributable.v1.tar\" is not in the registry");
        assert_no_plan(IMAGE(LAYER(DOCKER_LAYER "foreign.diff.tar.gzip", DIGEST_A, "")), ERROR_INVALID,
                       "foreign");
        assert_no_plan(IMAGE(LAYER(OCI_LAYER "tar+gzip+encrypted", DIGEST_A, "")), ERROR_INVALID,
                       "encrypted");
        assert_no_plan(IMAGE(LAYER(OCI_LAYER "tar", DIGEST_A, "") "," LAYER("application/x", DIGEST_A, "")),
                       ERROR_INVALID, "layer 2 of type \"application/x\"");
        assert_no_plan(IMAGE(""), ERROR_INVALID, "no layers");
}

#define PACK(layers) MANIFEST("application/vnd.cncf.model.config.v1+json", layers)
#define PACKED(type, digest, path) \
        LAYER("application/vnd.cncf.model." type, digest, NOTE("org.cncf.model.filepath", path))

static void test_a_modelpack_is_files_and_tars(void **state) {
        (void)state;
        assert_plan(
            PACK(PACKED("weight.v1.raw", DIGEST_A, "a/./b") "," PACKED(
                "weight.config.v1.tar", DIGEST_A,
                "x") "," PACKED("doc.v1.tar+gzip", DIGEST_A,
                                "x") "," PACKED("dataset.v1.tar+zstd", DIGEST_A,
                                                "x") "," PACKED("weight.v1.gguf", DIGEST_B, "m.gguf")),
            NULL,
            "modelpack root=\n"
            "raw \"a/b\"\n"
            "tar \"\"\n"
            "tar+gzip \"\"\n"
            "tar+zstd \"\"\n"
            "raw \"m.gguf\"\n");
}

#define META(json) NOTE("org.cncf.model.file.metadata+json", json)
#define RAW(digest, notes) LAYER("application/vnd.cncf.model.weight.v1.raw", digest, notes)

static void test_metadata_gives_mode_time_and_the_name_of_last_resort(void **state) {
        (void)state;
        assert_plan(PACK(RAW(DIGEST_A, META("{\\\"name\\\":\\\"n\\\",\\\"mode\\\":493,\\\"mtime\\\":\\\"2024-"
                                            "01-02T03:04:05.6Z\\\",\\\"typeflag\\\":48}"))),
                    NULL, "modelpack root=\nraw \"n\" 0755 1704164645\n");
        assert_plan(PACK(RAW(DIGEST_A, META("{\\\"name\\\":\\\"n\\\",\\\"mode\\\":36324,\\\"mtime\\\":"
                                            "\\\"2024-01-02T04:04:05+01:00\\\"}"))),
                    NULL, "modelpack root=\nraw \"n\" 0744 1704164645\n");
        assert_plan(PACK(RAW(DIGEST_A, "")), NULL,
                    "modelpack root=\nraw "
                    "\"sha256-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n");
        assert_plan(PACK(RAW(DIGEST_A, META("{\\\"name\\\":\\\"d\\\",\\\"typeflag\\\":5}")) "," RAW(
                        DIGEST_B, META("{\\\"name\\\":\\\"f\\\"}"))),
                    NULL, "modelpack root=\nraw \"f\"\n");
}

static void test_metadata_that_cannot_be_right_is_refused(void **state) {
        (void)state;
        assert_no_plan(PACK(RAW(DIGEST_A, META("{\\\"typeflag\\\":2}"))), ERROR_INVALID,
                       "neither a regular file");
        assert_no_plan(PACK(RAW(DIGEST_A, META("{\\\"typeflag\\\":50}"))), ERROR_INVALID,
                       "neither a regular file");
        assert_no_plan(PACK(RAW(DIGEST_A, META("{\\\"mtime\\\":\\\"yesterday\\\"}"))), ERROR_INVALID,
                       "RFC 3339");
        assert_no_plan(PACK(RAW(DIGEST_A, META("{\\\"mode\\\":-1}"))), ERROR_INVALID, "mode");
        assert_no_plan(PACK(RAW(DIGEST_A, META("not json"))), ERROR_INVALID, "file metadata");
}

static void test_the_older_names_of_modelpack_mean_the_same(void **state) {
        (void)state;
        assert_plan(MANIFEST("application/vnd.cnai.model.config.v1+json",
                             LAYER("application/vnd.cnai.model.weight.v1.raw", DIGEST_A,
                                   NOTE("org.cnai.model.filepath",
                                        "a")) "," LAYER("application/vnd.cnai.model.weight.v1.raw", DIGEST_B,
                                                        NOTE("org.cnai.model.file.metadata",
                                                             "{\\\"name\\\":\\\"b\\\",\\\"mode\\\":256}"))),
                    NULL,
                    "modelpack root=\n"
                    "raw \"a\"\n"
                    "raw \"b\" 0400\n");
}

static void test_unknown_packings_of_a_modelpack_are_named(void **state) {
        static const char *const types[] = { "weight.v1.raw+gzip", "weight.v1.tar+xz", "weight.v1.tarx",
                                             "weight.v2.raw",      "weight.v1.",       "weight" };

        (void)state;
        for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
                char json[1024];

                snprintf(json, sizeof json, PACK(PACKED("%s", DIGEST_A, "a")), types[i]);
                assert_no_plan(json, ERROR_INVALID, types[i]);
        }
        assert_no_plan(PACK(LAYER("application/octet-stream", DIGEST_A, "")), ERROR_INVALID,
                       "application/octet-stream");
}

static void test_paths_that_leave_the_artifact_are_refused(void **state) {
        static const char *const paths[] = { "../a", "a/../../b", "/etc/passwd", "..",
                                             "a/..", ".",         "a\\u0001b" };

        (void)state;
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
                char json[1024];

                snprintf(json, sizeof json, PACK(PACKED("weight.v1.raw", DIGEST_A, "%s")), paths[i]);
                assert_no_plan(json, ERROR_INVALID, "layer 1");
        }
}

static void test_two_things_in_one_place_are_refused_and_both_named(void **state) {
        (void)state;
        assert_no_plan(
            PACK(PACKED("weight.v1.raw", DIGEST_A, "a") "," PACKED("weight.v1.raw", DIGEST_B, "./a")),
            ERROR_INVALID, "both \"a\": " DIGEST_A " and " DIGEST_B);
        assert_no_plan(
            PACK(PACKED("weight.v1.raw", DIGEST_A, "a/b") "," PACKED("weight.v1.raw", DIGEST_A, "a")),
            ERROR_INVALID, "\"a\" is a file, but \"a/b\"");
        assert_no_plan(PACK(PACKED("weight.v1.raw", DIGEST_A, "a") "," PACKED(
                           "weight.v1.raw", DIGEST_A, "a-b") "," PACKED("weight.v1.raw", DIGEST_A,
                                                                        "a.b") "," PACKED("weight.v1.raw",
                                                                                          DIGEST_A, "a/b/c")),
                       ERROR_INVALID, "\"a\" is a file, but \"a/b/c\"");
}

static void test_one_file_twice_is_there_once_and_one_blob_may_be_two_files(void **state) {
        (void)state;
        assert_plan(
            PACK(PACKED("weight.v1.raw", DIGEST_A, "a") "," PACKED("weight.v1.raw", DIGEST_A, "b") "," PACKED(
                "weight.v1.raw", DIGEST_A, "./a") "," PACKED("weight.v1.raw", DIGEST_A, "a-b")),
            NULL,
            "modelpack root=\n"
            "raw \"a\"\n"
            "raw \"b\"\n"
            "raw \"a-b\"\n");
}

static struct oci_selection *selection_of(const char *root, const char *include, const char *exclude) {
        const char *const in[] = { include, NULL }, *const out[] = { exclude, NULL };
        struct oci_selection *s = NULL;

        assert_int_equal(oci_selection_new(&s, root, include ? in : NULL, exclude ? out : NULL, NULL, NULL),
                         0);
        return s;
}

#define TREE \
        PACK(PACKED("weight.v1.raw", DIGEST_A, "m/a.bin") "," PACKED( \
            "weight.v1.raw", DIGEST_A, "m/b.json") "," PACKED("weight.v1.raw", DIGEST_A, \
                                                              "mm") "," PACKED("code.v1.tar", DIGEST_B, \
                                                                               "x"))

static void test_files_that_the_selection_leaves_out_are_not_planned_and_archives_are(void **state) {
        static const struct {
                const char *root, *include, *exclude, *plan;
        } cases[] = {
                { NULL, NULL, NULL,
                  "modelpack root=\nraw \"m/a.bin\"\nraw \"m/b.json\"\nraw \"mm\"\ntar \"\"\n" },
                { "m", NULL, NULL, "modelpack root=m\nraw \"m/a.bin\"\nraw \"m/b.json\"\ntar \"\"\n" },
                { "m", "a.bin", NULL, "modelpack root=m\nraw \"m/a.bin\"\ntar \"\"\n" },
                { "m", NULL, "a.bin", "modelpack root=m\nraw \"m/b.json\"\ntar \"\"\n" },
                { NULL, "m/*", NULL, "modelpack root=\nraw \"m/a.bin\"\nraw \"m/b.json\"\ntar \"\"\n" },
                { "other", NULL, NULL, "modelpack root=other\ntar \"\"\n" },
                { "", "nothing", NULL, "modelpack root=\ntar \"\"\n" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_(oci_selection_freep) struct oci_selection *s =
                    selection_of(cases[i].root, cases[i].include, cases[i].exclude);

                assert_plan(TREE, s, cases[i].plan);
        }
}

static void test_a_selection_of_nothing_is_refused(void **state) {
        _cleanup_(oci_selection_freep) struct oci_selection *s = selection_of(NULL, "nothing", NULL);
        struct error e = { 0 };

        (void)state;
        assert_null(plan_of(PACK(PACKED("weight.v1.raw", DIGEST_A, "a")), s, &e));
        assert_int_equal(e.kind, ERROR_INVALID);
        assert_non_null(strstr(e.text, "leave no file"));
}

static void test_a_root_of_the_users_replaces_the_formats(void **state) {
        _cleanup_(oci_selection_freep) struct oci_selection *whole = selection_of("", NULL, NULL),
                                                            *opt = selection_of("opt/m", NULL, NULL);

        (void)state;
        assert_plan(IMAGE(LAYER(OCI_LAYER "tar", DIGEST_A, "")), whole,
                    "modelcar root=\ntar \"\" whiteouts\n");
        assert_plan(IMAGE(LAYER(OCI_LAYER "tar", DIGEST_A, "")), opt,
                    "modelcar root=opt/m\ntar \"\" whiteouts\n");
}

#define TITLE(type, digest, title) LAYER(type, digest, NOTE("org.opencontainers.image.title", title))
#define UNPACK \
        ",\"annotations\":{\"org.opencontainers.image.title\":\"d\",\"io.deis.oras.content.unpack\":" \
        "\"true\"}"

static void test_an_artifact_of_unknown_type_is_files_by_their_titles(void **state) {
        (void)state;
        assert_plan(
            MANIFEST(
                OCI_TYPE_EMPTY,
                TITLE("text/plain", DIGEST_A, "a.tar.gz") "," TITLE(OCI_LAYER "tar+gzip", DIGEST_B, "b") "," LAYER(
                    OCI_LAYER "tar+gzip", DIGEST_A,
                    UNPACK) "," LAYER(OCI_LAYER "tar", DIGEST_A,
                                      UNPACK) "," LAYER("application/x", DIGEST_A,
                                                        UNPACK) "," LAYER("application/x+zstd", DIGEST_A,
                                                                          UNPACK) "," LAYER(OCI_LAYER
                                                                                            "tar+zstd",
                                                                                            DIGEST_A,
                                                                                            "") "," LAYER("ap"
                                                                                                          "pl"
                                                                                                          "ic"
                                                                                                          "at"
                                                                                                          "io"
                                                                                                          "n/"
                                                                                                          "si"
                                                                                                          "gn"
                                                                                                          "at"
                                                                                                          "ur"
                                                                                                          "e",
                                                                                                          DIGEST_A,
                                                                                                          "")),
            NULL,
            "artifact root=\n"
            "raw \"a.tar.gz\"\n"
            "raw \"b\"\n"
            "tar+gzip \"\"\n"
            "tar \"\"\n"
            "tar+gzip \"\"\n"
            "tar+zstd \"\"\n"
            "tar+zstd \"\"\n");
        assert_no_plan(MANIFEST(OCI_TYPE_EMPTY, LAYER("application/signature", DIGEST_A, "")), ERROR_INVALID,
                       "no layers that are files");
}

#define DOCKER(layers) MANIFEST("application/vnd.docker.ai.model.config.v0.1+json", layers)
#define AI(type, digest, more) LAYER("application/vnd.docker.ai." type, digest, more)

static void test_dockers_models_get_the_names_that_docker_gives_them(void **state) {
        (void)state;
        assert_plan(DOCKER(AI("gguf.v3", DIGEST_A, "") "," AI("license", DIGEST_B, "") "," AI(
                        "mmproj", DIGEST_C, "") "," AI("chat.template.jinja", DIGEST_A,
                                                       "") "," AI("vllm.config.tar", DIGEST_A,
                                                                  "") "," AI("unheard.of", DIGEST_A, "")),
                    NULL,
                    "docker-model root=\n"
                    "raw \"model.gguf\"\n"
                    "raw \"LICENSE\"\n"
                    "raw \"model.mmproj\"\n"
                    "raw \"template.jinja\"\n"
                    "tar \"\"\n");
        assert_plan(DOCKER(AI("safetensors", DIGEST_A, "") "," AI("safetensors", DIGEST_B, "") "," AI(
                        "model.file", DIGEST_C, NOTE("org.cncf.model.filepath", "config.json"))),
                    NULL,
                    "docker-model root=\n"
                    "raw \"model-00001-of-00002.safetensors\"\n"
                    "raw \"model-00002-of-00002.safetensors\"\n"
                    "raw \"config.json\"\n");
}

static void test_ollamas_models_are_recognised_and_declined(void **state) {
        (void)state;
        assert_no_plan(
            MANIFEST(DOCKER_TYPE_CONFIG, LAYER("application/vnd.ollama.image.model", DIGEST_A, "")),
            ERROR_UNIMPLEMENTED, "ollama");
}

static void test_the_artifact_type_tells_the_format_too(void **state) {
        static const struct {
                const char *type;
                enum plan_format format;
        } cases[] = { { "application/vnd.cncf.model.manifest.v1+json", PLAN_MODELPACK },
                      { "application/vnd.cnai.model.manifest.v1+json", PLAN_MODELPACK },
                      { "application/vnd.kitops.modelkit.manifest.v1+json", PLAN_MODELKIT },
                      { "application/x", PLAN_ARTIFACT } };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_artifact_ struct oci_artifact a = { 0 };
                char json[512];

                snprintf(json, sizeof json, "{\"schemaVersion\":2,\"artifactType\":\"%s\",\"config\":%s}",
                         cases[i].type, LAYER(OCI_TYPE_EMPTY, DIGEST_A, ""));
                artifact_parse(&a, json, NULL);
                assert_int_equal(oci_format_of(a.manifest), cases[i].format);
                assert_int_equal(oci_format_needs_config(a.manifest), cases[i].format == PLAN_MODELKIT);
        }
}

static void test_sizes_are_summed_and_must_not_wrap(void **state) {
        static const char big[] = ",\"annotations\":{\"org.opencontainers.image.title\":\"%s\"}}";
        char json[2048], title[2][128];
        struct error e = { 0 };

        (void)state;
        for (int i = 0; i < 2; i++)
                snprintf(title[i], sizeof title[i], big, i ? "b" : "a");
        snprintf(json, sizeof json,
                 "{\"schemaVersion\":2,\"config\":%s,\"layers\":[{\"digest\":\"" DIGEST_A
                 "\",\"size\":9223372036854775807%s,"
                 "{\"digest\":\"" DIGEST_B "\",\"size\":1%s]}",
                 LAYER(OCI_TYPE_EMPTY, DIGEST_C, ""), title[0], title[1]);
        assert_no_plan(json, ERROR_INVALID, "add up");

        _cleanup_(oci_selection_freep) struct oci_selection *s = selection_of(NULL, "b", NULL);
        _cleanup_(model_plan_freep) struct model_plan *plan = plan_of(json, s, &e);
        assert_non_null(plan);
        assert_int_equal(plan->size, 1);
}

static void test_a_plan_says_where_it_is_from(void **state) {
        static const char json[] = "{\"schemaVersion\":2,\"annotations\":{\"k\":\"v\"},\"config\":" LAYER(
            OCI_TYPE_EMPTY, DIGEST_C, "") ",\"layers\":[" TITLE("t", DIGEST_A, "a") "]}";
        struct error e = { 0 };
        _cleanup_(model_plan_freep) struct model_plan *plan = plan_of(json, NULL, &e);
        struct digest digest;

        (void)state;
        assert_non_null(plan);
        assert_int_equal(digest_of(&digest, json, sizeof json - 1), 0);
        assert_true(digest_equal(&plan->manifest, &digest));
        assert_string_equal(plan->reference->text, "r.io/model:v1");
        assert_int_equal(plan->n_sources, 1);
        assert_string_equal(plan->sources[0]->text, "r.io/model:v1");
        assert_string_equal(oci_annotation(plan->annotations, "k"), "v");
        assert_string_equal(plan->blobs[0].media_type, "t");
}

static void test_format_names_parse_back(void **state) {
        (void)state;
        for (int f = 0; f < _PLAN_FORMAT_MAX; f++)
                assert_int_equal(plan_format_parse(plan_format_name((enum plan_format)f)), f);
        assert_true(plan_format_parse("unheard-of") < 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_an_image_is_layers_with_whiteouts_below_models),
                cmocka_unit_test(test_layers_that_an_image_cannot_be_unpacked_from_are_named),
                cmocka_unit_test(test_a_modelpack_is_files_and_tars),
                cmocka_unit_test(test_metadata_gives_mode_time_and_the_name_of_last_resort),
                cmocka_unit_test(test_metadata_that_cannot_be_right_is_refused),
                cmocka_unit_test(test_the_older_names_of_modelpack_mean_the_same),
                cmocka_unit_test(test_unknown_packings_of_a_modelpack_are_named),
                cmocka_unit_test(test_paths_that_leave_the_artifact_are_refused),
                cmocka_unit_test(test_two_things_in_one_place_are_refused_and_both_named),
                cmocka_unit_test(test_one_file_twice_is_there_once_and_one_blob_may_be_two_files),
                cmocka_unit_test(test_files_that_the_selection_leaves_out_are_not_planned_and_archives_are),
                cmocka_unit_test(test_a_selection_of_nothing_is_refused),
                cmocka_unit_test(test_a_root_of_the_users_replaces_the_formats),
                cmocka_unit_test(test_an_artifact_of_unknown_type_is_files_by_their_titles),
                cmocka_unit_test(test_dockers_models_get_the_names_that_docker_gives_them),
                cmocka_unit_test(test_ollamas_models_are_recognised_and_declined),
                cmocka_unit_test(test_the_artifact_type_tells_the_format_too),
                cmocka_unit_test(test_sizes_are_summed_and_must_not_wrap),
                cmocka_unit_test(test_a_plan_says_where_it_is_from),
                cmocka_unit_test(test_format_names_parse_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
