/* SPDX-License-Identifier: Apache-2.0 */
/* OCI image layouts on disk, good ones made by kit and modctl and bad ones made here. */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "oci/blob.h"
#include "oci/layout.h"

#define EMPTY "{}"
#define EMPTY_HEX "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define BLOB "blobs/sha256/" EMPTY_HEX
#define ENTRY(tag) \
        "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:" EMPTY_HEX \
        "\",\"size\":2,\"annotations\":{\"org.opencontainers.image.ref.name\":\"" tag "\"}}"
#define INDEX(entries) \
        "{\"schemaVersion\":2,\"mediaType\":\"application/" \
        "vnd.oci.image.index.v1+json\",\"manifests\":[" entries "]}"

struct layout {
        char dir[64];
        int fd;
        struct oci_reference *reference;
        struct error e;
};

static void put(struct layout *l, const char *name, const char *text) {
        assert_int_equal(path_write_file(l->fd, name, text, strlen(text), 0644, &l->e), 0);
}

static void refer(struct layout *l, const char *rest) {
        char text[256];

        oci_reference_free(l->reference);
        l->reference = NULL;
        snprintf(text, sizeof text, "oci-layout:%s%s", l->dir, rest);
        if (oci_reference_parse(&l->reference, text, &l->e) < 0)
                fail_msg("%s: %s", text, l->e.text);
}

static int set_up(void **state) {
        struct layout *l = calloc(1, sizeof *l);
        int blobs;

        snprintf(l->dir, sizeof l->dir, "/tmp/modelstage-test-XXXXXX");
        assert_non_null(mkdtemp(l->dir));
        l->fd = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(l->fd >= 0);
        put(l, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
        put(l, "index.json", INDEX(ENTRY("a") "," ENTRY("b")));
        blobs = path_make_dirs(l->fd, "blobs/sha256", 0755, false, &l->e);
        assert_true(blobs >= 0);
        assert_int_equal(path_write_file(blobs, EMPTY_HEX, EMPTY, 2, 0644, &l->e), 0);
        close(blobs);
        refer(l, ":a");
        *state = l;
        return 0;
}

static int tear_down(void **state) {
        struct layout *l = *state;

        oci_reference_free(l->reference);
        close(l->fd);
        int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_int_equal(path_remove_tree(tmp, path_base(l->dir), NULL), 0);
        close(tmp);
        free(l);
        return 0;
}

static struct digest empty_digest(void) {
        struct digest d;

        assert_int_equal(digest_parse_hex(&d, EMPTY_HEX), 0);
        return d;
}

static void test_a_tag_names_its_entry(void **state) {
        struct digest digest, expected = empty_digest();
        struct layout *l = *state;

        assert_int_equal(oci_layout_resolve(&digest, l->reference, NULL, &l->e), 0);
        assert_true(digest_equal(&digest, &expected));
}

static void test_an_unknown_tag_is_told_which_there_are(void **state) {
        struct layout *l = *state;
        struct digest digest;

        refer(l, ":c");
        assert_true(oci_layout_resolve(&digest, l->reference, NULL, &l->e) < 0);
        assert_int_equal(l->e.kind, ERROR_NOT_FOUND);
        assert_non_null(strstr(l->e.text, "a, b"));
}

static void test_without_a_tag_there_must_be_one_entry(void **state) {
        struct layout *l = *state;
        struct digest digest;

        refer(l, "");
        assert_true(oci_layout_resolve(&digest, l->reference, NULL, &l->e) < 0);
        assert_int_equal(l->e.kind, ERROR_NOT_FOUND);
        put(l, "index.json", INDEX(ENTRY("a")));
        assert_int_equal(oci_layout_resolve(&digest, l->reference, NULL, &l->e), 0);
}

static void test_an_entry_with_a_wrong_size_is_refused(void **state) {
        struct digest digest;
        struct layout *l = *state;

        put(l, "index.json",
            INDEX(
                "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:" EMPTY_HEX
                "\",\"size\":3,\"annotations\":{\"org.opencontainers.image.ref.name\":\"a\"}}"));
        assert_true(oci_layout_resolve(&digest, l->reference, NULL, &l->e) < 0);
        assert_int_equal(l->e.kind, ERROR_DATA_LOSS);
        assert_non_null(strstr(l->e.text, "its manifest has 2 bytes and index.json says 3"));
}

static void test_a_digest_needs_no_entry(void **state) {
        struct layout *l = *state;
        struct digest digest;

        refer(l, "@sha256:" EMPTY_HEX);
        put(l, "index.json", INDEX(""));
        assert_int_equal(oci_layout_resolve(&digest, l->reference, NULL, &l->e), 0);
}

static void test_a_directory_that_is_not_there_is_not_found(void **state) {
        struct layout *l = *state;
        struct digest digest;

        refer(l, "/nothing:a");
        assert_true(oci_layout_resolve(&digest, l->reference, NULL, &l->e) < 0);
        assert_int_equal(l->e.kind, ERROR_NOT_FOUND);
}

static void test_a_directory_that_is_no_layout_is_refused(void **state) {
        struct layout *l = *state;
        struct digest digest;

        put(l, "oci-layout", "{\"imageLayoutVersion\":\"2.0.0\"}");
        assert_true(oci_layout_resolve(&digest, l->reference, NULL, &l->e) < 0);
        assert_int_equal(l->e.kind, ERROR_INVALID);
        assert_int_equal(unlinkat(l->fd, "oci-layout", 0), 0);
        assert_true(oci_layout_resolve(&digest, l->reference, NULL, &l->e) < 0);
        assert_int_equal(l->e.kind, ERROR_NOT_FOUND);
}

static void test_symbolic_links_are_not_followed(void **state) {
        static const char *const names[] = { BLOB, "index.json", "oci-layout" };
        struct layout *l = *state;

        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                struct digest digest;

                assert_int_equal(unlinkat(l->fd, names[i], 0), 0);
                assert_int_equal(symlinkat("/etc/passwd", l->fd, names[i]), 0);
                assert_true(oci_layout_resolve(&digest, l->reference, NULL, &l->e) < 0);
                assert_non_null(strstr(l->e.text, names[i]));
        }
}

