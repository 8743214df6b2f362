/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/path.h"
#include "tools/modelstage/scratch.h"

struct fixture {
        char dir[40];
        int fd;
};

static int set_up(void **state) {
        struct fixture *f = calloc(1, sizeof *f);

        strcpy(f->dir, "/tmp/test_scratch.XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = f;
        return 0;
}

static int tear_down(void **state) {
        struct fixture *f = *state;
        int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        close(f->fd);
        assert_int_equal(path_remove_tree(tmp, path_base(f->dir), NULL), 0);
        close(tmp);
        free(f);
        return 0;
}

static bool exists(struct fixture *f, const char *name) {
        struct stat st;

        return fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void make(struct fixture *f, struct scratch *s) {
        struct error e = { 0 };

        if (scratch_make(s, f->fd, f->dir, &e) < 0)
                fail_msg("%s", e.text);
}

static void test_it_is_private_and_goes_with_all_that_is_in_it(void **state) {
        struct fixture *f = *state;
        struct scratch s = SCRATCH_NONE;
        char name[32], file[64];
        struct stat st;

        make(f, &s);
        snprintf(name, sizeof name, "%s", path_base(s.path));
        assert_int_equal(fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        snprintf(file, sizeof file, "%s/sub", name);
        assert_int_equal(mkdirat(f->fd, file, 0755), 0);
        assert_int_equal(scratch_remove(&s, f->fd, NULL), 0);
        assert_false(exists(f, name));
        assert_int_equal(scratch_remove(&s, f->fd, NULL), 0); /* none any more */
}

static void test_what_a_killed_process_has_left_is_removed_by_the_next_one(void **state) {
        struct fixture *f = *state;
        struct scratch s = SCRATCH_NONE;
        char name[64] = "", file[128];
        int ends[2], status;

        assert_int_equal(pipe(ends), 0);
        pid_t pid = fork();
        if (pid == 0) {
                make(f, &s);
                const char *base = path_base(s.path);
                (void)!write(ends[1], base, strlen(base));
                pause();
                _exit(0);
        }
        assert_true(read(ends[0], name, sizeof name - 1) > 0);
        snprintf(file, sizeof file, "%s/layer", name);
        assert_int_equal(mkdirat(f->fd, file, 0755), 0);
        make(f, &s);
        assert_true(exists(f, file)); /* it still works there */
        assert_int_equal(scratch_remove(&s, f->fd, NULL), 0);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        close(ends[0]);
        close(ends[1]);
        assert_true(exists(f, file));
        make(f, &s);
        assert_false(exists(f, name));
        assert_int_equal(scratch_remove(&s, f->fd, NULL), 0);
}

static void test_what_only_looks_alike_stays(void **state) {
        static const char *const names[] = { ".modelstage-", ".modelstage-abcde", ".modelstage-abcdefg",
                                             "modelstage-abcdef", ".modelstage-public" };
        struct fixture *f = *state;
        struct scratch s = SCRATCH_NONE;

        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                assert_int_equal(mkdirat(f->fd, names[i], i < 4 ? 0700 : 0755), 0);
        assert_int_equal(symlinkat(names[0], f->fd, ".modelstage-linked"), 0);
        int file = openat(f->fd, ".modelstage-a-file", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
        assert_true(file >= 0);
        close(file);
        make(f, &s);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                assert_true(exists(f, names[i]));
        assert_true(exists(f, ".modelstage-linked") && exists(f, ".modelstage-a-file"));
        assert_int_equal(scratch_remove(&s, f->fd, NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_it_is_private_and_goes_with_all_that_is_in_it),
                TEST(test_what_a_killed_process_has_left_is_removed_by_the_next_one),
                TEST(test_what_only_looks_alike_stays),
        };

        umask(022);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
