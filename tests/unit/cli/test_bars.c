/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <locale.h>

#include "tools/modelstage/bars.h"
#include "tools/modelstage/screen.h"

#define GIB ((uint64_t)1 << 30)

static struct bars_blob blobs[] = {
        { (char *)"model-00001-of-00002.safetensors", GIB / 2, GIB },
        { (char *)"模型/権重-00002.safetensors", GIB / 4, 4 * GIB },
        { (char *)"sha256:0123456789ab", 0, GIB },
};
static const struct bars_model model = { .title = (char *)"registry.example.com/models/llama:v1",
                                         .state = "fetching",
                                         .done = 3 * GIB / 2,
                                         .size = 6 * GIB,
                                         .rate = 812 << 20,
                                         .eta_ms = 6000,
                                         .blobs = blobs,
                                         .n_blobs = 3 };

static void draw(struct bars_frame *f, const struct bars_model *models, size_t n, unsigned width,
                 unsigned height) {
        const struct bars_style style = { .width = width, .height = height, .utf8 = true };

        f->text.max = 1 << 20;
        bars_draw(f, models, n, &style);
}

/* The @i-th line, NUL-terminated, in a buffer of its own. */
static const char *line(const struct bars_frame *f, unsigned i) {
        static char copy[4096];
        const char *p = buf_text(&f->text);

        while (i-- > 0)
                p = strchr(p, '\n') + 1;
        snprintf(copy, sizeof copy, "%.*s", (int)strcspn(p, "\n"), p);
        return copy;
}

static void test_a_line_for_the_model_and_a_bar_for_each_blob_in_work(void **state) {
        struct bars_frame f = { 0 };

        (void)state;
        draw(&f, &model, 1, 100, 24);
        assert_int_equal(f.n, 4);
        assert_non_null(strstr(line(&f, 0), "registry.example.com/models/llama:v1"));
        assert_non_null(strstr(line(&f, 0), " 25%"));
        assert_non_null(strstr(line(&f, 0), "812 MiB/s"));
        assert_non_null(strstr(line(&f, 0), "eta 6s"));
        assert_non_null(strstr(line(&f, 1), "model-00001-of-00002.safetensors"));
        assert_non_null(strstr(line(&f, 1), "━─"));
        assert_non_null(strstr(line(&f, 1), " 50%"));
        assert_non_null(strstr(line(&f, 3), "sha256:0123456789ab"));
        assert_non_null(strstr(line(&f, 3), "  0%"));
        buf_free(&f.text);
}

static void test_no_line_is_wider_than_the_terminal(void **state) {
        struct bars_frame f = { 0 };

        (void)state;
        for (unsigned width = 12; width <= 300; width++) {
                draw(&f, &model, 1, width, 24);
                assert_int_equal(f.n, 4);
                for (unsigned i = 0; i < f.n; i++) {
                        assert_int_equal(screen_width(line(&f, i)), f.width[i]);
                        assert_in_range(f.width[i], 1, width - 1);
                        assert_non_null(strchr(line(&f, i), '%')); /* the one thing that is always there */
                }
        }
        buf_free(&f.text);
}

static void test_a_narrow_terminal_keeps_the_ends_of_names(void **state) {
        struct bars_frame f = { 0 };

        (void)state;
        draw(&f, &model, 1, 40, 24);
        assert_non_null(strstr(line(&f, 0), "llama:v1"));
        assert_null(strstr(line(&f, 0), "registry.example.com"));
        assert_non_null(strstr(line(&f, 1), "tensors"));
        buf_free(&f.text);
}

static void test_a_low_terminal_says_how_much_it_does_not_show(void **state) {
        struct bars_model models[4] = { model, model, model, model };
        struct bars_frame f = { 0 };

        (void)state;
        draw(&f, models, 4, 80, 11); /* 16 lines wanted, 10 there */
        assert_int_equal(f.n, 10);
        assert_string_equal(line(&f, 9), "… and 7 more");
        draw(&f, models, 4, 80, 4); /* models before blobs */
        assert_int_equal(f.n, 3);
        assert_non_null(strstr(line(&f, 1), "llama:v1"));
        assert_string_equal(line(&f, 2), "… and 14 more");
        draw(&f, models, 4, 80, 1);
        assert_int_equal(f.n, 1);
        buf_free(&f.text);
}

