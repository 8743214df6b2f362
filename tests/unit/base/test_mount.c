/* SPDX-License-Identifier: Apache-2.0 */
/* Real mounts in a private mount namespace, the new way and, by standing in for the system calls, the old
 * one. */
/* WRAP: open_tree mount_setattr statx */
#include "base/mount.h"
#include "tests/unit/test.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static int open_tree_errno, mount_setattr_errno; /* to fail with; 0: the real call */
static bool hide_mount_root;

int __real_open_tree(int dir_fd, const char *path, unsigned flags);
int __wrap_open_tree(int dir_fd, const char *path, unsigned flags);
int __wrap_open_tree(int dir_fd, const char *path, unsigned flags) {
        errno = open_tree_errno;
        return open_tree_errno ? -1 : __real_open_tree(dir_fd, path, flags);
}

int __real_mount_setattr(int fd, const char *path, unsigned flags, struct mount_attr *attr, size_t size);
int __wrap_mount_setattr(int fd, const char *path, unsigned flags, struct mount_attr *attr, size_t size);
int __wrap_mount_setattr(int fd, const char *path, unsigned flags, struct mount_attr *attr, size_t size) {
        errno = mount_setattr_errno;
        return mount_setattr_errno ? -1 : __real_mount_setattr(fd, path, flags, attr, size);
}

int __real_statx(int dir_fd, const char *path, int flags, unsigned mask, struct statx *st);
int __wrap_statx(int dir_fd, const char *path, int flags, unsigned mask, struct statx *st);
int __wrap_statx(int dir_fd, const char *path, int flags, unsigned mask, struct statx *st) {
        int r = __real_statx(dir_fd, path, flags, mask, st);

        if (r == 0 && hide_mount_root) {
                st->stx_attributes_mask &= ~(uint64_t)STATX_ATTR_MOUNT_ROOT;
                st->stx_attributes &= ~(uint64_t)STATX_ATTR_MOUNT_ROOT;
        }
        return r;
}

static char dir[64], source[96], target[96], link_path[96];
static struct error err;

static int setup(void **state) {
        int fd;
        char file[128];

        (void)state;
        snprintf(dir, sizeof dir, "/tmp/modelstage-mount-XXXXXX");
        assert_non_null(mkdtemp(dir));
        snprintf(source, sizeof source, "%s/source", dir);
        snprintf(target, sizeof target, "%s/a target\\with\todd name", dir);
        snprintf(link_path, sizeof link_path, "%s/link", dir);
        assert_int_equal(mkdir(source, 0755), 0);
        assert_int_equal(mkdir(target, 0755), 0);
        assert_int_equal(symlink(target, link_path), 0);
        snprintf(file, sizeof file, "%s/file", source);
        fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        close(fd);
        open_tree_errno = mount_setattr_errno = 0;
        hide_mount_root = false;
        memset(&err, 0, sizeof err);
        return 0;
}

static int teardown(void **state) {
        char file[128];

        (void)state;
        while (umount2(target, MNT_DETACH) == 0)
                ;
        snprintf(file, sizeof file, "%s/file", source);
        (void)unlink(file);
        (void)unlink(link_path);
        (void)rmdir(source);
        (void)rmdir(target);
        return rmdir(dir);
}

#define assert_ok(r) \
        do { \
                if ((r) < 0) \
                        fail_msg("%s", err.text); \
        } while (0)

static bool is_mounted(const char *path) {
        bool mounted = false;

        assert_ok(mount_is_mounted(&mounted, path, &err));
        return mounted;
}

static void assert_readonly_mount(void) {
        char file[128];
        struct statvfs st;

        assert_ok(mount_bind_readonly(source, target, &err));
        assert_true(is_mounted(target));
        assert_int_equal(statvfs(target, &st), 0);
        assert_int_equal(st.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV), ST_RDONLY | ST_NOSUID | ST_NODEV);
        snprintf(file, sizeof file, "%s/file", target);
        assert_int_equal(access(file, R_OK), 0);
        assert_int_equal(open(file, O_WRONLY | O_CLOEXEC), -1);
        assert_int_equal(errno, EROFS);
        snprintf(file, sizeof file, "%s/file", source);
        assert_int_equal(access(file, W_OK), 0); /* the source is as it was */
}

static void test_mount_is_read_only_nosuid_nodev(void **state) {
        (void)state;
        assert_readonly_mount();
}

static void test_old_kernels_bind_and_remount(void **state) {
        (void)state;
        open_tree_errno = ENOSYS;
        assert_readonly_mount();
        assert_ok(mount_detach(target, &err));

        open_tree_errno = 0;
        mount_setattr_errno = ENOSYS; /* 5.2 to 5.11 */
        assert_readonly_mount();
}

static void test_refusal_is_not_taken_for_an_old_kernel(void **state) {
        (void)state;
        mount_setattr_errno = EPERM;
        assert_int_equal(mount_bind_readonly(source, target, &err), -EPERM);
        assert_false(is_mounted(target));
}

static void test_symbolic_link_is_no_target(void **state) {
        (void)state;
        assert_true(mount_bind_readonly(source, link_path, &err) < 0);
        open_tree_errno = ENOSYS;
        assert_true(mount_bind_readonly(source, link_path, &err) < 0);
        assert_false(is_mounted(target));
        assert_false(is_mounted(link_path));
}

