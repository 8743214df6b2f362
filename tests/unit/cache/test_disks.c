/* SPDX-License-Identifier: Apache-2.0 */
/* The cache on more than one file system, on one with a mount in it, and on one without inodes. */
#include "fixture.h"

static void mount_on(const struct fixture *f, const char *name, const char *type, const char *options) {
        char path[PATH_MAX];

        fixture_path(f, name, path);
        if (type)
                assert_int_equal(mount("none", path, type, 0, options), 0);
        else
                assert_int_equal(mount(path, path, NULL, MS_BIND, NULL), 0);
}

static void unmount(const struct fixture *f, const char *name) {
        char path[PATH_MAX];

        fixture_path(f, name, path);
        assert_int_equal(umount2(path, MNT_DETACH), 0);
}

static void test_a_mount_inside_the_cache_is_found_at_the_start(void **state) {
        static const char *const dirs[] = { "root/layers", "root/layers/sha256", "root/models",
                                            "root/staging" };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
                for (int bind = 0; bind < 2; bind++) {
                        struct error e = { 0 };

                        cache_close(f->cache);
                        f->cache = NULL;
                        mount_on(f, dirs[i], bind ? NULL : "tmpfs", NULL);
                        int r = cache_open(&f->cache, f->settings, &e);
                        unmount(f, dirs[i]);
                        assert_true(r < 0);
                        assert_int_equal(e.kind, ERROR_PRECONDITION);
                        assert_non_null(strstr(e.text, dirs[i]));
                        assert_non_null(strstr(e.text, "cache.root"));
                        fixture_reopen(f);
                }
}

static void test_a_root_that_is_a_mount_itself_is_fine(void **state) {
        struct fixture *f = *state;

        cache_close(f->cache);
        f->cache = NULL;
        mount_on(f, "root", "tmpfs", NULL);
        fixture_reopen(f);
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        assert_model_tree(f->cache, &key, "file=text");
        cache_close(f->cache);
        f->cache = NULL;
        unmount(f, "root");
}

static void test_a_disk_without_inodes_is_told_as_that(void **state) {
        struct fixture *f = *state;
        char path[PATH_MAX];
        struct error e = { 0 };

        fixture_path(f, "root/small", path);
        assert_int_equal(mkdir(path, 0700), 0);
        mount_on(f, "root/small", "tmpfs", "nr_inodes=3,size=1m");
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int deep = path_make_dirs(fd, "a/b/c/d", 0755, false, &e);
        close(fd);
        unmount(f, "root/small");
        assert_true(deep < 0);
        assert_int_equal(e.kind, ERROR_NO_SPACE);
        assert_string_equal(e.text,
                            "cannot make the directories of \"a/b/c/d\": the file system has no inodes left");
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        const struct CMUnitTest tests[] = {
                T(test_a_mount_inside_the_cache_is_found_at_the_start),
                T(test_a_root_that_is_a_mount_itself_is_fine),
                T(test_a_disk_without_inodes_is_told_as_that),
        };

        private_mounts_or_skip();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
