/* SPDX-License-Identifier: Apache-2.0 */
/* Models and layers whose record is broken, from the future or unreadable: who sees them goes on seeing them. */
/* WRAP: read */
#include "fixture.h"

#include "cache/store.h"

static ino_t unreadable; /* read() of this file fails with EIO */

ssize_t __real_read(int fd, void *data, size_t len);
ssize_t __wrap_read(int fd, void *data, size_t len);
ssize_t __wrap_read(int fd, void *data, size_t len) {
        struct stat st;

        if (unreadable && fstat(fd, &st) == 0 && st.st_ino == unreadable) {
                errno = EIO;
                return -1;
        }
        return __real_read(fd, data, len);
}

static void close_cache(struct fixture *f) {
        cache_close(f->cache);
        f->cache = NULL;
}

static char *model_path(const struct fixture *f, const struct digest *key, const char *suffix,
                        char path[static PATH_MAX]) {
        char hex[DIGEST_HEX_SIZE], name[256];

        snprintf(name, sizeof name, "root/models/sha256/%s%s", digest_hex(key, hex), suffix);
        fixture_path(f, name, path);
        return path;
}

static char *layer_path(const struct fixture *f, const char *layer, const char *file,
                        char path[static PATH_MAX]) {
        struct digest d = digest_named(layer);
        char hex[DIGEST_HEX_SIZE], name[256];

        snprintf(name, sizeof name, "root/layers/sha256/%s/%s", digest_hex(&d, hex), file);
        fixture_path(f, name, path);
        return path;
}

/* NULL: the file is removed. */
static void replace(const char *path, const char *text) {
        assert_int_equal(unlink(path), 0);
        if (text)
                write_text(AT_FDCWD, path, text, 0600);
}

/* The record of version 99 of the same thing; what it was is in *ret_old. */
static void make_later(const char *path, char **ret_old) {
        json_t *o = json_load_file(path, 0, NULL);
        char *text;

        *ret_old = json_dumps(o, 0);
        json_object_set_new(o, "version", json_integer(99));
        text = json_dumps(o, 0);
        replace(path, text);
        free(text);
        json_decref(o);
}

static bool is_there(const char *path) {
        struct stat st;

        return lstat(path, &st) == 0;
}

static bool is_listed(struct cache *c, const struct digest *key) {
        struct cache_model *m;

        if (cache_model_find(c, key, &m) < 0)
                return false;
        cache_model_free(m);
        return true;
}

static void publish(struct fixture *f, const struct digest *key, char target[static PATH_MAX]) {
        struct error e;

        fixture_path(f, "target", target);
        assert_ok(cache_publish(f->cache, "vol", key, "", target, &e), &e);
}

static void lose_index(struct fixture *f) {
        char path[PATH_MAX];

        close_cache(f);
        fixture_path(f, "root/index.db", path);
        assert_int_equal(unlink(path), 0);
}

static void unpublish(struct fixture *f, const char *target) {
        struct error e;

        assert_ok(cache_unpublish(f->cache, "vol", target, false, &e), &e);
        assert_false(is_there(target));
}

static void test_a_mounted_model_gets_its_broken_record_again_from_the_index(void **state) {
        static const char *const bad[] = { NULL, "", "{", "{\"version\": 1}" };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                struct digest key = make_model(f->cache, "example.com/m:1", "text"),
                              layer = digest_named("text");
                char target[PATH_MAX], path[PATH_MAX];
                struct cache_model *m;
                struct error e;

                assert_ok(cache_model_pin(f->cache, &key, true, 7, &e), &e);
                publish(f, &key, target);
                close_cache(f);
                replace(model_path(f, &key, ".json", path), bad[i]);
                fixture_reopen(f);
                assert_tree(target, "file=text");
                assert_int_equal(is_there(model_path(f, &key, ".json.bad", path)), bad[i] != NULL);
                lose_index(f); /* the new record says all by itself */
                fixture_reopen(f);
                assert_tree(target, "file=text");
                assert_int_equal(cache_model_find(f->cache, &key, &m), 0);
                assert_string_equal(m->reference, "example.com/m:1");
                assert_int_equal(m->size, 4);
                assert_int_equal(m->files, 1);
                assert_int_equal(m->expires_ms, 7);
                assert_true(m->pinned);
                assert_int_equal(m->mounts, 1);
                cache_model_free(m);
                assert_ok(cache_collect_layers(f->cache, NULL, &e), &e);
                assert_true(cache_layer_find(f->cache, &layer, CACHE_BLOB, NULL));
                unpublish(f, target);
                assert_ok(cache_model_remove(f->cache, &key, NULL, &e), &e);
        }
}

