/* SPDX-License-Identifier: Apache-2.0 */
/* Promising disk, and what happens when there is none. */
/* WRAP: fstatvfs */
#include "fixture.h"

#include "base/metrics.h"

#include <sys/statvfs.h>

#define KIB ((uint64_t)1024)

static void limit(struct fixture *f, const char *bytes) {
        struct error e;

        assert_ok(settings_set(f->settings, "cache.maxBytes", bytes, &e), &e);
}

static struct cache_space space_of(struct cache *c) {
        struct cache_space s;
        struct error e;

        assert_ok(cache_space(c, &s, &e), &e);
        return s;
}

static void test_what_is_promised_is_not_free(void **state) {
        struct fixture *f = *state;
        struct cache_reservation *a, *b;
        struct error e;

        limit(f, "1MiB");
        assert_int_equal(space_of(f->cache).capacity, 1024 * KIB);
        assert_int_equal(space_of(f->cache).free, 1024 * KIB);
        assert_ok(cache_reserve(&a, f->cache, 600 * KIB, &e), &e);
        assert_int_equal(space_of(f->cache).reserved, 600 * KIB);
        assert_int_equal(space_of(f->cache).free, 424 * KIB);
        assert_int_equal(cache_reserve(&b, f->cache, 425 * KIB, &e), -ENOSPC);
        assert_ok(cache_reserve(&b, f->cache, 424 * KIB, &e), &e);
        assert_int_equal(cache_reservation_grow(b, 1, &e), -ENOSPC);
        cache_reservation_release(a);
        assert_ok(cache_reservation_grow(b, 600 * KIB, &e), &e);
        cache_reservation_release(b);
        cache_reservation_release(NULL);
        assert_int_equal(space_of(f->cache).free, 1024 * KIB);
}

static void test_what_is_written_is_not_free_before_it_is_sealed(void **state) {
        struct fixture *f = *state;
        struct cache_reservation *r;
        struct error e;

        limit(f, "1MiB");
        assert_ok(cache_reserve(&r, f->cache, 600 * KIB, &e), &e);
        cache_reservation_consume(r, 400 * KIB);
        assert_int_equal(space_of(f->cache).reserved, 200 * KIB);
        assert_int_equal(space_of(f->cache).free, 424 * KIB);
        cache_reservation_consume(r, 300 * KIB); /* more than was promised */
        assert_int_equal(space_of(f->cache).reserved, 0);
        assert_int_equal(space_of(f->cache).free, 324 * KIB);
        cache_reservation_release(r);
        assert_int_equal(space_of(f->cache).free, 1024 * KIB);
}

static void test_space_is_spared_where_nobody_is_in_want_of_it(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "0123456789");
        struct cache_reservation *r;
        struct error e;

        limit(f, "1MiB");
        assert_ok(cache_reserve(&r, f->cache, 600 * KIB, &e), &e);
        uint64_t before = space_of(f->cache).free;
        assert_int_equal(cache_reservation_spare(r, before / 2), -ENOSPC);
        assert_int_equal(cache_reservation_spare(r, before / 4), 0);
        assert_int_equal(space_of(f->cache).free, before - before / 4);
        assert_int_equal(space_of(f->cache).reserved, 600 * KIB);
        cache_reservation_give_back(r, before / 4);
        assert_int_equal(space_of(f->cache).free, before);
        cache_reservation_release(r);
        _cleanup_(cache_model_freep) struct cache_model *m = NULL;
        assert_int_equal(cache_model_find(f->cache, &key, &m), 0);
}

static void test_a_refusal_says_what_is_needed_free_and_in_the_way(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "0123456789");
        struct cache_reservation *r;
        struct error e;

        assert_ok(cache_model_pin(f->cache, &key, true, 0, &e), &e);
        limit(f, "1MiB");
        assert_int_equal(cache_reserve(&r, f->cache, 5120 * KIB, &e), -ENOSPC);
        assert_int_equal(e.kind, ERROR_NO_SPACE);
        assert_non_null(strstr(e.text, "needs 5.0 MiB"));
        assert_non_null(strstr(e.text, f->dir));
        assert_non_null(strstr(e.text, "of 1.0 MiB used"));
        assert_non_null(strstr(e.text, "1 mounted or pinned models hold 10 B"));
        assert_non_null(strstr(e.text, "modelstage rm"));
}

static void test_what_the_file_system_keeps_is_not_free(void **state) {
        struct fixture *f = *state;
        struct cache_reservation *r;
        struct error e;

        limit(f, "1MiB");
        assert_ok(settings_set(f->settings, "cache.minFree", "100%", &e), &e);
        assert_int_equal(space_of(f->cache).free, 0);
        assert_int_equal(cache_reserve(&r, f->cache, 1, &e), -ENOSPC);
}

/* What happens while the disk is being measured. */
static void (*while_measuring)(void);
static struct cache_reservation *writing;

int __real_fstatvfs(int fd, struct statvfs *fs);
int __wrap_fstatvfs(int fd, struct statvfs *fs);
int __wrap_fstatvfs(int fd, struct statvfs *fs) {
        if (while_measuring)
                while_measuring();
        return __real_fstatvfs(fd, fs);
}

