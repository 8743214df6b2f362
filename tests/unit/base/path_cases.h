/* SPDX-License-Identifier: Apache-2.0 */
/* What is true of opening below a directory with openat2() and without it: test_path.c and
 * test_path_fallback.c. */
#pragma once

#include "tests/unit/test.h"

#include "base/cleanup.h"
#include "base/path.h"
#include "base/text.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

struct sandbox {
        int fd; /* a directory of the test's own */
        int parent_fd;
        char path[64];
};

static inline int sandbox_set_up(void **state) {
        struct sandbox *s = calloc(1, sizeof *s);

        assert_non_null(s);
        strcpy(s->path, "/tmp/modelstage-path-XXXXXX");
        assert_non_null(mkdtemp(s->path));
        s->fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        s->parent_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(s->fd >= 0 && s->parent_fd >= 0);
        *state = s;
        return 0;
}

static inline int sandbox_tear_down(void **state) {
        struct sandbox *s = *state;
        struct error e = { 0 };
        int r;

        close(s->fd);
        r = path_remove_tree(s->parent_fd, path_base(s->path), &e);
        close(s->parent_fd);
        if (r < 0)
                print_error("%s\n", e.text);
        free(s);
        return r;
}

static inline void make_file(int dir_fd, const char *name, const char *text) {
        int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close(fd);
}

static void test_opens_files_below_and_the_directory_itself(void **state) {
        struct sandbox *s = *state;
        struct stat st, root;
        char c;
        int fd;

        assert_int_equal(mkdirat(s->fd, "a", 0755), 0);
        make_file(s->fd, "a/f", "x");
        fd = path_open(s->fd, "a/f", O_RDONLY, 0, NULL);
        assert_true(fd >= 0);
        assert_int_equal(read(fd, &c, 1), 1);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        close(fd);
        fd = path_open(s->fd, "", O_RDONLY | O_DIRECTORY, 0, NULL);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(fstat(s->fd, &root), 0);
        assert_int_equal(st.st_ino, root.st_ino);
        close(fd);
}

static void test_creates_with_the_mode_and_says_what_exists(void **state) {
        struct sandbox *s = *state;
        struct error e = { 0 };
        struct stat st;
        int fd = path_open(s->fd, "new", O_WRONLY | O_CREAT | O_EXCL, 0640, &e);

        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0640);
        close(fd);
        assert_int_equal(path_open(s->fd, "new", O_WRONLY | O_CREAT | O_EXCL, 0640, &e), -EEXIST);
        assert_int_equal(e.kind, ERROR_EXISTS);
        assert_int_equal(path_open(s->fd, "no/thing", O_RDONLY, 0, &e), -ENOENT);
        assert_int_equal(e.kind, ERROR_NOT_FOUND);
        assert_int_equal(path_open(s->fd, "new/x", O_RDONLY, 0, &e), -ENOTDIR);
        assert_int_equal(e.kind, ERROR_INTERNAL);
}

static void test_no_link_is_followed_anywhere_in_a_name(void **state) {
        static const int flags[] = {
                O_RDONLY, O_PATH, O_WRONLY | O_CREAT, O_DIRECTORY, O_PATH | O_NOFOLLOW, O_RDONLY | O_NOFOLLOW
        };
        static const char *const names[] = { "up",     "etc",      "d/up/x",  "etc/passwd",
                                             "d/loop", "d/self/x", "d/inside" };
        struct sandbox *s = *state;

        assert_int_equal(mkdirat(s->fd, "d", 0755), 0);
        make_file(s->fd, "target", "x");
        assert_int_equal(symlinkat("..", s->fd, "up"), 0);
        assert_int_equal(symlinkat("/etc", s->fd, "etc"), 0);
        assert_int_equal(symlinkat("../..", s->fd, "d/up"), 0);
        assert_int_equal(symlinkat("loop", s->fd, "d/loop"), 0);
        assert_int_equal(symlinkat("/proc/self/cwd", s->fd, "d/self"), 0);
        assert_int_equal(symlinkat("../target", s->fd, "d/inside"), 0);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                for (size_t k = 0; k < sizeof flags / sizeof *flags; k++) {
                        struct error e = { 0 };
                        int fd = path_open(s->fd, names[i], flags[k], 0600, &e);

                        if (fd != -EINVAL || e.kind != ERROR_INVALID)
                                fail_msg("%s with %#x: %d, %s", names[i], (unsigned)flags[k], fd, e.text);
                        assert_non_null(strstr(e.text, "symbolic link"));
                }
}

static void test_names_that_are_not_clean_are_refused(void **state) {
        static const char *const names[] = { "..", "/", "/etc", "a/../b", "a//b", "a/", ".", "a/.", "./a" };
        struct sandbox *s = *state;

        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                assert_int_equal(path_open(s->fd, names[i], O_RDONLY, 0, NULL), -EINVAL);
                assert_int_equal(path_make_dirs(s->fd, names[i], 0755, false, NULL), -EINVAL);
        }
}

static void test_makes_what_is_missing_with_the_mode_whatever_the_umask(void **state) {
        struct sandbox *s = *state;
        struct error e = { 0 };
        mode_t old = umask(077);
        struct stat st, same;
        int fd = path_make_dirs(s->fd, "a/b/c", 0755, false, &e);

        umask(old);
        assert_true(fd >= 0);
        assert_int_equal(fstatat(s->fd, "a/b/c", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0755);
        assert_int_equal(fstat(fd, &same), 0);
        assert_int_equal(st.st_ino, same.st_ino);
        close(fd);
        assert_int_equal(fchmodat(s->fd, "a", 0700, 0), 0);
        fd = path_make_dirs(s->fd, "a/x/file", 0755, true, &e);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(fstatat(s->fd, "a", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0700); /* was there: not touched */
        assert_int_equal(fstatat(s->fd, "a/x", &st, 0), 0);
        assert_int_equal(fstatat(s->fd, "a/x/file", &st, 0), -1);
}

static void test_does_not_make_directories_through_links_or_files(void **state) {
        struct sandbox *s = *state;
        struct error e = { 0 };

        assert_int_equal(mkdirat(s->fd, "real", 0755), 0);
        assert_int_equal(symlinkat("real", s->fd, "link"), 0);
        make_file(s->fd, "file", "");
        assert_int_equal(path_make_dirs(s->fd, "link/x", 0755, false, &e), -EINVAL);
        assert_non_null(strstr(e.text, "symbolic link"));
        assert_int_equal(path_make_dirs(s->fd, "link", 0755, false, &e), -EINVAL);
        assert_int_equal(path_make_dirs(s->fd, "file/x", 0755, false, &e), -ENOTDIR);
        assert_int_equal(faccessat(s->fd, "real/x", F_OK, 0), -1);
}

#define PATH_CASE(name) cmocka_unit_test_setup_teardown(name, sandbox_set_up, sandbox_tear_down)
#define PATH_CASES \
        PATH_CASE(test_opens_files_below_and_the_directory_itself), \
            PATH_CASE(test_creates_with_the_mode_and_says_what_exists), \
            PATH_CASE(test_no_link_is_followed_anywhere_in_a_name), \
            PATH_CASE(test_names_that_are_not_clean_are_refused), \
            PATH_CASE(test_makes_what_is_missing_with_the_mode_whatever_the_umask), \
            PATH_CASE(test_does_not_make_directories_through_links_or_files)