static void test_only_what_is_below_a_listed_directory_is_listed(void **state) {
        static const struct {
                const char *dir, *listed;
                bool is_listed;
        } cases[] = {
                { "oci-layout:/srv/models/x:1", "/srv/models", true },
                { "oci-layout:/srv/models:1", "/srv/models", true },
                { "oci-layout:/srv/models-of-others:1", "/srv/models", false },
                { "oci-layout:/srv:1", "/srv/models", false },
                { "oci-layout:/var/x:1", "/", true },
                { "oci-layout:/x:1", "/x/y", false },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char *listed[] = { (char *)"/nowhere", (char *)cases[i].listed, NULL }, *none[] = { NULL };
                _cleanup_(oci_reference_freep) struct oci_reference *r = NULL;

                assert_int_equal(oci_reference_parse(&r, cases[i].dir, NULL), 0);
                assert_int_equal(oci_layout_is_listed(r, listed), cases[i].is_listed);
                assert_false(oci_layout_is_listed(r, none) || oci_layout_is_listed(r, NULL));
        }
}

/* What a tenant writes below a listed directory does not lead out of it. */
static void test_no_link_leads_out_of_a_listed_directory(void **state) {
        struct layout *l = *state;
        char *listed[] = { l->dir, NULL };
        struct digest digest;

        assert_int_equal(oci_layout_resolve(&digest, l->reference, listed, &l->e), 0);
        assert_int_equal(mkdirat(l->fd, "tenant", 0755), 0);
        assert_int_equal(symlinkat(l->dir, l->fd, "tenant/link"), 0);
        refer(l, "/tenant/link:a");
        assert_int_equal(oci_layout_resolve(&digest, l->reference, NULL, &l->e), 0);
        assert_true(oci_layout_resolve(&digest, l->reference, listed, &l->e) < 0);
        assert_int_equal(l->e.kind, ERROR_INVALID);
        assert_non_null(strstr(l->e.text, "symbolic link"));
        refer(l, "/tenant/nothing:a");
        assert_true(oci_layout_resolve(&digest, l->reference, listed, &l->e) < 0);
        assert_int_equal(l->e.kind, ERROR_NOT_FOUND);
        assert_non_null(strstr(l->e.text, "there is no directory"));
}

static void test_a_pipe_does_not_hold_anybody_up(void **state) {
        struct digest digest = empty_digest();
        struct layout *l = *state;
        uint64_t size;

        assert_int_equal(unlinkat(l->fd, BLOB, 0), 0);
        assert_int_equal(mkfifoat(l->fd, BLOB, 0644), 0);
        assert_true(oci_layout_open(l->reference, NULL, &digest, &size, &l->e) < 0);
        assert_int_equal(l->e.kind, ERROR_INVALID);
}

