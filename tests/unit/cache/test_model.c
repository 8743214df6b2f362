/* SPDX-License-Identifier: Apache-2.0 */
/* Finding, naming, counting, pinning and listing models; tags. */
#include "fixture.h"

#include "base/json.h"

static struct cache_model *model_of(struct cache *c, const struct digest *key) {
        struct cache_model *m;

        assert_int_equal(cache_model_find(c, key, &m), 0);
        return m;
}

static void test_a_model_tells_what_it_is(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        struct cache_model *m = model_of(f->cache, &key);
        char path[PATH_MAX], hex[DIGEST_HEX_SIZE];

        snprintf(path, sizeof path, "%s/root/models/sha256/%s", f->dir, digest_hex(&key, hex));
        assert_string_equal(m->path, path);
        assert_string_equal(m->reference, "example.com/m:1");
        assert_int_equal(m->format, PLAN_MODELCAR);
        assert_int_equal(m->size, 4);
        assert_int_equal(m->files, 1);
        assert_int_equal(m->hits, 0);
        assert_int_equal(m->mounts, 0);
        assert_false(m->pinned);
        assert_false(m->is_private);
        cache_model_free(m);
        key = digest_named("nothing");
        assert_int_equal(cache_model_find(f->cache, &key, &m), -ENOENT);
}

static void test_uses_and_hits_are_counted(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        struct cache_model *m;

        cache_model_used(f->cache, &key, false);
        cache_model_used(f->cache, &key, true);
        cache_model_used(f->cache, &key, true);
        m = model_of(f->cache, &key);
        assert_int_equal(m->hits, 2);
        assert_true(m->last_used_ms >= m->created_ms);
        cache_model_free(m);
        fixture_reopen(f);
        m = model_of(f->cache, &key);
        assert_int_equal(m->hits, 2);
        cache_model_free(m);
}

static void test_building_what_is_here_changes_nothing(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text");
        struct cache_model *m;

        cache_model_used(f->cache, &key, true);
        (void)make_model(f->cache, "example.com/m:1", "text");
        m = model_of(f->cache, &key);
        assert_int_equal(m->hits, 1);
        cache_model_free(m);
}

/* ---- names ---- */

static void assert_match(struct cache *c, const char *text, size_t expected) {
        struct cache_model **list;
        struct error e;
        size_t n;

        assert_ok(cache_model_match(c, text, &list, &n, &e), &e);
        assert_int_equal(n, expected);
        cache_model_list_free(list, n);
}

static void assert_no_match(struct cache *c, const char *text, enum error_kind kind) {
        struct cache_model **list;
        struct error e;
        size_t n;

        assert_true(cache_model_match(c, text, &list, &n, &e) < 0);
        assert_int_equal(e.kind, kind);
}

static void test_models_are_named_by_reference_tag_and_digest(void **state) {
        struct fixture *f = *state;
        struct digest manifest = digest_named("example.com/m:1");
        char text[DIGEST_TEXT_SIZE], pinned[128];
        struct error e;

        (void)make_model(f->cache, "example.com/m:1", "one");
        (void)make_model(f->cache, "example.com/n:1", "two");
        digest_format(&manifest, text);
        snprintf(pinned, sizeof pinned, "example.com/m@%s", text);
        assert_match(f->cache, "example.com/m:1", 1);
        assert_match(f->cache, "oci://example.com/m:1", 1);
        assert_match(f->cache, text, 1);
        assert_match(f->cache, text + strlen("sha256:"), 1);
        assert_match(f->cache, pinned, 1);
        text[strlen("sha256:") + 6] = '\0';
        assert_match(f->cache, text, 1);
        assert_match(f->cache, text + strlen("sha256:"), 1);
        text[strlen("sha256:") + 5] = '\0';
        assert_no_match(f->cache, text, ERROR_NOT_FOUND);
        assert_no_match(f->cache, "example.com/m:2", ERROR_NOT_FOUND);
        assert_no_match(f->cache, "example.com/m:1:2", ERROR_INVALID);
        assert_no_match(f->cache, "", ERROR_INVALID);
        assert_ok(cache_tag_put(f->cache, "example.com/m:2", &manifest, &e), &e);
        assert_match(f->cache, "example.com/m:2", 1);
}

