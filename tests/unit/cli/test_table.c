/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <locale.h>

#include "tools/modelstage/table.h"

static const char *const headers[] = { "NAME", ">SIZE", "STATE", NULL };

static char *printed(const struct table *t) {
        char *text = NULL;
        size_t len;
        FILE *f = open_memstream(&text, &len);

        assert_non_null(f);
        table_print(t, f);
        fclose(f);
        return text;
}

static void test_columns_are_aligned_by_what_they_take_on_the_screen(void **state) {
        struct table *t = table_new(headers);
        char *text;

        (void)state;
        table_cell(t, "模型");
        table_size(t, 1536);
        table_cell(t, "ready");
        table_cell(t, "long-name");
        table_cellf(t, "%d", 7);
        table_cell(t, "x");
        text = printed(t);
        assert_string_equal(text, "NAME          SIZE  STATE\n"
                                  "模型       1.5 KiB  ready\n"
                                  "long-name        7  x\n");
        free(text);
        table_free(t);
}

static void test_an_empty_table_is_its_headers(void **state) {
        struct table *t = table_new(headers);
        char *text = printed(t);

        (void)state;
        assert_string_equal(text, "NAME  SIZE  STATE\n");
        free(text);
        table_free(t);
}

static void test_cells_are_made_safe_and_empty_ones_visible(void **state) {
        struct table *t = table_new(headers);
        char *text;

        (void)state;
        table_cell(t, "a\033[31m\nb");
        table_cell(t, "");
        table_short_digest(t, "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        text = printed(t);
        assert_string_equal(text, "NAME      SIZE  STATE\n"
                                  "a?[31m?b     -  0123456789ab\n");
        free(text);
        table_free(t);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_columns_are_aligned_by_what_they_take_on_the_screen),
                cmocka_unit_test(test_an_empty_table_is_its_headers),
                cmocka_unit_test(test_cells_are_made_safe_and_empty_ones_visible),
        };

        setlocale(LC_CTYPE, "C.UTF-8");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