static void test_a_blob_is_verified_when_it_is_read(void **state) {
        struct digest digest = empty_digest();
        struct layout *l = *state;
        char *data = NULL;
        size_t len = 0;

        assert_int_equal(oci_layout_read(&data, &len, l->reference, NULL, &digest, 2, &l->e), 0);
        assert_int_equal(len, 2);
        assert_string_equal(data, EMPTY);
        free(data);
        data = NULL;
        assert_true(oci_layout_read(&data, &len, l->reference, NULL, &digest, 1, &l->e) < 0);
        assert_int_equal(l->e.kind, ERROR_INVALID);
        put(l, BLOB, "[]");
        assert_true(oci_layout_read(&data, &len, l->reference, NULL, &digest, 2, &l->e) < 0);
        assert_int_equal(l->e.kind, ERROR_DATA_LOSS);
        assert_null(data);
}

static void test_a_blob_of_a_layout_is_a_file(void **state) {
        struct digest digest = empty_digest();
        struct layout *l = *state;
        struct settings settings = { 0 };
        struct oci_client *c = NULL;
        struct oci_blob *b = NULL;
        char data[8] = "";
        size_t len = 0;

        assert_int_equal(oci_client_new(&c, &settings, &l->e), 0);
        assert_int_equal(oci_blob_new(&b, c, l->reference, NULL, &digest, 2, &l->e), 0);
        assert_int_equal(oci_blob_locate(b, data, sizeof data, &len, &l->e), 0);
        assert_int_equal(len, 2);
        assert_memory_equal(data, EMPTY, 2);
        assert_true(oci_blob_file(b) >= 0);
        assert_true(oci_blob_has_ranges(b));
        oci_blob_free(b);
        assert_int_equal(oci_blob_new(&b, c, l->reference, NULL, &digest, 3, &l->e), 0);
        assert_true(oci_blob_locate(b, data, sizeof data, &len, &l->e) < 0);
        assert_int_equal(l->e.kind, ERROR_DATA_LOSS);
        oci_blob_free(b);
        oci_client_free(c);
}

static int plan_of(struct model_plan **ret, const char *text, struct error *e) {
        struct oci_reference *reference = NULL;
        struct settings settings = { 0 };
        struct oci_client *c = NULL;
        struct digest digest;
        bool is_private = true;
        int r;

        assert_int_equal(oci_reference_parse(&reference, text, e), 0);
        assert_int_equal(oci_client_new(&c, &settings, e), 0);
        struct oci_request q = { .reference = reference };

        r = oci_resolve(&digest, &is_private, c, &q, e);
        assert_false(is_private);
        if (r == 0)
                r = oci_plan(ret, c, &q, &digest, e);
        oci_client_free(c);
        oci_reference_free(reference);
        return r;
}

static void test_what_kit_and_modctl_made_can_be_planned(void **state) {
        static const struct {
                const char *name;
                enum plan_format format;
        } cases[] = {
                { "modelkits:none", PLAN_MODELKIT },  { "modelkits:gzip", PLAN_MODELKIT },
                { "modelkits:whole", PLAN_MODELKIT }, { "modelpacks:raw", PLAN_MODELPACK },
                { "modelpacks:tar", PLAN_MODELPACK },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct model_plan *plan = NULL;
                struct error e = { 0 };
                char text[512];

                snprintf(text, sizeof text, "oci-layout:" TEST_DATA "/%s", cases[i].name);
                if (plan_of(&plan, text, &e) < 0)
                        fail_msg("%s: %s", text, e.text);
                assert_int_equal(plan->format, cases[i].format);
                assert_true(plan->n_blobs > 0);
                model_plan_free(plan);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_a_tag_names_its_entry, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_an_unknown_tag_is_told_which_there_are, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_without_a_tag_there_must_be_one_entry, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_an_entry_with_a_wrong_size_is_refused, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_a_digest_needs_no_entry, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_directory_that_is_not_there_is_not_found, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_a_directory_that_is_no_layout_is_refused, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_symbolic_links_are_not_followed, set_up, tear_down),
                cmocka_unit_test(test_only_what_is_below_a_listed_directory_is_listed),
                cmocka_unit_test_setup_teardown(test_no_link_leads_out_of_a_listed_directory, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_a_pipe_does_not_hold_anybody_up, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_blob_is_verified_when_it_is_read, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_blob_of_a_layout_is_a_file, set_up, tear_down),
                cmocka_unit_test(test_what_kit_and_modctl_made_can_be_planned),
        };

        return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
