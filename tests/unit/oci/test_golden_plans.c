/* SPDX-License-Identifier: Apache-2.0 */
/* The plans of the artifacts in tests/data, which real tools made. */
#include "tests/unit/oci/plan_text.h"

#include "base/path.h"

#include <fcntl.h>
#include <unistd.h>

static int open_layout(const char *name) {
        char path[4096];

        snprintf(path, sizeof path, TEST_DATA "/%s", name);
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                fail_msg("cannot open %s", path);
        return fd;
}

static char *read_blob(int layout, const struct digest *digest, size_t *len) {
        char hex[DIGEST_HEX_SIZE], name[128], *data;
        struct digest is;

        snprintf(name, sizeof name, "blobs/sha256/%s", digest_hex(digest, hex));
        assert_true(path_read_file(&data, len, layout, name, OCI_MANIFEST_MAX, NULL) >= 0);
        assert_int_equal(digest_of(&is, data, *len), 0);
        assert_true(digest_equal(&is, digest));
        return data;
}

static struct oci_manifest *read_manifest(int layout, const struct digest *digest) {
        struct oci_manifest *m = NULL;
        struct error e = { 0 };
        size_t len;
        _cleanup_free_ char *json = read_blob(layout, digest, &len);

        if (oci_manifest_parse(&m, json, len, NULL, "manifest", &e) < 0)
                fail_msg("%s", e.text);
        return m;
}

static struct digest find_tag(int layout, const char *tag) {
        _cleanup_(oci_manifest_freep) struct oci_manifest *index = NULL;
        _cleanup_free_ char *json = NULL;
        size_t len;

        assert_true(path_read_file(&json, &len, layout, "index.json", OCI_MANIFEST_MAX, NULL) >= 0);
        assert_int_equal(oci_manifest_parse(&index, json, len, NULL, "index", NULL), 0);
        for (size_t i = 0; i < index->n_layers; i++) {
                const char *name =
                    oci_annotation(index->layers[i].annotations, "org.opencontainers.image.ref.name");

                if (name && strcmp(name, tag) == 0)
                        return index->layers[i].digest;
        }
        fail_msg("no tag %s", tag);
        return (struct digest){ 0 };
}

static void read_artifact(struct oci_artifact *a, int layout, const char *tag) {
        a->digest = find_tag(layout, tag);
        a->manifest = read_manifest(layout, &a->digest);
        if (a->manifest->is_index) {
                _cleanup_(oci_manifest_freep) struct oci_manifest *index = a->manifest;
                const struct oci_descriptor *d = NULL;

                assert_int_equal(oci_index_choose(&d, index, "linux/arm64", NULL), 0);
                a->digest = d->digest;
                a->manifest = read_manifest(layout, &a->digest);
        }
        if (oci_format_needs_config(a->manifest))
                a->config = read_blob(layout, &a->manifest->config.digest, &a->config_len);
}

static int fetch(void *userdata, const struct oci_reference *reference, struct oci_artifact *ret,
                 struct error *e) {
        (void)e;
        assert_string_equal(reference->text, "localhost/demo:none");
        read_artifact(ret, *(int *)userdata, reference->tag);
        return 0;
}

/* Sizes and times are the tools', so they are not compared here: the digests hold them. */
static void forget_sizes(struct model_plan *p) {
        for (size_t i = 0; i < p->n_blobs; i++) {
                assert_true(p->blobs[i].size > 0);
                p->blobs[i].size = 0;
                p->blobs[i].mtime = 0;
        }
}

static struct model_plan *plan_tag(const char *layout_name, const char *tag) {
        _cleanup_(oci_reference_freep) struct oci_reference *reference = reference_of("r.io/model");
        _cleanup_artifact_ struct oci_artifact artifact = { 0 };
        _cleanup_close_ int layout = open_layout(layout_name);
        const struct oci_format_input in = {
                .reference = reference, .artifact = &artifact, .fetch = fetch, .userdata = &layout
        };
        struct model_plan *plan = NULL;
        struct error e = { 0 };

        read_artifact(&artifact, layout, tag);
        if (oci_format_plan(&plan, &in, &e) < 0)
                fail_msg("%s: %s", tag, e.text);
        return plan;
}

#define EIGHT(line) line line line line line line line line

