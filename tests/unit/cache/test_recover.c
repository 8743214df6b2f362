/* SPDX-License-Identifier: Apache-2.0 */
/* What a start makes of a root that was left in any state. */
#include "fixture.h"

#include "cache/sql.h"

static void close_cache(struct fixture *f) {
        cache_close(f->cache);
        f->cache = NULL;
}

static size_t count_models(struct cache *c) {
        struct cache_model **list;
        struct error e;
        size_t n;

        assert_ok(cache_model_list(c, &list, &n, &e), &e);
        cache_model_list_free(list, n);
        return n;
}

static void assert_gone(const struct fixture *f, const char *name) {
        char path[PATH_MAX];
        struct stat st;

        fixture_path(f, name, path);
        assert_int_equal(lstat(path, &st), -1);
        assert_int_equal(errno, ENOENT);
}

static void put_file(const struct fixture *f, const char *name, const char *text) {
        char path[PATH_MAX];

        fixture_path(f, name, path);
        write_text(AT_FDCWD, path, text, 0600);
}

static void put_dir(const struct fixture *f, const char *name) {
        char path[PATH_MAX];

        fixture_path(f, name, path);
        assert_int_equal(mkdir(path, 0700), 0);
}

static void model_name(const struct digest *key, const char *suffix, char name[static PATH_MAX]) {
        char hex[DIGEST_HEX_SIZE];

        snprintf(name, PATH_MAX, "root/models/sha256/%s%s", digest_hex(key, hex), suffix);
}

static void layer_name(const char *layer, const char *file, char name[static PATH_MAX]) {
        struct digest d = digest_named(layer);
        char hex[DIGEST_HEX_SIZE];

        snprintf(name, PATH_MAX, "root/layers/sha256/%s%s%s", digest_hex(&d, hex), *file ? "/" : "", file);
}

static void test_a_second_process_is_refused(void **state) {
        struct fixture *f = *state;
        struct cache *second;
        struct error e;

        assert_true(cache_open(&second, f->settings, &e) < 0);
        assert_int_equal(e.kind, ERROR_PRECONDITION);
        assert_non_null(strstr(e.text, "another process"));
}

static void test_everything_is_there_again_after_a_restart(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");

        fixture_reopen(f);
        assert_model_tree(f->cache, &key, "file=text");
        assert_int_equal(count_models(f->cache), 1);
}

static void test_staging_is_emptied(void **state) {
        struct fixture *f = *state;

        close_cache(f);
        put_dir(f, "root/staging/abc.tree");
        put_file(f, "root/staging/abc.tree/half", "x");
        put_file(f, "root/staging/stray", "x");
        fixture_reopen(f);
        assert_staging_empty(f);
}

/* ---- the index ---- */

static void test_a_lost_index_is_made_again_from_the_records(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text"), layer = digest_named("text"),
                      other;
        char path[PATH_MAX];
        struct cache_space space;
        struct error e;

        close_cache(f);
        fixture_path(f, "root/index.db", path);
        assert_int_equal(unlink(path), 0);
        fixture_reopen(f);
        assert_model_tree(f->cache, &key, "file=text");
        assert_true(cache_layer_find(f->cache, &layer, CACHE_BLOB, NULL));
        assert_ok(cache_space(f->cache, &space, &e), &e);
        assert_int_equal(space.used, 4);
        /* It knows again that the model uses the layer: removing another model leaves it. */
        other = make_model(f->cache, "example.com/n:1", "other");
        assert_ok(cache_model_remove(f->cache, &other, NULL, &e), &e);
        assert_true(cache_layer_find(f->cache, &layer, CACHE_BLOB, NULL));
}

static void assert_index_is_replaced(struct fixture *f) {
        char path[PATH_MAX];

        fixture_reopen(f);
        fixture_path(f, "root/index.db.bad", path);
        assert_int_equal(access(path, F_OK), 0);
        assert_int_equal(count_models(f->cache), 1);
}

static void test_a_corrupt_index_is_moved_away_and_made_again(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char junk[4096];
        char path[PATH_MAX];
        int fd;

        close_cache(f);
        fixture_path(f, "root/index.db", path);
        memset(junk, 0x5a, sizeof junk);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        assert_int_equal(pwrite(fd, junk, sizeof junk, 4096), (ssize_t)sizeof junk);
        close(fd);
        assert_index_is_replaced(f);
        assert_model_tree(f->cache, &key, "file=text");
}

static void test_what_is_no_database_is_moved_away(void **state) {
        struct fixture *f = *state;

        (void)make_model(f->cache, "example.com/m:1", "text");
        close_cache(f);
        put_file(f, "root/index.db", "this is not a database, however long it may be");
        assert_index_is_replaced(f);
}

static void test_an_index_of_another_version_is_moved_away(void **state) {
        struct fixture *f = *state;
        struct cache_sql *sql;
        char path[PATH_MAX];
        struct error e;

        (void)make_model(f->cache, "example.com/m:1", "text");
        close_cache(f);
        fixture_path(f, "root/index.db", path);
        assert_ok(cache_sql_open(&sql, path, &e), &e);
        assert_ok(cache_sql_exec(sql, "PRAGMA user_version = 99", &e), &e);
        cache_sql_close(sql);
        assert_index_is_replaced(f);
}

static void test_an_index_with_our_version_and_other_tables_is_moved_away(void **state) {
        struct fixture *f = *state;
        struct cache_sql *sql;
        char path[PATH_MAX];
        struct error e;

        (void)make_model(f->cache, "example.com/m:1", "text");
        close_cache(f);
        fixture_path(f, "root/index.db", path);
        assert_ok(cache_sql_open(&sql, path, &e), &e);
        assert_ok(cache_sql_exec(sql, "DROP TABLE tags", &e), &e);
        cache_sql_close(sql);
        assert_index_is_replaced(f);
}

