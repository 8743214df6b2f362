/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "base/error.h"
#include "base/text.h"

#include <errno.h>

static void test_set_gives_kind_code_and_text(void **state) {
        struct error e = { 0 };

        (void)state;
        assert_int_equal(error_set(&e, ERROR_NOT_FOUND, "no tag \"%s\"", "v1"), -ENOENT);
        assert_int_equal(e.kind, ERROR_NOT_FOUND);
        assert_int_equal(e.code, -ENOENT);
        assert_string_equal(e.text, "no tag \"v1\"");
}

static void test_every_kind_has_a_negative_code_of_its_own(void **state) {
        (void)state;
        for (enum error_kind k = ERROR_INVALID; k < _ERROR_KIND_MAX; k++) {
                assert_true(error_set(NULL, k, "x") < 0);
                for (enum error_kind other = ERROR_INVALID; other < k; other++)
                        assert_int_not_equal(error_set(NULL, k, "x"), error_set(NULL, other, "x"));
        }
}

static void test_errno_tells_a_full_disk_from_the_rest(void **state) {
        struct error e = { 0 };

        (void)state;
        assert_int_equal(error_errno(&e, ENOSPC, "write %s", "f"), -ENOSPC);
        assert_int_equal(e.kind, ERROR_NO_SPACE);
        assert_string_equal(e.text, "write f: No space left on device");
        assert_int_equal(error_errno(&e, -EDQUOT, "write"), -EDQUOT);
        assert_int_equal(e.kind, ERROR_NO_SPACE);
        assert_int_equal(error_errno(&e, EIO, "write"), -EIO);
        assert_int_equal(e.kind, ERROR_INTERNAL);
}

static void test_wrap_keeps_kind_and_code(void **state) {
        struct error e = { 0 };

        (void)state;
        error_set(&e, ERROR_DENIED, "401");
        assert_int_equal(error_wrap(&e, "manifest of %s", "a/b"), -EACCES);
        assert_int_equal(e.kind, ERROR_DENIED);
        assert_string_equal(e.text, "manifest of a/b: 401");
}

static void test_wrapping_what_nobody_explained_is_still_a_failure(void **state) {
        struct error e = { 0 };

        (void)state;
        assert_true(error_wrap(&e, "layer") < 0);
        assert_int_equal(e.kind, ERROR_INTERNAL);
        assert_true(error_wrap(NULL, "layer") < 0);
}

static void test_an_error_may_be_made_of_its_own_text(void **state) {
        struct error e = { 0 };

        (void)state;
        error_set(&e, ERROR_INVALID, "inner");
        error_set(&e, ERROR_NOT_FOUND, "outer: %s", e.text);
        assert_string_equal(e.text, "outer: inner");
}

static void test_a_text_too_long_ends_with_an_ellipsis_between_characters(void **state) {
        struct error e = { 0 };

        (void)state;
        for (size_t pad = 0; pad < 8; pad++) { /* the cut falls on every byte of a character */
                char text[4096] = "";

                memset(text, 'x', pad);
                for (size_t i = pad; i + 3 < sizeof text; i += 3)
                        memcpy(text + i, "€", 4);
                error_set(&e, ERROR_INVALID, "%s", text);
                assert_true(strlen(e.text) > ERROR_TEXT_MAX - 8);
                assert_true(text_is_utf8(e.text, strlen(e.text)));
                assert_true(text_ends_with(e.text, "…"));
        }
        error_set(&e, ERROR_INVALID, "inner");
        for (int i = 0; i < 300; i++)
                error_wrap(&e, "layer %d", i);
        assert_true(text_ends_with(e.text, "…"));
        assert_true(text_starts_with(e.text, "layer 299: layer 298: "));
}

static void test_hostile_text_becomes_one_line_of_utf8(void **state) {
        struct error e = { 0 };

        (void)state;
        error_set(&e, ERROR_INVALID, "a\nb\x1b[31m\xff\xc3\xa4\x7f");
        assert_string_equal(e.text, "a b [31m?\xc3\xa4 ");
}

static void test_copy_accepts_nobody_who_asks(void **state) {
        struct error from = { 0 }, to = { 0 };

        (void)state;
        error_set(&from, ERROR_TIMEOUT, "late");
        assert_int_equal(error_copy(NULL, &from), -ETIMEDOUT);
        assert_int_equal(error_copy(&to, &from), -ETIMEDOUT);
        assert_string_equal(to.text, "late");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_set_gives_kind_code_and_text),
                cmocka_unit_test(test_every_kind_has_a_negative_code_of_its_own),
                cmocka_unit_test(test_errno_tells_a_full_disk_from_the_rest),
                cmocka_unit_test(test_wrap_keeps_kind_and_code),
                cmocka_unit_test(test_wrapping_what_nobody_explained_is_still_a_failure),
                cmocka_unit_test(test_an_error_may_be_made_of_its_own_text),
                cmocka_unit_test(test_a_text_too_long_ends_with_an_ellipsis_between_characters),
                cmocka_unit_test(test_hostile_text_becomes_one_line_of_utf8),
                cmocka_unit_test(test_copy_accepts_nobody_who_asks),
        };
        return cmocka_run_group_tests_name("base/error", tests, NULL, NULL);
}
