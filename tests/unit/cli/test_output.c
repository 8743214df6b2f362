/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "tools/modelstage/output.h"

static void assert_text(json_t *value, const char *wanted) {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

        assert_non_null(text);
        assert_string_equal(text, wanted);
        free(text);
        json_decref(value);
}

static void test_any_bytes_become_valid_json(void **state) {
        (void)state;
        assert_text(output_text("plain"), "\"plain\"");
        assert_text(output_text("a\"b\n\033[31m"), "\"a\\\"b\\n\\u001B[31m\"");
        assert_text(output_text("\xc3\xa9\xe2\x80\xae"), "\"\\u00E9\\u202E\"");
        assert_text(output_text("x\xff\xc3"), "\"x\\uFFFD\\uFFFD\"");
        assert_text(output_text(""), "\"\"");
}

static void test_what_is_not_known_is_null(void **state) {
        (void)state;
        assert_text(output_text_or_null(""), "null");
        assert_text(output_text_or_null("x"), "\"x\"");
        assert_text(output_seconds(-1), "null");
        assert_text(output_time(0), "null");
}

static void test_times_are_rfc_3339(void **state) {
        (void)state;
        assert_text(output_time(1700000000123), "\"2023-11-14T22:13:20.123Z\"");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_any_bytes_become_valid_json),
                cmocka_unit_test(test_what_is_not_known_is_null),
                cmocka_unit_test(test_times_are_rfc_3339),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
