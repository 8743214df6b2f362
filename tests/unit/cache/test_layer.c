/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing, holding and collecting layers, also by several threads at once. */
#include "fixture.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#define THREADS 8

static bool is_here(struct cache *c, const char *name, enum cache_form form) {
        struct digest d = digest_named(name);

        return cache_layer_find(c, &d, form, NULL);
}

static bool on_disk(const struct fixture *f, const char *name, const char *file) {
        struct digest d = digest_named(name);
        char hex[DIGEST_HEX_SIZE], path[PATH_MAX];

        snprintf(path, sizeof path, "%s/root/layers/sha256/%s/%s", f->dir, digest_hex(&d, hex), file);
        return access(path, F_OK) == 0;
}

static void test_a_layer_is_found_once_it_is_sealed(void **state) {
        struct fixture *f = *state;
        struct cache_layer layer, found;
        struct cache_staging *s =
            begin_tar(f->cache, "l", (struct entry[]){ { "f", "12345", 0 }, { 0 } }, &layer);
        struct error e;

        assert_false(is_here(f->cache, "l", CACHE_TREE));
        assert_ok(cache_staging_seal(s, &layer, &e), &e);
        assert_true(cache_layer_find(f->cache, &layer.digest, CACHE_TREE, &found));
        assert_true(digest_equal(&found.digest, &layer.digest));
        assert_int_equal(found.form, CACHE_TREE);
        assert_int_equal(found.size, 4096);
        assert_int_equal(found.bytes, 5);
        assert_int_equal(found.files, 1);
        assert_staging_empty(f);
}

/* The file system is asked to, if it is one that can. */
static void test_layers_are_spread_over_the_disk(void **state) {
        struct fixture *f = *state;
        char path[PATH_MAX];
        struct statfs fs;
        int flags;

        snprintf(path, sizeof path, "%s/root/staging", f->dir);
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(fstatfs(fd, &fs), 0);
        if (fs.f_type == EXT4_SUPER_MAGIC) {
                assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
                assert_true(flags & FS_TOPDIR_FL);
        }
        close(fd);
}

static void test_an_aborted_layer_leaves_nothing(void **state) {
        struct fixture *f = *state;
        struct cache_layer layer;

        cache_staging_abort(begin_tar(f->cache, "l", (struct entry[]){ { "d/f", "1", 0 }, { 0 } }, &layer));
        cache_staging_abort(NULL);
        assert_false(is_here(f->cache, "l", CACHE_TREE));
        assert_staging_empty(f);
}

static void test_one_digest_may_be_a_blob_and_a_tree(void **state) {
        struct fixture *f = *state;

        stage_raw(f->cache, "both");
        assert_false(is_here(f->cache, "both", CACHE_TREE));
        stage_tar(f->cache, "both", (struct entry[]){ { "f", "1", 0 }, { 0 } });
        assert_true(is_here(f->cache, "both", CACHE_BLOB));
        assert_true(is_here(f->cache, "both", CACHE_TREE));
}

static void test_a_blob_of_another_size_is_not_sealed(void **state) {
        struct fixture *f = *state;
        struct cache_layer layer = { .digest = digest_named("short"), .size = 100, .bytes = 100, .files = 1 };
        struct cache_staging *s;
        struct error e;

        assert_ok(cache_staging_begin(&s, f->cache, &layer, &e), &e);
        write_text(cache_staging_dir(s), "blob", "short", 0444);
        assert_true(cache_staging_seal(s, &layer, &e) < 0);
        assert_false(is_here(f->cache, "short", CACHE_BLOB));
        assert_staging_empty(f);
}

/* One blob, kept as it is for one model and decoded for another. */
static void test_a_blob_and_what_it_decodes_to_are_two_layers(void **state) {
        struct fixture *f = *state;
        struct cache_layer layer = {
                .digest = digest_named("both"), .form = CACHE_CONTENT, .size = 4, .bytes = 9, .files = 1
        };
        struct model_plan *p = plan_new("example.com/decoded:1");
        struct cache_staging *s;
        struct digest key = digest_named("decoded");
        struct error e;

        assert_ok(cache_staging_begin(&s, f->cache, &layer, &e), &e);
        write_text(cache_staging_dir(s), "blob", "both ways", 0444);
        assert_ok(cache_staging_seal(s, &layer, &e), &e);
        assert_false(is_here(f->cache, "both", CACHE_BLOB));
        stage_raw(f->cache, "both");

        plan_add(p, PLAN_RAW, "both", "decoded")->codec = PLAN_CODEC_GZIP;
        plan_add(p, PLAN_RAW, "both", "as-it-is");
        assert_ok(cache_model_build(f->cache, &key, p, NULL, false, &e), &e);
        assert_model_tree(f->cache, &key, "as-it-is=both decoded=both ways");
        fixture_reopen(f);
        assert_true(is_here(f->cache, "both", CACHE_CONTENT));
        assert_true(is_here(f->cache, "both", CACHE_BLOB));
        assert_model_tree(f->cache, &key, "as-it-is=both decoded=both ways");
        model_plan_free(p);
}