static void test_a_tag_that_has_moved_names_what_it_means_now(void **state) {
        struct fixture *f = *state;
        struct digest new = digest_named("example.com/new:1"), arm = digest_named("example.com/arm:1");
        struct cache_model **list;
        struct error e;
        size_t n;

        (void)make_model(f->cache, "example.com/m:1", "old"); /* by this name once, and in the index still */
        (void)make_model(f->cache, "example.com/new:1", "new");
        (void)make_model(f->cache, "example.com/arm:1", "arm");
        assert_ok(cache_tag_put(f->cache, "example.com/m:1", &new, &e), &e);
        assert_ok(cache_model_match(f->cache, "example.com/m:1", &list, &n, &e), &e);
        assert_int_equal(n, 1);
        assert_string_equal(list[0]->reference, "example.com/new:1");
        cache_model_list_free(list, n);
        /* Each platform has its own; neighbours in the table are other references. */
        assert_ok(cache_tag_put(f->cache, "example.com/m:1#linux/arm64", &arm, &e), &e);
        assert_ok(cache_tag_put(f->cache, "example.com/m:11", &(struct digest){ 0 }, &e), &e);
        assert_match(f->cache, "example.com/m:1", 2);
        assert_ok(cache_tag_put(f->cache, "example.com/m:1", &(struct digest){ 0 }, &e), &e);
        assert_match(f->cache, "example.com/m:1", 1);
        assert_no_match(f->cache, "example.com/m:11", ERROR_NOT_FOUND);
}

static void test_every_selection_of_a_reference_matches(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/m:1");
        struct oci_selection *s;
        struct digest key;
        struct error e;

        (void)make_model(f->cache, "example.com/m:1", "one");
        plan_add(p, PLAN_RAW, "one", "file");
        assert_ok(oci_selection_new(&s, NULL, (const char *[]){ "file", NULL }, NULL, NULL, &e), &e);
        key = plan_key(p, s);
        assert_ok(cache_model_build(f->cache, &key, p, s, false, &e), &e);
        assert_match(f->cache, "example.com/m:1", 2);
        oci_selection_free(s);
        model_plan_free(p);
}

static void test_a_prefix_of_two_manifests_is_refused(void **state) {
        struct fixture *f = *state;
        struct digest near[2];

        /* Manifests that differ in their last byte only. */
        for (int i = 0; i < 2; i++) {
                struct model_plan *p = plan_new(i ? "example.com/b:1" : "example.com/a:1");
                struct error e;

                p->manifest = digest_named("near");
                p->manifest.bytes[31] = (uint8_t)i;
                near[i] = plan_key(p, NULL);
                stage_raw(f->cache, "x");
                plan_add(p, PLAN_RAW, "x", "x");
                assert_ok(cache_model_build(f->cache, &near[i], p, NULL, false, &e), &e);
                model_plan_free(p);
        }
        char text[DIGEST_TEXT_SIZE];
        struct digest d = digest_named("near");

        digest_format(&d, text);
        text[strlen("sha256:") + 10] = '\0';
        assert_no_match(f->cache, text, ERROR_INVALID);
}

/* ---- pins, records, files ---- */

static void test_a_pin_outlives_the_index(void **state) {
        struct fixture *f = *state;
        struct digest key = make_model(f->cache, "example.com/m:1", "text"), none = digest_named("none");
        struct cache_model *m;
        char path[PATH_MAX];
        struct error e;

        assert_ok(cache_model_pin(f->cache, &key, true, 12345, &e), &e);
        assert_int_equal(cache_model_pin(f->cache, &none, true, 0, &e), -ENOENT);
        fixture_path(f, "root/index.db", path);
        cache_close(f->cache);
        f->cache = NULL;
        assert_int_equal(unlink(path), 0);
        fixture_reopen(f);
        m = model_of(f->cache, &key);
        assert_true(m->pinned);
        assert_int_equal(m->expires_ms, 12345);
        cache_model_free(m);
        assert_ok(cache_model_pin(f->cache, &key, false, 0, &e), &e);
        m = model_of(f->cache, &key);
        assert_false(m->pinned);
        assert_int_equal(m->expires_ms, 0);
        cache_model_free(m);
}