static void test_a_model_that_is_not_on_disk_is_forgotten(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text"), other;
        char name[PATH_MAX];
        struct cache_model *m;
        char path[PATH_MAX];

        other = make_model(f->cache, "example.com/n:1", "other");
        close_cache(f);
        model_name(&key, "", name);
        fixture_path(f, name, path);
        remove_tree(path);
        fixture_reopen(f);
        assert_int_equal(cache_model_find(f->cache, &key, &m), -ENOENT);
        model_name(&key, ".json", name);
        assert_gone(f, name);
        assert_model_tree(f->cache, &other, "file=other");
}

/* ---- records ---- */

static void test_a_tree_without_a_sound_record_is_removed(void **state) {
        static const char *const bad[] = { NULL, "", "{", "{}", "[1]", "{\"version\": 1}" };
        struct fixture *f = *state;

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                struct digest key = make_model(f->cache, "example.com/m:1", "text");
                char name[PATH_MAX], path[PATH_MAX];

                close_cache(f);
                model_name(&key, ".json", name);
                fixture_path(f, name, path);
                assert_int_equal(unlink(path), 0);
                if (bad[i])
                        put_file(f, name, bad[i]);
                fixture_reopen(f);
                assert_int_equal(count_models(f->cache), 0);
                assert_gone(f, name);
                model_name(&key, "", name);
                assert_gone(f, name);
        }
}

static void test_a_record_of_another_model_does_not_count(void **state) {
        struct fixture *f = *state;
        struct digest a = make_model(f->cache, "example.com/a:1", "a"),
                      b = make_model(f->cache, "example.com/b:1", "b");
        char name[PATH_MAX], from[PATH_MAX], to[PATH_MAX];

        close_cache(f);
        model_name(&a, ".json", name);
        fixture_path(f, name, from);
        model_name(&b, ".json", name);
        fixture_path(f, name, to);
        assert_int_equal(unlink(to), 0);
        assert_int_equal(link(from, to), 0);
        fixture_reopen(f);
        assert_int_equal(count_models(f->cache), 1);
        assert_model_tree(f->cache, &a, "file=a");
}

static void test_a_layer_without_a_sound_record_is_removed(void **state) {
        static const char *const bad[] = { NULL, "{}", "{\"version\":1,\"digest\":\"sha256:00\"}" };
        struct fixture *f = *state;
        struct digest d = digest_named("layer");

        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                char name[PATH_MAX], path[PATH_MAX];

                stage_tar(f->cache, "layer", (struct entry[]){ { "f", "1", 0 }, { 0 } });
                close_cache(f);
                layer_name("layer", "tree.json", name);
                fixture_path(f, name, path);
                assert_int_equal(unlink(path), 0);
                if (bad[i])
                        put_file(f, name, bad[i]);
                fixture_reopen(f);
                assert_false(cache_layer_find(f->cache, &d, CACHE_TREE, NULL));
                layer_name("layer", "", name);
                assert_gone(f, name);
        }
}

static void test_a_blob_of_the_wrong_size_is_removed(void **state) {
        struct fixture *f = *state;
        struct digest d = digest_named("blob");
        char name[PATH_MAX], path[PATH_MAX];

        stage_raw(f->cache, "blob");
        close_cache(f);
        layer_name("blob", "blob", name);
        fixture_path(f, name, path);
        assert_int_equal(truncate(path, 2), 0);
        fixture_reopen(f);
        assert_false(cache_layer_find(f->cache, &d, CACHE_BLOB, NULL));
        assert_gone(f, name);
}

static void test_layers_that_nothing_uses_stay(void **state) {
        struct fixture *f = *state;
        struct digest d = digest_named("blob");

        stage_raw(f->cache, "blob");
        fixture_reopen(f);
        assert_true(cache_layer_find(f->cache, &d, CACHE_BLOB, NULL));
}

static void test_strangers_in_the_store_are_removed(void **state) {
        static const char *const strangers[] = {
                "root/layers/sha256/stray",
                "root/layers/sha256/0000000000000000000000000000000000000000000000000000000000000000",
                "root/models/sha256/stray",
                "root/models/sha256/.new-1-2",
                "root/models/sha256/0000000000000000000000000000000000000000000000000000000000000000.json",
                "root/models/sha256/0000000000000000000000000000000000000000000000000000000000000000",
        };
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        char name[PATH_MAX];

        close_cache(f);
        for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
                put_file(f, strangers[i], "x");
        layer_name("text", "stray", name);
        put_file(f, name, "x");
        fixture_reopen(f);
        for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
                assert_gone(f, strangers[i]);
        assert_gone(f, name);
        assert_model_tree(f->cache, &key, "file=text");
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        const struct CMUnitTest tests[] = {
                T(test_a_second_process_is_refused),
                T(test_everything_is_there_again_after_a_restart),
                T(test_staging_is_emptied),
                T(test_a_lost_index_is_made_again_from_the_records),
                T(test_a_corrupt_index_is_moved_away_and_made_again),
                T(test_what_is_no_database_is_moved_away),
                T(test_an_index_of_another_version_is_moved_away),
                T(test_an_index_with_our_version_and_other_tables_is_moved_away),
                T(test_a_model_that_is_not_on_disk_is_forgotten),
                T(test_a_tree_without_a_sound_record_is_removed),
                T(test_a_record_of_another_model_does_not_count),
                T(test_a_layer_without_a_sound_record_is_removed),
                T(test_a_blob_of_the_wrong_size_is_removed),
                T(test_layers_that_nothing_uses_stay),
                T(test_strangers_in_the_store_are_removed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