static void test_a_mounted_model_that_nothing_describes_stays_until_it_is_unmounted(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX], path[PATH_MAX];

        publish(f, &key, target);
        lose_index(f);
        replace(model_path(f, &key, ".json", path), "{}");
        fixture_reopen(f);
        fixture_reopen(f);
        assert_tree(target, "file=text");
        assert_false(is_listed(f->cache, &key));
        unpublish(f, target);
        fixture_reopen(f);
        assert_false(is_there(model_path(f, &key, "", path)));
        assert_false(is_there(model_path(f, &key, ".json.bad", path)));
}

static void test_building_a_model_that_only_pods_see_takes_its_tree(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX], path[PATH_MAX];

        publish(f, &key, target);
        lose_index(f);
        replace(model_path(f, &key, ".json", path), "{}");
        fixture_reopen(f);
        key = make_model(f->cache, "example.com/m:1", "text");
        assert_true(is_listed(f->cache, &key));
        assert_tree(target, "file=text");
        assert_staging_empty(f);
        fixture_reopen(f);
        assert_model_tree(f->cache, &key, "file=text");
        assert_tree(target, "file=text");
        unpublish(f, target);
}

static void test_a_model_of_a_later_version_is_left_alone(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/m:1");
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char target[PATH_MAX], path[PATH_MAX], *old;
        struct error e;

        publish(f, &key, target);
        close_cache(f);
        make_later(model_path(f, &key, ".json", path), &old);
        fixture_reopen(f);
        assert_false(is_listed(f->cache, &key));
        assert_tree(target, "file=text");
        plan_add(p, PLAN_RAW, "text", "file");
        assert_int_equal(cache_model_build(f->cache, &key, p, NULL, false, &e), -EBUSY);
        assert_non_null(strstr(e.text, "later version"));
        assert_tree(target, "file=text");
        assert_staging_empty(f);
        unpublish(f, target);
        fixture_reopen(f);
        close_cache(f);
        replace(path, old); /* as the later version would find it again */
        fixture_reopen(f);
        assert_model_tree(f->cache, &key, "file=text");
        model_plan_free(p);
        free(old);
}

static void test_a_layer_of_a_later_version_is_left_alone_until_it_is_staged(void **state) {
        struct fixture *f = *state;
        struct digest d = digest_named("layer");
        char path[PATH_MAX], *old;

        stage_tar(f->cache, "layer", (struct entry[]){ { "f", "later", 0 }, { 0 } });
        close_cache(f);
        make_later(layer_path(f, "layer", "tree.json", path), &old);
        free(old);
        fixture_reopen(f);
        assert_false(cache_layer_find(f->cache, &d, CACHE_TREE, NULL));
        assert_tree(layer_path(f, "layer", "tree", path), "f=later");
        stage_tar(f->cache, "layer", (struct entry[]){ { "f", "ours", 0 }, { 0 } });
        assert_true(cache_layer_find(f->cache, &d, CACHE_TREE, NULL));
        assert_tree(path, "f=ours");
}

static void test_a_record_that_cannot_be_read_stops_the_start_and_removes_nothing(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char paths[2][PATH_MAX];
        struct stat st;
        struct error e;

        close_cache(f);
        model_path(f, &key, ".json", paths[0]);
        layer_path(f, "text", "blob.json", paths[1]);
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(stat(paths[i], &st), 0);
                unreadable = st.st_ino;
                assert_int_equal(cache_open(&f->cache, f->settings, &e), -EIO);
                unreadable = 0;
        }
        fixture_reopen(f);
        assert_model_tree(f->cache, &key, "file=text");
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        const struct CMUnitTest tests[] = {
                T(test_a_mounted_model_gets_its_broken_record_again_from_the_index),
                T(test_a_mounted_model_that_nothing_describes_stays_until_it_is_unmounted),
                T(test_building_a_model_that_only_pods_see_takes_its_tree),
                T(test_a_model_of_a_later_version_is_left_alone),
                T(test_a_layer_of_a_later_version_is_left_alone_until_it_is_staged),
                T(test_a_record_that_cannot_be_read_stops_the_start_and_removes_nothing),
        };

        private_mounts_or_skip();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