static const struct {
        const char *layout, *tag, *plan;
} golden[] = {
        { "images", "plain", "modelcar root=models?\ntar \"\" whiteouts\n" },
        { "images", "gzip", "modelcar root=models?\ntar+gzip \"\" whiteouts\n" },
        { "images", "zstd", "modelcar root=models?\ntar+zstd \"\" whiteouts\n" },
        { "images", "zstd-chunked", "modelcar root=models?\ntar+zstd \"\" whiteouts\n" },
        { "images", "docker", "modelcar root=models?\ntar \"\" whiteouts\n" },
        { "images", "multi-arch", "modelcar root=models?\ntar+gzip \"\" whiteouts\n" },
        { "images", "umoci", "modelcar root=models?\ntar+gzip \"\" whiteouts\n" },
        { "images", "layers",
          "modelcar root=models?\ntar+gzip \"\" whiteouts\ntar+gzip \"\" whiteouts\ntar+gzip \"\" "
          "whiteouts\ntar+gzip \"\" whiteouts\n" },
        { "images", "oras",
          "artifact root=\nraw \"model.safetensors\"\nraw \"config.json\"\ntar+gzip \"\"\nraw \"run.sh\"\n" },
        { "modelkits", "none", "modelkit root=\n" MADE EIGHT("tar \"\"\n") },
        { "modelkits", "gzip", "modelkit root=\n" MADE EIGHT("tar+gzip \"\"\n") },
        { "modelkits", "gzip-fastest", "modelkit root=\n" MADE EIGHT("tar+gzip \"\"\n") },
        { "modelkits", "whole", "modelkit root=\n" MADE "tar \"\"\n" },
        { "modelkits", "child",
          "modelkit root=\n" MADE "tar \"\" @localhost/demo:none\ntar \"\" @localhost/demo:none\ntar \"\" "
          "@localhost/demo:none\n"
          "tar \"\" @localhost/demo:none\ntar \"\"\n" },
        { "modelpacks", "raw",
          "modelpack root=\nraw \"config.json\" 0644\nraw \"tokenizer/merges é.txt\" 0644\nraw "
          "\"tokenizer/tokenizer.json\" 0644\n"
          "raw \"adapter.bin\" 0644\nraw \"model.safetensors\" 0644\nraw \"train.py\" 0644\nraw \"LICENSE\" "
          "0644\nraw \"README.md\" 0644\n" },
        { "modelpacks", "tar", "modelpack root=\n" EIGHT("tar \"\"\n") },
};

static void test_artifacts_of_real_tools_are_planned(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
                _cleanup_(model_plan_freep) struct model_plan *plan =
                    plan_tag(golden[i].layout, golden[i].tag);

                forget_sizes(plan);
                _cleanup_free_ char *text = plan_text(plan);
                if (strcmp(text, golden[i].plan) != 0)
                        fail_msg("%s: the plan is\n%sinstead of\n%s", golden[i].tag, text, golden[i].plan);
        }
}

static void test_the_kitfile_is_the_one_that_kit_writes(void **state) {
        static const char *const tags[] = { "none", "gzip", "gzip-fastest", "whole" };
        _cleanup_close_ int dir = open_layout("");
        _cleanup_free_ char *list = NULL;
        size_t len;

        (void)state;
        assert_true(path_read_file(&list, &len, dir, "modelkits.sha256", 1 << 20, NULL) >= 0);
        for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
                _cleanup_(model_plan_freep) struct model_plan *plan = plan_tag("modelkits", tags[i]);
                char hex[DIGEST_HEX_SIZE], line[512];
                struct digest digest;

                assert_int_equal(plan->n_files, 1);
                assert_int_equal(digest_of(&digest, plan->files[0].data, plan->files[0].len), 0);
                snprintf(line, sizeof line, "%s  %s/Kitfile\n", digest_hex(&digest, hex), tags[i]);
                if (!strstr(list, line))
                        fail_msg("%s: kit does not write\n%s", tags[i], plan->files[0].data);
        }
}

static void test_the_kitfile_of_a_kit_on_a_kit_is_its_own(void **state) {
        _cleanup_(model_plan_freep) struct model_plan *plan = plan_tag("modelkits", "child");

        (void)state;
        assert_int_equal(plan->n_files, 1);
        assert_string_equal(plan->files[0].data, "manifestVersion: 1.0.0\n"
                                                 "package:\n"
                                                 "  name: child\n"
                                                 "  version: 1.0.0\n"
                                                 "model:\n"
                                                 "  name: base\n"
                                                 "  path: localhost/demo:none\n"
                                                 "code:\n"
                                                 "  - path: train.py\n");
        assert_int_equal(plan->files[0].len, strlen(plan->files[0].data));
}

/* "DIGEST  TAG/PATH" for every file, as the tool itself unpacks it. */
static void test_the_raw_files_of_a_modelpack_are_those_that_modctl_unpacks(void **state) {
        _cleanup_(model_plan_freep) struct model_plan *plan = plan_tag("modelpacks", "raw");
        _cleanup_close_ int dir = open_layout("");
        _cleanup_free_ char *list = NULL;
        size_t len, found = 0;

        (void)state;
        assert_true(path_read_file(&list, &len, dir, "modelpacks.sha256", 1 << 20, NULL) >= 0);
        for (size_t i = 0; i < plan->n_blobs; i++) {
                char hex[DIGEST_HEX_SIZE], line[512];

                snprintf(line, sizeof line, "%s  raw/%s\n", digest_hex(&plan->blobs[i].digest, hex),
                         plan->blobs[i].path);
                if (!strstr(list, line))
                        fail_msg("modctl does not unpack %s", line);
        }
        for (const char *p = list; (p = strstr(p, "  raw/")); p++)
                found++;
        assert_int_equal(plan->n_blobs, found);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_artifacts_of_real_tools_are_planned),
                cmocka_unit_test(test_the_kitfile_is_the_one_that_kit_writes),
                cmocka_unit_test(test_the_kitfile_of_a_kit_on_a_kit_is_its_own),
                cmocka_unit_test(test_the_raw_files_of_a_modelpack_are_those_that_modctl_unpacks),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
