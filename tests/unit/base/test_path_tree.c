/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "base/cleanup.h"
#include "base/path.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define NOBODY 65534

struct sandbox {
        int fd, parent_fd;
        char path[64];
};

static int set_up(void **state) {
        struct sandbox *s = calloc(1, sizeof *s);

        assert_non_null(s);
        strcpy(s->path, "/tmp/modelstage-tree-XXXXXX");
        assert_non_null(mkdtemp(s->path));
        s->fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        s->parent_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(s->fd >= 0 && s->parent_fd >= 0);
        *state = s;
        return 0;
}

static int tear_down(void **state) {
        struct sandbox *s = *state;
        int r = path_remove_tree(s->parent_fd, path_base(s->path), NULL);

        close(s->fd);
        close(s->parent_fd);
        free(s);
        return r;
}

static void make_file(int dir_fd, const char *name) {
        int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, "x", 1), 1);
        close(fd);
}

static bool is_there(int dir_fd, const char *name) {
        return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Directories of directories, each with files, links and names that the removal uses itself. */
static void make_forest(int dir_fd, unsigned depth) {
        make_file(dir_fd, "f");
        make_file(dir_fd, ".1");
        assert_int_equal(symlinkat("/etc/passwd", dir_fd, "link"), 0);
        assert_int_equal(mkfifoat(dir_fd, "fifo", 0600), 0);
        for (unsigned i = 0; depth > 0 && i < 3; i++) {
                char name[8];
                int sub;

                snprintf(name, sizeof name, ".%u", 2 * i);
                assert_int_equal(mkdirat(dir_fd, name, 0755), 0);
                sub = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                make_forest(sub, depth - 1);
                close(sub);
        }
}

static void test_a_tree_is_removed_with_all_that_is_in_it(void **state) {
        struct sandbox *s = *state;
        int fd;

        assert_int_equal(mkdirat(s->fd, "a", 0755), 0);
        assert_int_equal(mkdirat(s->fd, "a/tree", 0755), 0);
        make_file(s->fd, "a/stays");
        fd = openat(s->fd, "a/tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        make_forest(fd, 4);
        close(fd);
        assert_int_equal(path_remove_tree(s->fd, "a/tree", NULL), 0);
        assert_false(is_there(s->fd, "a/tree"));
        assert_true(is_there(s->fd, "a/stays"));
}

static void test_what_is_missing_is_removed_already(void **state) {
        struct sandbox *s = *state;

        assert_int_equal(path_remove_tree(s->fd, "missing", NULL), 0);
        assert_int_equal(path_remove_tree(s->fd, "no/such/thing", NULL), 0);
        make_file(s->fd, "file");
        assert_int_equal(path_remove_tree(s->fd, "file", NULL), 0);
        assert_false(is_there(s->fd, "file"));
}

static void test_what_links_point_at_stays(void **state) {
        struct sandbox *s = *state;
        struct error e = { 0 };

        assert_int_equal(mkdirat(s->fd, "outside", 0755), 0);
        make_file(s->fd, "outside/precious");
        assert_int_equal(mkdirat(s->fd, "tree", 0755), 0);
        assert_int_equal(symlinkat("../outside", s->fd, "tree/link"), 0);
        assert_int_equal(path_remove_tree(s->fd, "tree", &e), 0);
        assert_int_equal(symlinkat("outside", s->fd, "link"), 0);
        assert_int_equal(path_remove_tree(s->fd, "link/precious", &e), -EINVAL);
        assert_int_equal(path_remove_tree(s->fd, "link", &e), 0);
        assert_false(is_there(s->fd, "link"));
        assert_true(is_there(s->fd, "outside/precious"));
}

static void test_only_names_below_the_directory_are_removed(void **state) {
        static const char *const names[] = { "", ".", "..", "/", "a/..", "/tmp", "a/" };
        struct sandbox *s = *state;

        assert_int_equal(mkdirat(s->fd, "a", 0755), 0);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                assert_int_equal(path_remove_tree(s->fd, names[i], NULL), -EINVAL);
        assert_true(is_there(s->fd, "a"));
}

/* Makes "d/d/d/…" below @dir_fd. */
static void make_deep(int dir_fd, unsigned depth) {
        int fd = dup(dir_fd);

        for (unsigned i = 0; i < depth; i++) {
                int next;

                assert_int_equal(mkdirat(fd, "d", 0755), 0);
                next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_true(next >= 0);
                close(fd);
                fd = next;
        }
        make_file(fd, "f");
        close(fd);
}

static void test_depth_costs_neither_stack_nor_descriptors(void **state) {
        struct rlimit old, few;
        struct sandbox *s = *state;
        int r;

        make_deep(s->fd, 5000);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
        few = (struct rlimit){ .rlim_cur = (rlim_t)s->parent_fd + 12, .rlim_max = old.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        r = path_remove_tree(s->fd, "d", NULL);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        assert_int_equal(r, 0);
        assert_false(is_there(s->fd, "d"));
}

/* In a process of its own, because it gives up being root. 0: as it should be. */
static int remove_as_nobody(const char *path) {
        int fd;

        if (geteuid() == 0 && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
                return 2;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (mkdirat(fd, "tree", 0755) < 0 || mkdirat(fd, "tree/a", 0755) < 0 ||
            mkdirat(fd, "tree/a/b", 0755) < 0 || mkdirat(fd, "tree/a/b/c", 0) < 0 ||
            fchmodat(fd, "tree/a/b", 0, 0) < 0 || fchmodat(fd, "tree/a", 0500, 0) < 0 ||
            fchmodat(fd, "tree", 0, 0) < 0)
                return 3;
        if (path_remove_tree(fd, "tree", NULL) < 0)
                return 4;
        return is_there(fd, "tree") ? 5 : 0;
}

static int exit_code_of(pid_t child) {
        int status = 0;

        assert_true(child > 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_modes_do_not_keep_the_owner_from_removing(void **state) {
        struct sandbox *s = *state;
        pid_t child;

        if (geteuid() == 0)
                assert_int_equal(fchown(s->fd, NOBODY, NOBODY), 0);
        child = fork();
        if (child == 0)
                _exit(remove_as_nobody(s->path));
        assert_int_equal(exit_code_of(child), 0);
}

/* In a mount namespace of its own. 0: as it should be, 77: not allowed here. */
static int remove_around_a_mount(int fd, const char *path) {
        char target[128];

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return 77;
        snprintf(target, sizeof target, "%s/tree/a/mnt", path);
        if (mkdirat(fd, "tree", 0755) < 0 || mkdirat(fd, "tree/a", 0755) < 0 ||
            mkdirat(fd, "tree/a/mnt", 0755) < 0 || mount("none", target, "tmpfs", 0, NULL) < 0)
                return 77;
        if (mkdirat(fd, "tree/a/mnt/precious", 0755) < 0)
                return 2;
        if (path_remove_tree(fd, "tree", NULL) != -EBUSY)
                return 3;
        return is_there(fd, "tree/a/mnt/precious") ? 0 : 4;
}

static void test_what_is_mounted_inside_is_not_touched(void **state) {
        struct sandbox *s = *state;
        pid_t child = fork();
        int code;

        if (child == 0)
                _exit(remove_around_a_mount(s->fd, s->path));
        code = exit_code_of(child);
        if (code == 77)
                skip();
        assert_int_equal(code, 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                T(test_a_tree_is_removed_with_all_that_is_in_it),
                T(test_what_is_missing_is_removed_already),
                T(test_what_links_point_at_stays),
                T(test_only_names_below_the_directory_are_removed),
                T(test_depth_costs_neither_stack_nor_descriptors),
                T(test_modes_do_not_keep_the_owner_from_removing),
                T(test_what_is_mounted_inside_is_not_touched),
        };
        return cmocka_run_group_tests_name("base/path_tree", tests, NULL, NULL);
}