static void write_200_kib(void) {
        cache_reservation_consume(writing, 200 * KIB);
}

static void end_the_writer(void) {
        cache_reservation_release(take_ptr(writing));
}

/* The engine tells of its writes on the thread that serves all sockets. */
static void test_writes_are_told_while_the_disk_is_being_measured(void **state) {
        struct fixture *f = *state;
        struct cache_reservation *r;
        struct error e;

        limit(f, "1MiB");
        assert_ok(cache_reserve(&writing, f->cache, 600 * KIB, &e), &e);
        while_measuring = write_200_kib;
        assert_ok(cache_reserve(&r, f->cache, 424 * KIB, &e), &e);
        while_measuring = NULL;
        assert_int_equal(space_of(f->cache).reserved, 824 * KIB);
        assert_int_equal(space_of(f->cache).free, 0);
        cache_reservation_release(r);
        cache_reservation_release(take_ptr(writing));
}

static void test_what_is_released_while_the_disk_is_being_measured_is_not_free_yet(void **state) {
        struct fixture *f = *state;
        struct error e;

        limit(f, "1MiB");
        assert_ok(cache_reserve(&writing, f->cache, 600 * KIB, &e), &e);
        while_measuring = end_the_writer; /* the sums may be older than the layer that it sealed */
        assert_int_equal(space_of(f->cache).free, 424 * KIB);
        while_measuring = NULL;
        assert_int_equal(space_of(f->cache).free, 1024 * KIB);
}

struct taker {
        pthread_t thread;
        struct cache *cache;
        struct cache_reservation *reservation;
};

static void *take_600_kib(void *userdata) {
        struct taker *t = userdata;
        struct error e;

        (void)cache_reserve(&t->reservation, t->cache, 600 * KIB, &e);
        return NULL;
}

static void test_threads_are_not_promised_the_same_bytes(void **state) {
        struct fixture *f = *state;
        struct taker t[8] = { 0 };
        unsigned served = 0;

        limit(f, "1MiB");
        for (unsigned i = 0; i < 8; i++) {
                t[i].cache = f->cache;
                assert_int_equal(pthread_create(&t[i].thread, NULL, take_600_kib, &t[i]), 0);
        }
        for (unsigned i = 0; i < 8; i++) {
                pthread_join(t[i].thread, NULL);
                served += t[i].reservation != NULL;
        }
        for (unsigned i = 0; i < 8; i++)
                cache_reservation_release(t[i].reservation);
        assert_int_equal(served, 1);
        assert_int_equal(space_of(f->cache).free, 1024 * KIB);
}

static void test_unused_layers_make_room_unless_they_are_held(void **state) {
        struct fixture *f = *state;
        struct digest old = digest_named("unused layer"), held = digest_named("held layer");
        struct cache_reservation *r;
        struct error e;

        stage_raw(f->cache, "unused layer");
        stage_raw(f->cache, "held layer");
        cache_layer_hold(f->cache, &held);
        limit(f, "30");
        assert_ok(cache_reserve(&r, f->cache, 8, &e), &e);
        assert_true(cache_layer_find(f->cache, &old, CACHE_BLOB, NULL));
        assert_ok(cache_reservation_grow(r, 12, &e), &e);
        assert_false(cache_layer_find(f->cache, &old, CACHE_BLOB, NULL));
        assert_true(cache_layer_find(f->cache, &held, CACHE_BLOB, NULL));
        assert_int_equal(cache_reservation_grow(r, 1, &e), -ENOSPC);
        cache_reservation_release(r);
        cache_layer_unhold(f->cache, &held);
}

static void test_gauges_show_the_cache_until_it_is_closed(void **state) {
        struct fixture *f = *state;
        struct buf text = BUF_INIT(1 << 20);
        struct cache_reservation *r;
        struct error e;

        limit(f, "1MiB");
        (void)make_model(f->cache, "example.com/m:1", "0123456789");
        assert_ok(cache_reserve(&r, f->cache, 100, &e), &e);
        assert_int_equal(metrics_write(&text), 0);
        assert_non_null(strstr(text.data, "modelstage_cache_models 1\n"));
        assert_non_null(strstr(text.data, "modelstage_cache_layers 1\n"));
        assert_non_null(strstr(text.data, "modelstage_cache_used_bytes 10\n"));
        assert_non_null(strstr(text.data, "modelstage_cache_capacity_bytes 1048576\n"));
        assert_non_null(strstr(text.data, "modelstage_cache_reserved_bytes 100\n"));
        assert_non_null(strstr(text.data, "modelstage_volumes 0\n"));
        cache_reservation_release(r);
        cache_close(f->cache);
        f->cache = NULL;
        buf_clear(&text);
        assert_int_equal(metrics_write(&text), 0); /* asks nobody who is gone */
        buf_free(&text);
}

/* ---- a disk that is full ---- */

static void fill_disk(const struct fixture *f) {
        static char zeros[4096];
        char path[PATH_MAX];
        int fd;

        fixture_path(f, "root/filler", path);
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        assert_return_code(fd, errno);
        while (write(fd, zeros, sizeof zeros) > 0)
                ;
        assert_int_equal(errno, ENOSPC);
        close(fd);
}

