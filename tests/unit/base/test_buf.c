/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "base/buf.h"

#include <stdbool.h>

/* WRAP: realloc */
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

static bool no_memory;

void *__wrap_realloc(void *p, size_t size) {
        return no_memory ? NULL : __real_realloc(p, size);
}

static void test_what_is_appended_is_there_in_order(void **state) {
        _cleanup_buf_ struct buf b = BUF_INIT(1 << 20);
        char expected[5000];

        (void)state;
        for (size_t i = 0; i < sizeof expected; i++) {
                expected[i] = (char)('a' + i % 26);
                assert_int_equal(buf_append(&b, &expected[i], 1), 0);
                assert_int_equal(b.data[i + 1], '\0');
        }
        assert_int_equal(b.len, sizeof expected);
        assert_memory_equal(b.data, expected, sizeof expected);
}

static void test_the_cap_holds_to_the_byte(void **state) {
        _cleanup_buf_ struct buf b = BUF_INIT(10);

        (void)state;
        assert_int_equal(buf_append(&b, "12345", 5), 0);
        assert_int_equal(buf_append(&b, "678901", 6), -EFBIG);
        assert_int_equal(buf_append(&b, "x", SIZE_MAX), -EFBIG);
        assert_int_equal(buf_printf(&b, "%d", 123456), -EFBIG);
        assert_int_equal(buf_printf(&b, "%d", 67890), 0);
        assert_int_equal(buf_append(&b, "", 0), 0);
        assert_string_equal(buf_text(&b), "1234567890");
}

static void test_printf_appends(void **state) {
        _cleanup_buf_ struct buf b = BUF_INIT(100);

        (void)state;
        assert_int_equal(buf_printf(&b, "%s-%d", "a", 1), 0);
        assert_int_equal(buf_printf(&b, "%s", ""), 0);
        assert_int_equal(buf_printf(&b, "-%d", 2), 0);
        assert_string_equal(buf_text(&b), "a-1-2");
        assert_int_equal(b.len, 5);
}

static void test_clear_starts_again_and_keeps_the_memory(void **state) {
        _cleanup_buf_ struct buf b = BUF_INIT(100);
        const char *memory;

        (void)state;
        buf_clear(&b);
        assert_int_equal(buf_append(&b, "abc", 3), 0);
        memory = b.data;
        buf_clear(&b);
        assert_string_equal(buf_text(&b), "");
        assert_int_equal(buf_append(&b, "d", 1), 0);
        assert_ptr_equal(b.data, memory);
        assert_string_equal(buf_text(&b), "d");
}

static void test_take_hands_over_and_leaves_an_empty_buffer(void **state) {
        _cleanup_buf_ struct buf b = BUF_INIT(100);
        _cleanup_free_ char *text = NULL, *empty = NULL;

        (void)state;
        assert_int_equal(buf_append(&b, "abc", 3), 0);
        text = buf_take(&b);
        empty = buf_take(&b);
        assert_string_equal(text, "abc");
        assert_string_equal(empty, "");
        assert_string_equal(buf_text(&b), "");
        assert_int_equal(buf_append(&b, "d", 1), 0);
        assert_string_equal(buf_text(&b), "d");
}

static void test_without_memory_what_was_there_stays(void **state) {
        _cleanup_buf_ struct buf b = BUF_INIT(1 << 20);
        char more[1000] = { 0 };

        (void)state;
        assert_int_equal(buf_append(&b, "abc", 3), 0);
        no_memory = true;
        assert_int_equal(buf_append(&b, more, sizeof more), -ENOMEM);
        assert_int_equal(buf_printf(&b, "%1000d", 1), -ENOMEM);
        no_memory = false;
        assert_string_equal(buf_text(&b), "abc");
        assert_int_equal(b.len, 3);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_is_appended_is_there_in_order),
                cmocka_unit_test(test_the_cap_holds_to_the_byte),
                cmocka_unit_test(test_printf_appends),
                cmocka_unit_test(test_clear_starts_again_and_keeps_the_memory),
                cmocka_unit_test(test_take_hands_over_and_leaves_an_empty_buffer),
                cmocka_unit_test(test_without_memory_what_was_there_stays),
        };
        return cmocka_run_group_tests_name("base/buf", tests, NULL, NULL);
}