static void seal_private(struct cache *c, const char *text, bool is_private, const char *origin) {
        struct cache_layer l = { .digest = digest_named(text),
                                 .size = strlen(text),
                                 .bytes = strlen(text),
                                 .files = 1,
                                 .is_private = is_private,
                                 .origin = digest_named(origin) };
        struct cache_staging *s;
        struct error e;

        assert_ok(cache_staging_begin(&s, c, &l, &e), &e);
        write_text(cache_staging_dir(s), "blob", text, 0444);
        assert_ok(cache_staging_seal(s, &l, &e), &e);
}

static void test_a_layer_is_private_until_somebody_brings_it_without_credentials(void **state) {
        struct fixture *f = *state;
        struct digest d = digest_named("secret");
        struct cache_layer l;

        seal_private(f->cache, "secret", true, "one");
        seal_private(f->cache, "secret", true, "two");
        assert_true(cache_layer_find(f->cache, &d, CACHE_BLOB, &l));
        assert_true(l.is_private);
        fixture_reopen(f);
        struct digest one = digest_named("one");
        assert_true(cache_layer_find(f->cache, &d, CACHE_BLOB, &l));
        assert_true(l.is_private && digest_equal(&l.origin, &one));

        seal_private(f->cache, "secret", false, "three");
        for (int i = 0; i < 2; i++) {
                assert_true(cache_layer_find(f->cache, &d, CACHE_BLOB, &l));
                assert_false(l.is_private);
                fixture_reopen(f);
        }
}

static void test_the_second_seal_of_a_layer_is_success(void **state) {
        struct fixture *f = *state;

        for (int i = 0; i < 2; i++) {
                stage_raw(f->cache, "twice");
                stage_tar(f->cache, "twice", (struct entry[]){ { "f", "1", 0 }, { 0 } });
        }
        assert_true(is_here(f->cache, "twice", CACHE_TREE));
        assert_staging_empty(f);
}

/* ---- collection ---- */

static void test_removing_a_model_removes_the_layers_that_only_it_used(void **state) {
        struct fixture *f = *state;
        struct model_plan *one = plan_new("example.com/one:1"), *two = plan_new("example.com/two:1");
        struct digest a = plan_key(one, NULL), b = plan_key(two, NULL);
        uint64_t freed;
        struct error e;

        stage_raw(f->cache, "shared");
        stage_raw(f->cache, "of one");
        plan_add(one, PLAN_RAW, "shared", "s");
        plan_add(one, PLAN_RAW, "of one", "o");
        plan_add(two, PLAN_RAW, "shared", "s");
        assert_ok(cache_model_build(f->cache, &a, one, NULL, false, &e), &e);
        assert_ok(cache_model_build(f->cache, &b, two, NULL, false, &e), &e);
        assert_ok(cache_model_remove(f->cache, &a, &freed, &e), &e);
        assert_int_equal(freed, strlen("of one"));
        assert_false(is_here(f->cache, "of one", CACHE_BLOB));
        assert_false(on_disk(f, "of one", ""));
        assert_model_tree(f->cache, &b, "s=shared");
        assert_ok(cache_model_remove(f->cache, &b, &freed, &e), &e);
        assert_int_equal(freed, strlen("shared"));
        assert_false(on_disk(f, "shared", ""));
        assert_staging_empty(f);
        model_plan_free(one);
        model_plan_free(two);
}

static void test_a_layer_that_a_job_holds_is_not_collected(void **state) {
        struct fixture *f = *state;
        struct digest held = digest_named("held"), key;
        struct error e;

        stage_raw(f->cache, "held");
        cache_layer_hold(f->cache, &held);
        cache_layer_hold(f->cache, &held);
        key = make_model(f->cache, "example.com/m:1", "other");
        assert_ok(cache_model_remove(f->cache, &key, NULL, &e), &e);
        assert_true(is_here(f->cache, "held", CACHE_BLOB));
        cache_layer_unhold(f->cache, &held);
        key = make_model(f->cache, "example.com/m:1", "other");
        assert_ok(cache_model_remove(f->cache, &key, NULL, &e), &e);
        assert_true(is_here(f->cache, "held", CACHE_BLOB));
        cache_layer_unhold(f->cache, &held);
        key = make_model(f->cache, "example.com/m:1", "other");
        assert_ok(cache_model_remove(f->cache, &key, NULL, &e), &e);
        assert_false(is_here(f->cache, "held", CACHE_BLOB));
        assert_false(on_disk(f, "held", ""));
}

