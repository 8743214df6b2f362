/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/selection.h"

#include "base/text.h"
#include "tests/unit/test.h"

/* WRAP: text_utf8_size */
size_t __real_text_utf8_size(const char *s, size_t len);
size_t __wrap_text_utf8_size(const char *s, size_t len);

static size_t characters_read; /* of globs and paths: what wanting costs */

size_t __wrap_text_utf8_size(const char *s, size_t len) {
        characters_read++;
        return __real_text_utf8_size(s, len);
}

#define LIST(...) \
        (const char *const[]) { \
                __VA_ARGS__, NULL \
        }

static struct oci_selection *make(const char *root, const char *const *include, const char *const *exclude) {
        struct oci_selection *s = NULL;
        struct error e = { 0 };

        if (oci_selection_new(&s, root, include, exclude, NULL, &e) < 0)
                fail_msg("%s", e.text);
        return s;
}

static void test_exclude_wins_over_include_and_nothing_means_everything(void **state) {
        const struct {
                const char *const *include, *const *exclude;
                const char *path;
                bool wanted;
        } cases[] = {
                { NULL, NULL, "a", true },
                { LIST("*.json"), NULL, "config.json", true },
                { LIST("*.json"), NULL, "sub/config.json", true },
                { LIST("*.json"), NULL, "model.safetensors", false },
                { LIST("*.json", "*.safetensors"), NULL, "model.safetensors", true },
                { NULL, LIST("original/**"), "original/a/b", false },
                { NULL, LIST("original/**"), "a", true },
                { LIST("*.json"), LIST("config.json"), "config.json", false },
                { LIST("sub/*"), NULL, "sub/a/b", false },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_(oci_selection_freep) struct oci_selection *s =
                    make(NULL, cases[i].include, cases[i].exclude);

                if (oci_selection_wants(s, cases[i].path) != cases[i].wanted)
                        fail_msg("case %zu: %s", i, cases[i].path);
        }
        assert_true(oci_selection_wants(NULL, "a"));
}

