/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <locale.h>

#include "tools/modelstage/screen.h"

struct case_ {
        const char *text, *shown;
        unsigned columns;
        enum screen_cut cut;
};

static void check(const struct case_ *c) {
        struct buf b = BUF_INIT(4096);
        unsigned width = screen_put(&b, c->text, c->columns, c->cut);

        assert_string_equal(buf_text(&b), c->shown);
        assert_int_equal(width, screen_width(c->shown));
        assert_true(c->columns == SCREEN_WHOLE || width <= c->columns);
        buf_free(&b);
}

static void test_control_characters_and_bad_utf8_never_reach_the_terminal(void **state) {
        static const struct case_ cases[] = {
                { "plain", "plain", SCREEN_WHOLE, SCREEN_CUT_END },
                { "\033]0;owned\007", "?]0;owned?", SCREEN_WHOLE, SCREEN_CUT_END },
                { "a\nb\tc\x7f", "a?b?c?", SCREEN_WHOLE, SCREEN_CUT_END },
                { "\xc2\x9b"
                  "31m",
                  "?31m", SCREEN_WHOLE, SCREEN_CUT_END }, /* C1 CSI */
                { "a\xe2\x80\xae"
                  "b",
                  "a?b", SCREEN_WHOLE, SCREEN_CUT_END }, /* right-to-left override */
                { "a\xe2\x80\x8b"
                  "b",
                  "a?b", SCREEN_WHOLE, SCREEN_CUT_END }, /* zero width space */
                { "\xff\xc0\x80x", "???x", SCREEN_WHOLE, SCREEN_CUT_END },
                { "\xe6\xa8", "??", SCREEN_WHOLE, SCREEN_CUT_END }, /* cut off in a character */
                { "", "", SCREEN_WHOLE, SCREEN_CUT_END },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                check(&cases[i]);
}

static void test_names_are_cut_by_columns_not_bytes(void **state) {
        static const struct case_ cases[] = {
                { "abcdef", "abcdef", 6, SCREEN_CUT_END },
                { "abcdef", "abcd…", 5, SCREEN_CUT_END },
                { "abcdef", "…cdef", 5, SCREEN_CUT_START },
                { "abcdef", "…", 1, SCREEN_CUT_START },
                { "abcdef", "", 0, SCREEN_CUT_END },
                { "模型文件", "模型文件", 8, SCREEN_CUT_END },
                { "模型文件", "模型文…", 7, SCREEN_CUT_END },
                { "模型文件", "模型…", 6, SCREEN_CUT_END },
                { "模型文件", "…文件", 5, SCREEN_CUT_START },
                { "模型文件", "…件", 4, SCREEN_CUT_START },
                { "e\xcc\x81t\xc3\xa9", "e\xcc\x81t\xc3\xa9", 3, SCREEN_CUT_END },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                check(&cases[i]);
}

static void test_a_pile_of_combining_marks_is_limited(void **state) {
        struct buf in = BUF_INIT(4096);
        char *shown;

        (void)state;
        assert_int_equal(buf_append(&in, "a", 1), 0);
        for (int i = 0; i < 100; i++)
                assert_int_equal(buf_append(&in, "\xcc\x81", 2), 0);
        shown = screen_text(buf_text(&in));
        assert_int_equal(screen_width(shown), screen_width(buf_text(&in)));
        assert_memory_equal(shown, "a\xcc\x81\xcc\x81\xcc\x81\xcc\x81?", 10);
        free(shown);
        buf_free(&in);
}

static void test_random_bytes_fit_every_width(void **state) {
        struct test_rng rng = test_rng_new("random bytes");

        (void)state;
        for (int round = 0; round < 2000; round++) {
                char text[40];
                size_t len = test_rng_next(&rng) % (sizeof text - 1);
                for (size_t i = 0; i < len; i++)
                        text[i] = (char)(test_rng_next(&rng) % 255 + 1);
                text[len] = '\0';
                for (unsigned columns = 0; columns < 45; columns += 3) {
                        struct buf b = BUF_INIT(4096);
                        unsigned width =
                            screen_put(&b, text, columns, round & 1 ? SCREEN_CUT_END : SCREEN_CUT_START);
                        assert_true(width <= columns);
                        for (size_t i = 0; i < b.len; i++)
                                assert_true((unsigned char)b.data[i] >= 0x20 && b.data[i] != 0x7f);
                        buf_free(&b);
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_control_characters_and_bad_utf8_never_reach_the_terminal),
                cmocka_unit_test(test_names_are_cut_by_columns_not_bytes),
                cmocka_unit_test(test_a_pile_of_combining_marks_is_limited),
                cmocka_unit_test(test_random_bytes_fit_every_width),
        };

        setlocale(LC_CTYPE, "C.UTF-8");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
