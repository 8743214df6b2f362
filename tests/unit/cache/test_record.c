/* SPDX-License-Identifier: Apache-2.0 */
/* Records: what is written is read back, and what is wrong is refused. */
#include "fixture.h"

#include "cache/record.h"

#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define DIGEST "\"sha256:" HEX "\""

static void test_a_layer_is_read_back_as_it_was_written(void **state) {
        struct cache_layer l = { .digest = digest_named("x"),
                                 .form = CACHE_TREE,
                                 .size = 1ull << 40,
                                 .bytes = 12345,
                                 .files = 7,
                                 .is_private = true,
                                 .origin = digest_named("repository") };
        struct cache_layer got;
        char *text;
        struct error e;

        (void)state;
        assert_ok(cache_record_layer_print(&text, &l, &e), &e);
        assert_ok(cache_record_layer_parse(&got, text, strlen(text), &e), &e);
        assert_true(digest_equal(&got.digest, &l.digest));
        assert_int_equal(got.form, CACHE_TREE);
        assert_int_equal(got.size, l.size);
        assert_int_equal(got.bytes, l.bytes);
        assert_int_equal(got.files, l.files);
        assert_true(got.is_private);
        assert_true(digest_equal(&got.origin, &l.origin));
        free(text);
}

static void test_wrong_layer_records_are_refused(void **state) {
#define REST ",\"files\":1,\"private\":false,\"origin\":" DIGEST "}"
        static const char good[] =
            "{\"version\":1,\"digest\":" DIGEST ",\"form\":\"blob\",\"size\":1,\"bytes\":1" REST;
        static const char *const bad[] = {
                "",
                "null",
                "{\"version\":1}",
                "{\"version\":2,\"digest\":" DIGEST ",\"form\":\"blob\",\"size\":1,\"bytes\":1" REST,
                "{\"version\":1,\"digest\":\"sha512:00\",\"form\":\"blob\",\"size\":1,\"bytes\":1" REST,
                "{\"version\":1,\"digest\":" DIGEST ",\"form\":\"zip\",\"size\":1,\"bytes\":1" REST,
                "{\"version\":1,\"digest\":" DIGEST ",\"form\":\"blob\",\"size\":-1,\"bytes\":1" REST,
                "{\"version\":1,\"digest\":" DIGEST ",\"form\":\"blob\",\"size\":1,\"bytes\":\"1\"" REST,
                "{\"version\":1,\"digest\":" DIGEST ",\"form\":\"blob\",\"size\":1,\"bytes\":1" REST " x",
                "{\"version\":1,\"digest\":" DIGEST
                ",\"form\":\"blob\",\"size\":1,\"bytes\":1,\"files\":1,\"origin\":" DIGEST "}",
                "{\"version\":1,\"digest\":" DIGEST
                ",\"form\":\"blob\",\"size\":1,\"bytes\":1,\"files\":1,\"private\":true}",
        };
        struct cache_layer l = { .files = 99 };
        struct error e;

        (void)state;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                assert_true(cache_record_layer_parse(&l, bad[i], strlen(bad[i]), &e) < 0);
        assert_int_equal(l.files, 99); /* untouched by failures */
        assert_ok(cache_record_layer_parse(&l, good, strlen(good), &e), &e);
}

static struct model_plan *sample_plan(void) {
        struct model_plan *p = plan_new("example.com/m:1");

        plan_add(p, PLAN_RAW, "a", "a");
        plan_add(p, PLAN_TAR, "b", "");
        p->annotations = json_pack("{s:s}", "note", "n");
        return p;
}

static void test_a_model_is_read_back_as_it_was_written(void **state) {
        struct digest key = digest_named("key");
        const struct cache_record_facts facts = {
                .key = &key, .size = 1ull << 40, .files = 3, .is_private = true, .created_ms = 1700000000123
        };
        struct model_plan *p = sample_plan();
        struct cache_record *rec;
        json_t *json, *again;
        struct error e;
        char *text;

        (void)state;
        assert_ok(cache_record_model_new(&json, p, &facts, &e), &e);
        assert_ok(cache_record_model_pin(json, true, 5, &e), &e);
        assert_ok(cache_record_model_print(&text, json, &e), &e);
        assert_ok(cache_record_model_parse(&rec, &again, text, strlen(text), &e), &e);
        assert_true(json_equal(json, again));
        assert_true(digest_equal(&rec->model.key, &key));
        assert_true(digest_equal(&rec->model.manifest, &p->manifest));
        assert_string_equal(rec->model.reference, "example.com/m:1");
        assert_int_equal(rec->model.format, PLAN_MODELCAR);
        assert_int_equal(rec->model.size, 1ull << 40);
        assert_int_equal(rec->model.files, 3);
        assert_true(rec->model.is_private);
        assert_true(rec->model.pinned);
        assert_int_equal(rec->model.created_ms, 1700000000123);
        assert_int_equal(rec->model.expires_ms, 5);
        assert_int_equal(rec->n_layers, 2);
        assert_int_equal(rec->layers[0].form, CACHE_BLOB);
        assert_true(digest_equal(&rec->layers[1].digest, &p->blobs[1].digest));
        cache_record_free(rec);
        json_decref(json);
        json_decref(again);
        free(text);
        model_plan_free(p);
}