static void test_unsafe_roots_globs_and_platforms_are_refused(void **state) {
        const struct {
                const char *root;
                const char *const *include;
                const char *platform;
        } cases[] = {
                { "../x", NULL, NULL },
                { "/abs", NULL, NULL },
                { "a/../b", NULL, NULL },
                { NULL, LIST(""), NULL },
                { NULL, LIST("/a"), NULL },
                { NULL, NULL, "linux" },
                { NULL, NULL, "linux/" },
                { NULL, NULL, "linux//v8" },
                { NULL, NULL, "linux/arm64/v8/x" },
                { NULL, NULL, "Linux/AMD64" },
                { NULL, NULL, "" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct oci_selection *s = NULL;
                struct error e = { 0 };

                int r = oci_selection_new(&s, cases[i].root, cases[i].include, NULL, cases[i].platform, &e);
                if (r >= 0)
                        fail_msg("case %zu was accepted", i);
                assert_int_equal(e.kind, ERROR_INVALID);
                assert_null(s);
        }
}

/* @n globs of @len brackets each in *@include, and as many in *@exclude; the lists and the glob are static. */
static void many_globs(const char *const **include, const char *const **exclude, size_t n, size_t len) {
        static char glob[2048];
        static const char *globs[300];

        assert_true(len < sizeof glob && n < sizeof globs / sizeof *globs);
        memset(glob, '[', len);
        glob[len] = '\0';
        for (size_t i = 0; i < n; i++)
                globs[i] = glob;
        globs[n] = NULL;
        *include = *exclude = globs;
}

static void test_globs_are_bounded_in_number_and_bytes_over_both_lists(void **state) {
        const struct {
                size_t n, len; /* in each of the two */
                const char *says;
        } cases[] = {
                { 128, 16, NULL },
                { 2, 1024, NULL },
                { 129, 1, "include and exclude have more than 256 globs" },
                { 128, 17, "include and exclude have more than 4096 bytes of globs" },
                { 1, 1025, "include has a glob longer than 1024 bytes" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_(oci_selection_freep) struct oci_selection *s = NULL;
                const char *const *include, *const *exclude;
                struct error e = { 0 };

                many_globs(&include, &exclude, cases[i].n, cases[i].len);
                int r = oci_selection_new(&s, NULL, include, exclude, NULL, &e);
                assert_int_equal(r, cases[i].says ? -EINVAL : 0);
                if (cases[i].says)
                        assert_string_equal(e.text, cases[i].says);
        }
}

/* A pod may send these globs and an artifact have these files: the daemon has other pods to serve. */
static void test_globs_are_not_compiled_again_for_every_path(void **state) {
        _cleanup_(oci_selection_freep) struct oci_selection *s = NULL;
        const char *const *include, *const *exclude;

        (void)state;
        many_globs(&include, &exclude, 2, 1024);
        characters_read = 0;
        assert_int_equal(oci_selection_new(&s, NULL, include, exclude, NULL, NULL), 0);
        assert_true(characters_read <= 4 * 4 * 1024);
        characters_read = 0;
        for (int i = 0; i < 3000; i++)
                assert_false(oci_selection_wants(s, "models/a/b/c/model-00001-of-00030.safetensors"));
        assert_true(characters_read <= 3000 * 8);
}

static void test_roots_are_cleaned(void **state) {
        _cleanup_(oci_selection_freep) struct oci_selection *s = make("./a//b/", NULL, NULL),
                                                            *whole = make(".", NULL, NULL);

        (void)state;
        assert_string_equal(s->root, "a/b");
        assert_string_equal(whole->root, "");
}

static void key_of(struct digest *ret, const struct oci_selection *s) {
        static const struct digest manifest = { { 1 } };

        assert_int_equal(oci_selection_key(ret, s, &manifest), 0);
}

static void test_keys_differ_exactly_when_trees_may(void **state) {
        const struct oci_selection none = { 0 };
        struct oci_selection *s[] = {
                make("", NULL, NULL),
                make("a", NULL, NULL),
                make("default", NULL, NULL),
                make(NULL, LIST("a"), NULL),
                make(NULL, NULL, LIST("a")),
                make(NULL, LIST("a", "b"), NULL),
                make(NULL, LIST("ab"), NULL),
                make(NULL, LIST("a"), LIST("b")),
                make(NULL, LIST("exclude"), NULL),
        };
        size_t n = sizeof s / sizeof *s;
        struct digest keys[sizeof s / sizeof *s], null_key, none_key;

        (void)state;
        for (size_t i = 0; i < n; i++) {
                key_of(&keys[i], s[i]);
                for (size_t j = 0; j < i; j++)
                        if (digest_equal(&keys[i], &keys[j]))
                                fail_msg("selections %zu and %zu have one key", i, j);
        }
        key_of(&null_key, NULL);
        key_of(&none_key, &none);
        assert_true(digest_equal(&null_key, &none_key));
        assert_false(digest_equal(&null_key, &keys[0]));
        for (size_t i = 0; i < n; i++)
                oci_selection_free(s[i]);
}

static void test_the_order_of_globs_and_the_platform_do_not_matter_to_the_key(void **state) {
        _cleanup_(oci_selection_freep) struct oci_selection *a = make("x", LIST("a", "b"), LIST("c", "d")),
                                                            *b = NULL;
        struct digest one, other;

        (void)state;
        assert_int_equal(oci_selection_new(&b, "x/", LIST("b", "a"), LIST("d", "c"), "linux/arm64/v8", NULL),
                         0);
        key_of(&one, a);
        key_of(&other, b);
        assert_true(digest_equal(&one, &other));
}

static void test_the_key_depends_on_the_manifest(void **state) {
        const struct digest a = { { 1 } }, b = { { 2 } };
        struct digest one, other;

        (void)state;
        assert_int_equal(oci_selection_key(&one, NULL, &a), 0);
        assert_int_equal(oci_selection_key(&other, NULL, &b), 0);
        assert_false(digest_equal(&one, &other));
}

static void test_copies_have_the_same_key(void **state) {
        _cleanup_(oci_selection_freep) struct oci_selection *s = make("x", LIST("a"), LIST("b")),
                                                            *copy = NULL, *null = NULL;
        struct digest one, other;

        (void)state;
        assert_int_equal(oci_selection_copy(&copy, s), 0);
        key_of(&one, s);
        key_of(&other, copy);
        assert_true(digest_equal(&one, &other));
        assert_int_equal(oci_selection_copy(&null, NULL), 0);
        assert_null(null);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_exclude_wins_over_include_and_nothing_means_everything),
                cmocka_unit_test(test_unsafe_roots_globs_and_platforms_are_refused),
                cmocka_unit_test(test_globs_are_bounded_in_number_and_bytes_over_both_lists),
                cmocka_unit_test(test_globs_are_not_compiled_again_for_every_path),
                cmocka_unit_test(test_roots_are_cleaned),
                cmocka_unit_test(test_keys_differ_exactly_when_trees_may),
                cmocka_unit_test(test_the_order_of_globs_and_the_platform_do_not_matter_to_the_key),
                cmocka_unit_test(test_the_key_depends_on_the_manifest),
                cmocka_unit_test(test_copies_have_the_same_key),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
