/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/base/path_cases.h"

static void test_clean_gives_one_form_or_refuses(void **state) {
        static const struct {
                const char *name, *clean; /* NULL: refused */
        } cases[] = {
                { "a", "a" },
                { "a/b", "a/b" },
                { "./a//b/./c/", "a/b/c" },
                { "", "" },
                { ".", "" },
                { "./", "" },
                { "././.", "" },
                { "...", "..." },
                { "..a/b..", "..a/b.." },
                { "a b/\xc3\xa4", "a b/\xc3\xa4" },
                { "..", NULL },
                { "a/..", NULL },
                { "a/../b", NULL },
                { "../a", NULL },
                { "/", NULL },
                { "/a", NULL },
                { "a\nb", NULL },
                { "a\x7f", NULL },
                { "a/\xff", NULL },
                { "\xe4.bin", NULL }, /* Latin-1 */
                { "\xc0\xaf", NULL },
                { "\xed\xa0\x80", NULL },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_free_ char *clean = NULL;
                struct error e = { 0 };
                int r = path_clean(&clean, cases[i].name, &e);

                if ((r == 0) != !!cases[i].clean)
                        fail_msg("\"%s\": %d", cases[i].name, r);
                if (r == 0)
                        assert_string_equal(clean, cases[i].clean);
                else
                        assert_int_equal(e.kind, ERROR_INVALID);
        }
}

static void test_clean_holds_names_to_the_kernels_limits(void **state) {
        _cleanup_free_ char *clean = NULL;
        char name[PATH_MAX + 1];

        (void)state;
        memset(name, 'a', sizeof name);
        name[NAME_MAX] = '\0';
        assert_int_equal(path_clean(&clean, name, NULL), 0);
        name[NAME_MAX] = 'a';
        name[NAME_MAX + 1] = '\0';
        assert_int_equal(path_clean(&clean, name, NULL), -EINVAL);
        for (size_t i = 0; i < PATH_MAX; i++)
                name[i] = i % 2 ? '/' : 'a';
        name[PATH_MAX] = '\0';
        assert_int_equal(path_clean(&clean, name, NULL), -EINVAL);
        free(take_ptr(clean));
        name[PATH_MAX - 1] = '\0';
        assert_int_equal(path_clean(&clean, name, NULL), 0);
        assert_int_equal(strlen(clean), PATH_MAX - 1);
}

static void test_an_absolute_path_is_made_and_links_are_followed(void **state) {
        struct sandbox *s = *state;
        char path[256];

        assert_int_equal(mkdirat(s->fd, "real", 0755), 0);
        assert_int_equal(symlinkat("real", s->fd, "link"), 0);
        snprintf(path, sizeof path, "%s//link/a/b/", s->path);
        assert_int_equal(path_make_dirs_absolute(path, 0755, NULL), 0);
        assert_int_equal(path_make_dirs_absolute(path, 0755, NULL), 0);
        assert_int_equal(faccessat(s->fd, "real/a/b", F_OK, 0), 0);
        assert_int_equal(path_make_dirs_absolute("/", 0755, NULL), 0);
        assert_int_equal(path_make_dirs_absolute("relative", 0755, NULL), -EINVAL);
        make_file(s->fd, "file", "");
        snprintf(path, sizeof path, "%s/file", s->path);
        assert_int_equal(path_make_dirs_absolute(path, 0755, NULL), -ENOTDIR);
}

static void test_the_base_is_behind_the_last_slash(void **state) {
        (void)state;
        assert_string_equal(path_base("a/b"), "b");
        assert_string_equal(path_base("b"), "b");
        assert_string_equal(path_base("a/"), "");
}

static void test_a_file_is_read_whole_or_not_at_all(void **state) {
        struct sandbox *s = *state;
        struct error e = { 0 };
        char *text = NULL;
        size_t len = 0;

        make_file(s->fd, "f", "12345");
        assert_int_equal(path_read_file(&text, &len, s->fd, "f", 5, &e), 0);
        assert_string_equal(text, "12345");
        assert_int_equal(len, 5);
        free(take_ptr(text));
        assert_int_equal(path_read_file(&text, &len, s->fd, "f", 4, &e), -EINVAL);
        assert_int_equal(path_read_file(&text, NULL, s->fd, "f", 10, &e), 0);
        free(take_ptr(text));
        assert_int_equal(path_read_file(&text, NULL, s->fd, "missing", 10, &e), -ENOENT);
        assert_int_equal(path_read_file(&text, NULL, s->fd, "", 10, &e), -EINVAL);
        assert_null(text);
}

static void test_a_fifo_does_not_keep_a_reader_waiting(void **state) {
        struct sandbox *s = *state;
        char *text = NULL;

        assert_int_equal(mkfifoat(s->fd, "fifo", 0600), 0);
        assert_int_equal(path_read_file(&text, NULL, s->fd, "fifo", 10, NULL), -EINVAL);
}

static size_t count_entries(int dir_fd) {
        DIR *d = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        size_t n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n - 2;
}

static void test_a_written_file_replaces_the_old_one_and_leaves_nothing_else(void **state) {
        struct sandbox *s = *state;
        struct error e = { 0 };
        char *text = NULL;
        struct stat st;

        assert_int_equal(mkdirat(s->fd, "d", 0755), 0);
        assert_int_equal(path_write_file(s->fd, "d/f", "old", 3, 0600, &e), 0);
        assert_int_equal(path_write_file(s->fd, "d/f", "newer", 5, 0644, &e), 0);
        assert_int_equal(path_read_file(&text, NULL, s->fd, "d/f", 100, &e), 0);
        assert_string_equal(text, "newer");
        free(text);
        assert_int_equal(fstatat(s->fd, "d/f", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0644);
        assert_int_equal(mkdirat(s->fd, "d/dir", 0755), 0);
        assert_int_equal(path_write_file(s->fd, "d/dir", "x", 1, 0644, &e), -EISDIR);
        assert_int_equal(path_write_file(s->fd, "missing/f", "x", 1, 0644, &e), -ENOENT);
        assert_int_equal(path_write_file(s->fd, "d/", "x", 1, 0644, &e), -EINVAL);
        assert_int_equal(symlinkat("d", s->fd, "link"), 0);
        assert_int_equal(path_write_file(s->fd, "link/f", "x", 1, 0644, &e), -EINVAL);
        assert_int_equal(count_entries(openat(s->fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), 2);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                PATH_CASES,
                cmocka_unit_test(test_clean_gives_one_form_or_refuses),
                cmocka_unit_test(test_clean_holds_names_to_the_kernels_limits),
                PATH_CASE(test_an_absolute_path_is_made_and_links_are_followed),
                cmocka_unit_test(test_the_base_is_behind_the_last_slash),
                PATH_CASE(test_a_file_is_read_whole_or_not_at_all),
                PATH_CASE(test_a_fifo_does_not_keep_a_reader_waiting),
                PATH_CASE(test_a_written_file_replaces_the_old_one_and_leaves_nothing_else),
        };
        return cmocka_run_group_tests_name("base/path", tests, NULL, NULL);
}