static void test_missing_source_or_target_is_an_error(void **state) {
        (void)state;
        assert_int_equal(mount_bind_readonly("/does/not/exist", target, &err), -ENOENT);
        assert_int_equal(mount_bind_readonly(source, "/does/not/exist", &err), -ENOENT);
        assert_string_equal(err.text,
                            "cannot open the directory /does/not/exist to mount on it: No such file or "
                            "directory");
}

static void test_what_is_not_a_mount_is_not_mounted(void **state) {
        (void)state;
        for (int i = 0; i < 2; i++) {
                hide_mount_root = i;
                assert_false(is_mounted(target));
                assert_false(is_mounted("/does/not/exist"));
                assert_true(is_mounted("/proc"));
        }
}

static void test_detach_takes_the_topmost_mount(void **state) {
        (void)state;
        for (int i = 0; i < 2; i++) {
                hide_mount_root = i;
                assert_ok(mount_bind_readonly(source, target, &err));
                assert_ok(mount_bind_readonly(source, target, &err));
                assert_ok(mount_detach(target, &err));
                assert_true(is_mounted(target));
                assert_ok(mount_detach(target, &err));
                assert_false(is_mounted(target));
        }
}

static void test_detach_of_nothing_succeeds(void **state) {
        (void)state;
        assert_ok(mount_detach(target, &err));
        assert_ok(mount_detach("/does/not/exist", &err));
        assert_ok(mount_bind_readonly(source, target, &err));
        assert_ok(mount_detach(link_path, &err));
        assert_true(is_mounted(target)); /* the link was not followed */
}

static void test_table_of_the_kernel_has_our_mount(void **state) {
        struct mount_table t = { 0 };

        (void)state;
        assert_ok(mount_bind_readonly(source, target, &err));
        assert_ok(mount_table_read(&t, &err));
        const struct mount_entry *m = mount_table_find(&t, target);
        assert_non_null(m);
        assert_string_equal(m->root + strlen(m->root) - strlen("/source"), "/source");
        mount_table_free(&t);
}

/* ---- the parser; needs no privileges ---- */

static void test_parser_unescapes_and_finds_the_topmost(void **state) {
        const char text[] =
            "36 35 98:1 /r\\040oot /t\\134a\\011b rw,noatime shared:1 master:2 - ext3 /dev/x rw\n"
            "37 36 0:42 / /t\\134a\\011b ro,relatime - tmpfs tmpfs rw\n";
        struct mount_table t = { 0 };

        (void)state;
        assert_ok(mount_table_parse(&t, text, sizeof text - 1, &err));
        assert_int_equal(t.n, 2);
        assert_int_equal(t.entries[0].id, 36);
        assert_int_equal(t.entries[0].dev_major, 98);
        assert_int_equal(t.entries[0].dev_minor, 1);
        assert_string_equal(t.entries[0].root, "/r oot");
        assert_string_equal(t.entries[0].fs_type, "ext3");
        assert_ptr_equal(mount_table_find(&t, "/t\\a\tb"), &t.entries[1]);
        assert_null(mount_table_find(&t, "/t"));
        mount_table_free(&t);
}

static void test_parser_refuses_what_the_kernel_does_not_write(void **state) {
        static const char *const bad[] = {
                "\n",
                "36 35 98:0 / / rw ext3 /dev/root rw\n",
                "36 35 98:0 / / rw -\n",
                "36  98:0 / / rw x - ext3\n", /* an empty field; found by the fuzzer */
                "x 35 98:0 / / rw - ext3\n",
                "36 35 98 / / rw - ext3\n",
                "36 35 98:0x / / rw - ext3\n",
                "4294967296 35 98:0 / / rw - ext3\n",
        };

        (void)state;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                struct mount_table t = { 0 };

                assert_true(mount_table_parse(&t, bad[i], strlen(bad[i]), &err) < 0);
                assert_string_equal(err.text, "line 1 of mountinfo is not as proc(5) says");
                assert_int_equal(t.n, 0);
        }
}

int main(void) {
        const struct CMUnitTest parser[] = {
                cmocka_unit_test(test_parser_unescapes_and_finds_the_topmost),
                cmocka_unit_test(test_parser_refuses_what_the_kernel_does_not_write),
        };
        const struct CMUnitTest mounts[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
                T(test_mount_is_read_only_nosuid_nodev),        T(test_old_kernels_bind_and_remount),
                T(test_refusal_is_not_taken_for_an_old_kernel), T(test_symbolic_link_is_no_target),
                T(test_missing_source_or_target_is_an_error),   T(test_what_is_not_a_mount_is_not_mounted),
                T(test_detach_takes_the_topmost_mount),         T(test_detach_of_nothing_succeeds),
                T(test_table_of_the_kernel_has_our_mount),
        };
        int failed = cmocka_run_group_tests(parser, NULL, NULL);

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
                print_message("cannot make a mount namespace (not root?): mounts are not tested\n");
                return failed ? failed : 77;
        }
        return failed + cmocka_run_group_tests(mounts, NULL, NULL);
}
