/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that is full to the last block: starting, publishing and removing go on. */
#include "fixture.h"

#include "cache/store.h"

#include <sys/wait.h>

#define KIB 1024ll
#define RESERVE (8192 * KIB)
#define LEASES 2000 /* far more than what fits into the log without a checkpoint */

static off_t size_of(const struct fixture *f, const char *name) {
        char path[PATH_MAX];
        struct stat st;

        fixture_path(f, name, path);
        return stat(path, &st) == 0 ? st.st_size : -1;
}

static void remove_file(const struct fixture *f, const char *name) {
        char path[PATH_MAX];

        fixture_path(f, name, path);
        assert_int_equal(unlink(path), 0);
}

/* The root on a disk of its own. */
static void use_disk(struct fixture *f, const char *size) {
        char path[PATH_MAX], options[64];

        cache_close(f->cache);
        f->cache = NULL;
        fixture_path(f, "root", path);
        snprintf(options, sizeof options, "size=%s", size);
        assert_int_equal(mount("none", path, "tmpfs", 0, options), 0);
        fixture_reopen(f);
}

static int full_teardown(void **state) {
        struct fixture *f = *state;
        char path[PATH_MAX];

        cache_close(f->cache);
        f->cache = NULL;
        fixture_path(f, "root", path);
        (void)umount2(path, MNT_DETACH);
        return fixture_teardown(state);
}

static void fill(const struct fixture *f) {
        char path[PATH_MAX], page[4096] = { 0 };
        ssize_t n;
        int fd;

        fixture_path(f, "root/filler", path);
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        assert_return_code(fd, errno);
        do
                n = write(fd, page, sizeof page);
        while (n > 0);
        assert_int_equal(errno, ENOSPC);
        close(fd);
}

/* Publishes, removes, and takes the reserve again when there is room. */
static void assert_works(struct fixture *f, const struct digest *key) {
        char target[PATH_MAX];
        struct error e;

        fixture_path(f, "target", target);
        assert_ok(cache_publish(f->cache, "vol", key, "", target, &e), &e);
        assert_tree(target, "file=text");
        assert_ok(cache_unpublish(f->cache, "vol", target, false, &e), &e);
        remove_file(f, "root/filler");
        cache_model_used(f->cache, key, true);
        assert_int_equal(size_of(f, "root/reserve"), RESERVE);
        assert_ok(cache_model_remove(f->cache, key, NULL, &e), &e);
}

static void test_the_log_is_not_mapped(void **state) {
        struct fixture *f = *state;

        (void)make_model(f->cache, "example.com/m:1", "text");
        assert_true(size_of(f, "root/index.db-wal") > 0);
        assert_int_equal(size_of(f, "root/index.db-shm"), -1);
}

static void test_starts_on_a_disk_that_was_filled_while_it_was_down(void **state) {
        struct fixture *f = *state;
        struct digest key;

        use_disk(f, "48m");
        key = make_model(f->cache, "example.com/m:1", "text");
        assert_int_equal(size_of(f, "root/reserve"), RESERVE);
        cache_close(f->cache);
        f->cache = NULL;
        fill(f);
        fixture_reopen(f);
        assert_model_tree(f->cache, &key, "file=text");
        assert_works(f, &key);
}

static void test_starts_on_a_full_disk_after_it_was_killed(void **state) {
        struct fixture *f = *state;
        struct digest key;
        int status;
        pid_t pid;

        use_disk(f, "48m");
        key = make_model(f->cache, "example.com/m:1", "text");
        cache_close(f->cache);
        f->cache = NULL;
        pid = fork();
        if (pid == 0) {
                struct error e;

                if (cache_open(&f->cache, f->settings, &e) < 0)
                        _exit(1);
                cache_model_used(f->cache, &key, true);
                fill(f);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        fixture_reopen(f);
        assert_model_tree(f->cache, &key, "file=text");
        assert_works(f, &key);
}

static void test_leases_are_written_down_on_a_full_disk(void **state) {
        struct fixture *f = *state;
        struct digest key;
        struct error e;

        use_disk(f, "48m");
        key = make_model(f->cache, "example.com/m:1", "text");
        fill(f);
        for (unsigned i = 0; i < LEASES; i++) {
                char target[64];

                snprintf(target, sizeof target, "/no/such/directory/of/a/pod/%u", i);
                assert_ok(cache_index_lease_put(f->cache->index, "vol", target, &key, "", 0, &e), &e);
        }
        assert_int_equal(cache_lease_count(f->cache), LEASES);
        fixture_reopen(f);
        assert_int_equal(cache_lease_count(f->cache), 0); /* nothing of it is mounted */
        assert_works(f, &key);
}

static void test_a_small_disk_has_no_reserve(void **state) {
        struct fixture *f = *state;

        use_disk(f, "16m");
        assert_true(size_of(f, "root/reserve") <= 0);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, full_teardown)
        const struct CMUnitTest tests[] = {
                T(test_the_log_is_not_mapped),
                T(test_starts_on_a_disk_that_was_filled_while_it_was_down),
                T(test_starts_on_a_full_disk_after_it_was_killed),
                T(test_leases_are_written_down_on_a_full_disk),
                T(test_a_small_disk_has_no_reserve),
        };

        private_mounts_or_skip();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
