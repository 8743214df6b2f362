/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "base/json.h"
#include "base/text.h"

static int parse(const char *text, struct error *e) {
        _cleanup_json_ json_t *root = NULL;

        return json_parse(&root, text, strlen(text), 1000, "manifest of X", e);
}

static void test_bad_documents_are_refused(void **state) {
        static const char *const bad[] = {
                "",
                "{",
                "[]",
                "1",
                "null",
                "{} x",
                "{}{}",
                "{\"a\":1,\"a\":2}",
                "{\"a\":1,}",
                "{a:1}",
                "{'a':1}",
                "{\"a\":NaN}",
                "{\"a\":01}",
                "{\"a\":99999999999999999999}",
                "{\"a\":1e999}",
                "{\"a\":\"\xff\"}",
                "{\"a\":\"\xed\xa0\x80\"}",
                "{\"a\":\"\\ud800\"}",
                "{\"a\":\"\\u0000\"}",
                "{\"a\":\"\n\"}",
                "{/**/}",
        };

        (void)state;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                struct error e = { 0 };

                if (parse(bad[i], &e) != -EINVAL)
                        fail_msg("accepted: %s", bad[i]);
                assert_int_equal(e.kind, ERROR_INVALID);
                assert_true(text_starts_with(e.text, "the manifest of X is not "));
        }
}

static void test_a_nul_where_it_is_allowed_spoils_only_its_own_string(void **state) {
        static const char text[] = "{\"a\":\"x\\u0000y\",\"b\":\"z\"}", key[] = "{\"a\\u0000\":1}";
        _cleanup_json_ json_t *root = NULL;
        struct error e = { 0 };
        const char *s = NULL;

        (void)state;
        assert_int_equal(json_parse_with_nuls(&root, key, sizeof key - 1, 100, "answer", &e), -EINVAL);
        assert_int_equal(json_parse_with_nuls(&root, text, sizeof text - 1, 100, "answer", &e), 0);
        assert_int_equal(json_get_string(&s, root, "b", &e), 0);
        assert_string_equal(s, "z");
        assert_int_equal(json_get_string(&s, root, "a", &e), -EINVAL);
        assert_string_equal(e.text, "\"a\" has a NUL");
        assert_string_equal(s, "z");
}

static void test_a_document_over_the_cap_is_refused_unread(void **state) {
        json_t *root = NULL;
        struct error e = { 0 };

        (void)state;
        assert_int_equal(json_parse(&root, "{}xxx", 5, 4, "index", &e), -EINVAL);
        assert_string_equal(e.text, "the index is larger than 4 bytes");
        assert_null(root);
        assert_int_equal(json_parse(&root, "{}", 2, 2, "index", &e), 0);
        json_decref(root);
}

static void test_deep_nesting_is_refused(void **state) {
        char text[100000] = "{\"a\":";
        json_t *root = NULL;

        (void)state;
        memset(text + 5, '[', sizeof text - 5);
        assert_int_equal(json_parse(&root, text, sizeof text, sizeof text, "index", NULL), -EINVAL);
}

static void test_members_are_taken_by_their_type(void **state) {
        static const char text[] =
            "{\"s\":\"x\",\"n\":5,\"neg\":-1,\"r\":1.5,\"o\":{},\"a\":[],\"z\":null,\"big\":"
            "9223372036854775807}";
        _cleanup_json_ json_t *root = NULL;
        struct error e = { 0 };
        const char *s = NULL;
        json_t *child = NULL;
        uint64_t n = 42;

        (void)state;
        assert_int_equal(json_parse(&root, text, strlen(text), 1000, "x", &e), 0);
        assert_int_equal(json_get_string(&s, root, "s", &e), 0);
        assert_string_equal(s, "x");
        assert_int_equal(json_get_size(&n, root, "big", &e), 0);
        assert_true(n == INT64_MAX);
        assert_int_equal(json_opt_size(&n, root, "missing", 7, &e), 0);
        assert_int_equal(n, 7);
        assert_int_equal(json_opt_string(&s, root, "missing", "def", &e), 0);
        assert_string_equal(s, "def");
        assert_int_equal(json_get_object(&child, root, "o", &e), 0);
        assert_true(json_is_object(child));
        assert_int_equal(json_opt_array(&child, root, "a", &e), 0);
        assert_true(json_is_array(child));
        assert_int_equal(json_opt_array(&child, root, "missing", &e), 0);
        assert_null(child);
}

static void test_a_member_of_the_wrong_type_is_named_and_nothing_is_changed(void **state) {
        static const char text[] = "{\"s\":\"x\",\"n\":5,\"neg\":-1,\"r\":1.5,\"o\":{},\"a\":[],\"z\":null}";
        _cleanup_json_ json_t *root = NULL;
        struct error e = { 0 };
        const char *s = "untouched";
        json_t *child = NULL;
        uint64_t n = 42;

        (void)state;
        assert_int_equal(json_parse(&root, text, strlen(text), 1000, "x", &e), 0);
        assert_int_equal(json_get_string(&s, root, "n", &e), -EINVAL);
        assert_string_equal(e.text, "\"n\" is not a string");
        assert_int_equal(json_opt_string(&s, root, "z", NULL, &e), -EINVAL);
        assert_int_equal(json_get_string(&s, root, "missing", &e), -EINVAL);
        assert_string_equal(e.text, "\"missing\" is missing");
        assert_int_equal(json_get_size(&n, root, "neg", &e), -EINVAL);
        assert_int_equal(json_get_size(&n, root, "r", &e), -EINVAL);
        assert_int_equal(json_get_size(&n, root, "missing", &e), -EINVAL);
        assert_int_equal(json_get_object(&child, root, "a", &e), -EINVAL);
        assert_int_equal(json_get_object(&child, root, "missing", &e), -EINVAL);
        assert_int_equal(json_opt_array(&child, root, "o", &e), -EINVAL);
        assert_string_equal(e.text, "\"o\" is not an array");
        assert_string_equal(s, "untouched");
        assert_int_equal(n, 42);
        assert_null(child);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bad_documents_are_refused),
                cmocka_unit_test(test_a_nul_where_it_is_allowed_spoils_only_its_own_string),
                cmocka_unit_test(test_a_document_over_the_cap_is_refused_unread),
                cmocka_unit_test(test_deep_nesting_is_refused),
                cmocka_unit_test(test_members_are_taken_by_their_type),
                cmocka_unit_test(test_a_member_of_the_wrong_type_is_named_and_nothing_is_changed),
        };
        return cmocka_run_group_tests_name("base/json", tests, NULL, NULL);
}