/* A sound record with one member taken out or replaced by @value. */
static int parse_changed(const char *member, json_t *value) {
        struct digest key = digest_named("key");
        const struct cache_record_facts facts = { .key = &key, .size = 1, .files = 1 };
        struct model_plan *p = sample_plan();
        struct cache_record *rec = NULL;
        json_t *json;
        struct error e;
        char *text;
        int r;

        assert_ok(cache_record_model_new(&json, p, &facts, &e), &e);
        if (value)
                json_object_set_new(json, member, value);
        else
                json_object_del(json, member);
        assert_ok(cache_record_model_print(&text, json, &e), &e);
        r = cache_record_model_parse(&rec, NULL, text, strlen(text), &e);
        cache_record_free(rec);
        json_decref(json);
        free(text);
        model_plan_free(p);
        return r;
}

static void test_a_model_record_needs_each_of_its_members(void **state) {
        static const char *const members[] = {
                "version", "key",     "reference", "digest",  "format",  "size",
                "files",   "private", "pinned",    "created", "expires", "layers",
        };

        (void)state;
        for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
                assert_true(parse_changed(members[i], NULL) < 0);
                assert_true(parse_changed(members[i], json_null()) < 0);
                assert_true(parse_changed(members[i], json_pack("{}")) < 0);
        }
        assert_true(parse_changed("format", json_string("floppy")) < 0);
        assert_true(parse_changed("layers", json_pack("[]")) < 0);
        assert_true(parse_changed("layers", json_pack("[s]", "x")) < 0);
        assert_true(parse_changed("private", json_integer(0)) < 0);
}

static void test_members_of_later_versions_do_no_harm(void **state) {
        (void)state;
        assert_int_equal(parse_changed("annotations", NULL), 0);
        assert_int_equal(parse_changed("somethingNew", json_pack("[i]", 1)), 0);
}

static void test_records_of_later_versions_are_told_from_broken_ones(void **state) {
        static const char later[] = "{\"version\":2,\"digest\":\"of another kind\"}";
        struct cache_layer l;
        struct error e;

        (void)state;
        assert_int_equal(cache_record_layer_parse(&l, later, strlen(later), &e), -EOPNOTSUPP);
        assert_int_equal(parse_changed("version", json_integer(2)), -EOPNOTSUPP);
        assert_int_equal(parse_changed("version", json_integer(0)), -EINVAL);
}

static void test_a_record_made_again_says_what_is_known(void **state) {
        struct cache_layer_ref layers[] = { { digest_named("a"), CACHE_BLOB },
                                            { digest_named("b"), CACHE_TREE } };
        struct cache_record rec = { .model = { .key = digest_named("key"),
                                               .manifest = digest_named("manifest"),
                                               .reference = (char *)"example.com/m:1",
                                               .format = PLAN_MODELCAR,
                                               .size = 1ull << 40,
                                               .files = 3,
                                               .created_ms = 4,
                                               .expires_ms = 5,
                                               .pinned = true,
                                               .is_private = true },
                                    .layers = layers,
                                    .n_layers = 2 };
        struct cache_record *got;
        struct error e;
        json_t *json;
        char *text;

        (void)state;
        assert_ok(cache_record_model_again(&json, &rec, &e), &e);
        assert_ok(cache_record_model_print(&text, json, &e), &e);
        assert_ok(cache_record_model_parse(&got, NULL, text, strlen(text), &e), &e);
        assert_true(digest_equal(&got->model.key, &rec.model.key));
        assert_true(digest_equal(&got->model.manifest, &rec.model.manifest));
        assert_string_equal(got->model.reference, "example.com/m:1");
        assert_int_equal(got->model.format, PLAN_MODELCAR);
        assert_int_equal(got->model.size, 1ull << 40);
        assert_int_equal(got->model.files, 3);
        assert_int_equal(got->model.created_ms, 4);
        assert_int_equal(got->model.expires_ms, 5);
        assert_true(got->model.pinned);
        assert_true(got->model.is_private);
        assert_int_equal(got->n_layers, 2);
        assert_true(digest_equal(&got->layers[1].digest, &layers[1].digest));
        assert_int_equal(got->layers[1].form, CACHE_TREE);
        cache_record_free(got);
        json_decref(json);
        free(text);
}

static void test_names_that_are_not_text_are_refused_with_a_reason(void **state) {
        struct digest key = digest_named("key");
        const struct cache_record_facts facts = { .key = &key };
        struct model_plan *p = sample_plan();
        json_t *json;
        struct error e;

        (void)state;
        strcpy(p->blobs[0].path, "\xff");
        assert_int_equal(cache_record_model_new(&json, p, &facts, &e), -EINVAL);
        assert_non_null(strstr(e.text, "UTF-8"));
        model_plan_free(p);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_layer_is_read_back_as_it_was_written),
                cmocka_unit_test(test_wrong_layer_records_are_refused),
                cmocka_unit_test(test_a_model_is_read_back_as_it_was_written),
                cmocka_unit_test(test_a_model_record_needs_each_of_its_members),
                cmocka_unit_test(test_members_of_later_versions_do_no_harm),
                cmocka_unit_test(test_records_of_later_versions_are_told_from_broken_ones),
                cmocka_unit_test(test_a_record_made_again_says_what_is_known),
                cmocka_unit_test(test_names_that_are_not_text_are_refused_with_a_reason),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