static void test_the_record_says_what_the_manifest_said(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/m:1");
        struct digest key = plan_key(p, NULL);
        char text[DIGEST_TEXT_SIZE];
        const char *digest, *note;
        struct error e;
        json_t *record;

        stage_raw(f->cache, "text");
        plan_add(p, PLAN_RAW, "text", "file")->media_type = strdup("application/x");
        p->annotations = json_pack("{s:s}", "org.example.note", "hello");
        assert_ok(cache_model_build(f->cache, &key, p, NULL, true, &e), &e);
        assert_ok(cache_model_record(f->cache, &key, &record, &e), &e);
        assert_int_equal(json_unpack(record, "{s:s, s:{s:s}}", "digest", &digest, "annotations",
                                     "org.example.note", &note),
                         0);
        assert_string_equal(digest, digest_format(&p->manifest, text));
        assert_string_equal(note, "hello");
        assert_true(json_is_true(json_object_get(record, "private")));
        assert_string_equal(json_string_value(json_object_get(
                                json_array_get(json_object_get(record, "layers"), 0), "mediaType")),
                            "application/x");
        json_decref(record);
        model_plan_free(p);
}

static void test_files_are_listed_in_path_order(void **state) {
        struct fixture *f = *state;
        struct model_plan *p = plan_new("example.com/m:1");
        struct digest key = plan_key(p, NULL);
        struct cache_file *files;
        struct error e;
        size_t n;

        stage_tar(f->cache, "t",
                  (struct entry[]){ { "z", "1", 0 },
                                    { "a/c", "22", 0600 },
                                    { "a/b", "333", 0 },
                                    { "l", "-> z", 0 },
                                    { "empty", NULL, 0 },
                                    { 0 } });
        plan_add(p, PLAN_TAR, "t", "");
        assert_ok(cache_model_build(f->cache, &key, p, NULL, false, &e), &e);
        assert_ok(cache_model_files(f->cache, &key, &files, &n, &e), &e);
        assert_int_equal(n, 3);
        assert_string_equal(files[0].path, "a/b");
        assert_int_equal(files[0].size, 3);
        assert_string_equal(files[1].path, "a/c");
        assert_int_equal(files[1].mode, S_IFREG | 0600);
        assert_string_equal(files[2].path, "z");
        cache_file_list_free(files, n);
        assert_ok(cache_model_entries(f->cache, &key, &files, &n, &e), &e);
        assert_int_equal(n, 6);
        assert_string_equal(files[0].path, "a");
        assert_true(S_ISDIR(files[0].mode));
        assert_string_equal(files[1].path, "a/b");
        assert_string_equal(files[3].path, "empty");
        assert_int_equal(files[3].mode, S_IFDIR | 0755);
        assert_string_equal(files[4].path, "l");
        assert_true(S_ISLNK(files[4].mode));
        cache_file_list_free(files, n);
        key = digest_named("none");
        assert_int_equal(cache_model_files(f->cache, &key, &files, &n, &e), -ENOENT);
        model_plan_free(p);
}

static void test_tags_are_remembered_with_their_time(void **state) {
        struct fixture *f = *state;
        struct digest one = digest_named("1"), two = digest_named("2"), got;
        int64_t when = 0;
        struct error e;

        assert_int_equal(cache_tag_get(f->cache, "example.com/m:1", &got, &when), -ENOENT);
        assert_ok(cache_tag_put(f->cache, "example.com/m:1", &one, &e), &e);
        assert_ok(cache_tag_put(f->cache, "example.com/m:1", &two, &e), &e);
        fixture_reopen(f);
        assert_int_equal(cache_tag_get(f->cache, "example.com/m:1", &got, &when), 0);
        assert_true(digest_equal(&got, &two));
        assert_true(when > 0);
}

static void test_removing_what_is_not_here_is_said(void **state) {
        struct fixture *f = *state;
        struct digest key = digest_named("none");
        struct error e;

        assert_int_equal(cache_model_remove(f->cache, &key, NULL, &e), -ENOENT);
        assert_int_equal(e.kind, ERROR_NOT_FOUND);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
        const struct CMUnitTest tests[] = {
                T(test_a_model_tells_what_it_is),
                T(test_uses_and_hits_are_counted),
                T(test_building_what_is_here_changes_nothing),
                T(test_models_are_named_by_reference_tag_and_digest),
                T(test_a_tag_that_has_moved_names_what_it_means_now),
                T(test_every_selection_of_a_reference_matches),
                T(test_a_prefix_of_two_manifests_is_refused),
                T(test_a_pin_outlives_the_index),
                T(test_the_record_says_what_the_manifest_said),
                T(test_files_are_listed_in_path_order),
                T(test_tags_are_remembered_with_their_time),
                T(test_removing_what_is_not_here_is_said),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