static void test_every_height_is_kept(void **state) {
        struct bars_model models[3] = { model, model, model };
        struct bars_frame f = { 0 };

        (void)state;
        for (unsigned height = 1; height < 40; height++) {
                draw(&f, models, 3, 80, height);
                assert_in_range(f.n, 1, height > 2 ? height - 1 : 1);
                assert_true(f.n == 12 || height <= 12);
        }
        buf_free(&f.text);
}

static void test_ended_models_are_not_drawn(void **state) {
        struct bars_model models[2] = { model, model };
        struct bars_frame f = { 0 };

        (void)state;
        models[0].ended = true;
        draw(&f, models, 2, 80, 24);
        assert_int_equal(f.n, 4);
        models[1].ended = true;
        draw(&f, models, 2, 80, 24);
        assert_int_equal(f.n, 0);
        assert_string_equal(buf_text(&f.text), "");
        buf_free(&f.text);
}

static void test_a_model_without_a_plan_shows_its_state(void **state) {
        const struct bars_model resolving = { .title = (char *)"host/model:v1",
                                              .state = "resolving",
                                              .eta_ms = -1 };
        struct bars_frame f = { 0 };

        (void)state;
        draw(&f, &resolving, 1, 80, 24);
        assert_string_equal(line(&f, 0), "host/model:v1  resolving");
        buf_free(&f.text);
}

static void test_hundred_percent_means_done(void **state) {
        struct bars_blob one = { (char *)"a", 1000000 - 1, 1000000 };
        const struct bars_model m = { .title = (char *)"m",
                                      .state = "fetching",
                                      .done = 1,
                                      .size = 2,
                                      .eta_ms = -1,
                                      .blobs = &one,
                                      .n_blobs = 1 };
        struct bars_frame f = { 0 };

        (void)state;
        draw(&f, &m, 1, 80, 24);
        assert_non_null(strstr(line(&f, 1), " 99%"));
        one.done = one.size;
        draw(&f, &m, 1, 80, 24);
        assert_non_null(strstr(line(&f, 1), "100%"));
        buf_free(&f.text);
}

static void test_control_characters_in_names_are_not_drawn(void **state) {
        struct bars_blob one = { (char *)"\033[2J\x07evil", 1, 2 };
        struct bars_model m = model;
        struct bars_frame f = { 0 };

        (void)state;
        m.title = (char *)"host/\033]0;x\007:v1";
        m.blobs = &one;
        m.n_blobs = 1;
        draw(&f, &m, 1, 80, 24);
        assert_null(strchr(buf_text(&f.text), '\033'));
        assert_null(strchr(buf_text(&f.text), '\007'));
        buf_free(&f.text);
}

static void test_a_line_for_logs_has_all_figures(void **state) {
        struct buf b = BUF_INIT(4096);

        (void)state;
        bars_line(&b, &model);
        assert_string_equal(buf_text(&b),
                            "registry.example.com/models/llama:v1: fetching 25%, 1.5 GiB of 6.0 GiB, "
                            "812 MiB/s, eta 6s\n");
        buf_free(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_line_for_the_model_and_a_bar_for_each_blob_in_work),
                cmocka_unit_test(test_no_line_is_wider_than_the_terminal),
                cmocka_unit_test(test_a_narrow_terminal_keeps_the_ends_of_names),
                cmocka_unit_test(test_a_low_terminal_says_how_much_it_does_not_show),
                cmocka_unit_test(test_every_height_is_kept),
                cmocka_unit_test(test_ended_models_are_not_drawn),
                cmocka_unit_test(test_a_model_without_a_plan_shows_its_state),
                cmocka_unit_test(test_hundred_percent_means_done),
                cmocka_unit_test(test_control_characters_in_names_are_not_drawn),
                cmocka_unit_test(test_a_line_for_logs_has_all_figures),
        };

        setlocale(LC_CTYPE, "C.UTF-8");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