static void test_one_form_is_collected_and_the_other_stays(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "both"), other;
        struct error e;

        stage_tar(f->cache, "both", (struct entry[]){ { "f", "1", 0 }, { 0 } });
        other = make_model(f->cache, "example.com/other:1", "other");
        assert_ok(cache_model_remove(f->cache, &other, NULL, &e), &e);
        assert_false(is_here(f->cache, "both", CACHE_TREE));
        assert_false(on_disk(f, "both", "tree"));
        assert_true(on_disk(f, "both", "blob"));
        assert_model_tree(f->cache, &key, "file=both");
}

/* ---- threads ---- */

struct racer {
        struct cache *cache;
        pthread_barrier_t *barrier;
        unsigned n, failed;
        struct error error; /* the last */
};

static void note(struct racer *r, int result) {
        if (result < 0)
                r->failed++;
}

static int race_stage(struct racer *r, const char *text) {
        struct cache_layer layer = { .size = strlen(text), .bytes = strlen(text), .files = 1 };
        struct cache_staging *s;
        int fd, result;

        (void)digest_of(&layer.digest, text, strlen(text));
        result = cache_staging_begin(&s, r->cache, &layer, &r->error);
        if (result < 0)
                return result;
        fd = openat(cache_staging_dir(s), "blob", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
        if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
                cache_staging_abort(s);
                return -EIO;
        }
        close(fd);
        return cache_staging_seal(s, &layer, &r->error);
}

static void *race(void *userdata) {
        struct racer *r = userdata;
        struct plan_blob blobs[2] = { { .packing = PLAN_RAW, .path = (char[]){ "a" } },
                                      { .packing = PLAN_RAW, .path = (char[]){ "b" } } };
        struct oci_reference reference = { .text = (char[]){ "example.com/race:1" } };
        struct model_plan plan = {
                .reference = &reference, .root = (char[]){ "" }, .blobs = blobs, .n_blobs = 2
        };
        struct digest key;

        (void)digest_of(&blobs[0].digest, "race a", 6);
        (void)digest_of(&blobs[1].digest, "race b", 6);
        (void)digest_of(&plan.manifest, "race", 4);
        (void)oci_selection_key(&key, NULL, &plan.manifest);
        pthread_barrier_wait(r->barrier);
        for (unsigned i = 0; i < 40; i++) {
                struct cache_model *m = NULL;
                int result;

                cache_layer_hold(r->cache, &blobs[0].digest);
                cache_layer_hold(r->cache, &blobs[1].digest);
                for (int b = 0; b < 2; b++)
                        if (!cache_layer_find(r->cache, &blobs[b].digest, CACHE_BLOB, NULL))
                                note(r, race_stage(r, b ? "race b" : "race a"));
                note(r, cache_model_build(r->cache, &key, &plan, NULL, false, &r->error));
                cache_layer_unhold(r->cache, &blobs[0].digest);
                cache_layer_unhold(r->cache, &blobs[1].digest);
                if (cache_model_find(r->cache, &key, &m) >= 0)
                        cache_model_free(m);
                cache_model_used(r->cache, &key, true);
                if ((i + r->n) % 3 == 0) {
                        result = cache_model_remove(r->cache, &key, NULL, &r->error);
                        if (result != -ENOENT)
                                note(r, result);
                }
        }
        return NULL;
}

static void test_threads_stage_build_and_remove_the_same_model_at_once(void **state) {
        struct fixture *f = *state;
        struct racer racers[THREADS];
        pthread_t threads[THREADS];
        pthread_barrier_t barrier;
        struct cache_model **list;
        size_t n;
        struct error e;

        pthread_barrier_init(&barrier, NULL, THREADS);
        for (unsigned i = 0; i < THREADS; i++) {
                racers[i] = (struct racer){ .cache = f->cache, .barrier = &barrier, .n = i };
                assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        pthread_barrier_destroy(&barrier);
        for (unsigned i = 0; i < THREADS; i++)
                if (racers[i].failed > 0)
                        fail_msg("%u failures, the last: %s", racers[i].failed, racers[i].error.text);
        fixture_reopen(f);
        assert_ok(cache_model_list(f->cache, &list, &n, &e), &e);
        for (size_t i = 0; i < n; i++)
                assert_tree(list[i]->path, "a=race a b=race b");
        cache_model_list_free(list, n);
        assert_staging_empty(f);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        const struct CMUnitTest tests[] = {
                T(test_a_layer_is_found_once_it_is_sealed),
                T(test_layers_are_spread_over_the_disk),
                T(test_an_aborted_layer_leaves_nothing),
                T(test_one_digest_may_be_a_blob_and_a_tree),
                T(test_a_blob_of_another_size_is_not_sealed),
                T(test_a_blob_and_what_it_decodes_to_are_two_layers),
                T(test_a_layer_is_private_until_somebody_brings_it_without_credentials),
                T(test_the_second_seal_of_a_layer_is_success),
                T(test_removing_a_model_removes_the_layers_that_only_it_used),
                T(test_a_layer_that_a_job_holds_is_not_collected),
                T(test_one_form_is_collected_and_the_other_stays),
                T(test_threads_stage_build_and_remove_the_same_model_at_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