static void empty_disk(const struct fixture *f) {
        char path[PATH_MAX];

        fixture_path(f, "root/filler", path);
        assert_int_equal(unlink(path), 0);
}

static int full_setup(void **state) {
        char path[PATH_MAX];
        struct fixture *f;
        struct error e;

        fixture_setup(state);
        f = *state;
        cache_close(f->cache);
        f->cache = NULL;
        fixture_path(f, "root", path);
        assert_int_equal(mount("tmpfs", path, "tmpfs", 0, "size=8m,mode=0700"), 0);
        assert_ok(settings_set(f->settings, "cache.minFree", "0", &e), &e);
        fixture_reopen(f);
        return 0;
}

static int full_teardown(void **state) {
        struct fixture *f = *state;
        char path[PATH_MAX];

        cache_close(f->cache);
        f->cache = NULL;
        fixture_path(f, "root", path);
        assert_int_equal(umount2(path, MNT_DETACH), 0);
        return fixture_teardown(state);
}

static void test_a_full_disk_is_said_and_leaves_nothing_half_made(void **state) {
        struct fixture *f = *state;
        struct digest here = make_model(f->cache, "example.com/here:1", "here"), key;
        struct model_plan *p = plan_new("example.com/new:1");
        struct cache_staging *s;
        struct cache_layer layer;
        struct cache_model *m;
        struct error e;

        key = plan_key(p, NULL);
        stage_raw(f->cache, "ready");
        plan_add(p, PLAN_RAW, "ready", "dir/file");
        s = begin_tar(f->cache, "late", (struct entry[]){ { "f", "1", 0 }, { 0 } }, &layer);
        fill_disk(f);
        assert_int_equal(cache_staging_seal(s, &layer, &e), -ENOSPC);
        assert_int_equal(e.kind, ERROR_NO_SPACE);
        assert_false(cache_layer_find(f->cache, &layer.digest, CACHE_TREE, NULL));
        fill_disk(f); /* also what the failed one has given back */
        assert_int_equal(cache_model_build(f->cache, &key, p, NULL, false, &e), -ENOSPC);
        assert_int_equal(e.kind, ERROR_NO_SPACE);
        assert_int_equal(cache_model_find(f->cache, &key, &m), -ENOENT);
        assert_model_tree(f->cache, &here, "file=here");
        empty_disk(f);
        assert_ok(cache_model_build(f->cache, &key, p, NULL, false, &e), &e);
        assert_model_tree(f->cache, &key, "dir/ dir/file=ready");
        fixture_reopen(f);
        assert_model_tree(f->cache, &key, "dir/ dir/file=ready");
        assert_model_tree(f->cache, &here, "file=here");
        model_plan_free(p);
}

static void test_models_can_be_removed_from_a_full_disk(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        struct cache_model *m;
        uint64_t freed;
        struct error e;

        fill_disk(f);
        assert_ok(cache_model_remove(f->cache, &key, &freed, &e), &e);
        assert_int_equal(freed, 4);
        assert_int_equal(cache_model_find(f->cache, &key, &m), -ENOENT);
        empty_disk(f);
        fixture_reopen(f);
        assert_int_equal(cache_model_find(f->cache, &key, &m), -ENOENT);
}

static void test_a_full_disk_can_be_opened_again(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        struct error e;
        int r;

        fill_disk(f);
        cache_close(f->cache);
        f->cache = NULL;
        r = cache_open(&f->cache, f->settings, &e);
        if (r < 0) { /* without a byte for its index it may refuse, but it says why */
                assert_int_equal(e.kind, ERROR_NO_SPACE);
                empty_disk(f);
                fixture_reopen(f);
        }
        assert_model_tree(f->cache, &key, "file=text");
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
#define FULL(name) cmocka_unit_test_setup_teardown(name, full_setup, full_teardown)
        const struct CMUnitTest tests[] = {
                T(test_what_is_promised_is_not_free),
                T(test_what_is_written_is_not_free_before_it_is_sealed),
                T(test_space_is_spared_where_nobody_is_in_want_of_it),
                T(test_a_refusal_says_what_is_needed_free_and_in_the_way),
                T(test_what_the_file_system_keeps_is_not_free),
                T(test_writes_are_told_while_the_disk_is_being_measured),
                T(test_what_is_released_while_the_disk_is_being_measured_is_not_free_yet),
                T(test_threads_are_not_promised_the_same_bytes),
                T(test_unused_layers_make_room_unless_they_are_held),
                T(test_gauges_show_the_cache_until_it_is_closed),
        };
        const struct CMUnitTest with_mounts[] = {
                FULL(test_a_full_disk_is_said_and_leaves_nothing_half_made),
                FULL(test_models_can_be_removed_from_a_full_disk),
                FULL(test_a_full_disk_can_be_opened_again),
        };
        int failed;

        failed = cmocka_run_group_tests(tests, NULL, NULL);
        if (failed == 0)
                private_mounts_or_skip();
        return failed ? failed : cmocka_run_group_tests(with_mounts, NULL, NULL);
}
