/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "stager/window.h"

#define SEGMENTS 32u

static struct arena *arena_for_test(void) {
        struct arena *a;
        struct error e;

        assert_int_equal(arena_new(&a, SEGMENTS * SEGMENT_SIZE, 4, &e), 0);
        return a;
}

static uint8_t byte_at(uint64_t pos) {
        return (uint8_t)(pos * 2654435761u >> 13);
}

static void extend(struct window *w, struct arena *a, unsigned *held, size_t n) {
        struct segment *s[SEGMENTS];

        assert_true(arena_take(a, s, n, held, SEGMENTS));
        window_extend(w, s, n);
}

static void fill(struct window *w, uint64_t index, size_t n) {
        struct segment *s = window_at(w, index * SEGMENT_SIZE);

        for (; n > 0 && s->got < s->len; n--, s->got++)
                s->data[s->got] = (char)byte_at(s->pos + s->got);
        window_show(w, s);
}

static void test_arena_refuses_less_than_it_can_work_with(void **state) {
        struct arena *a = NULL;
        struct error e;

        (void)state;
        assert_int_equal(arena_new(&a, (ARENA_MIN_SEGMENTS - 1) * SEGMENT_SIZE, 4, &e), -EINVAL);
        assert_int_equal(e.kind, ERROR_INVALID);
        assert_null(a);
}

static void test_arena_never_lends_more_than_it_has(void **state) {
        struct arena *a = arena_for_test();
        size_t n = arena_segments(a, ARENA_WINDOW);
        struct segment *s[SEGMENTS], *one;
        unsigned held = 0, other = 0;

        (void)state;
        assert_int_equal(n + arena_segments(a, ARENA_OUTPUT), SEGMENTS);
        assert_false(arena_take(a, s, n + 1, &held, SEGMENTS));
        assert_true(arena_take(a, s, n, &held, SEGMENTS));
        assert_int_equal(held, n);
        assert_false(arena_take(a, &one, 1, &other, SEGMENTS));
        assert_int_equal(other, 0);
        for (size_t i = 0; i < n; i++)
                arena_unref(a, s[i]);
        assert_int_equal(held, 0);
        assert_false(arena_take(a, s, 3, &held, 2));
        arena_free(a);
}

static void count_wake(void *userdata) {
        ++*(unsigned *)userdata;
}

static void test_arena_wakes_only_who_wanted_in_vain(void **state) {
        struct arena *a = arena_for_test();
        struct segment *s[2], *none;
        unsigned held = 0, wakes = 0;

        (void)state;
        arena_on_return(a, count_wake, &wakes);
        assert_true(arena_take(a, s, 2, &held, 2));
        arena_unref(a, s[0]);
        assert_int_equal(wakes, 0);
        assert_false(arena_take(a, &none, 1, &held, 1));
        arena_unref(a, s[1]);
        assert_int_equal(wakes, 1);
        arena_free(a);
}

struct filling {
        struct window *w;
        struct test_rng *rng;
        uint64_t done, segments;
};

/* One piece of random size into a random segment that has room. */
static void fill_somewhere(struct filling *f) {
        uint64_t from = f->w->first, next = f->w->next;

        for (uint64_t i = 0, k = test_rng_next(f->rng); i < next - from; i++) {
                uint64_t index = from + (k + i) % (next - from);
                struct segment *s = window_at(f->w, index * SEGMENT_SIZE);

                if (s && s->got < s->len) {
                        fill(f->w, index, 1 + test_rng_next(f->rng) % (SEGMENT_SIZE / 2));
                        return;
                }
        }
}

static bool front_is_readable(const struct window *w) {
        if (w->read == w->size)
                return true;
        if (w->first == w->next)
                return false;
        const struct segment *s = w->slots[w->first % w->n_slots];
        return s->fill == s->len || s->fill - (w->read - s->pos) >= WINDOW_STEP;
}

static void check_bytes(const uint8_t *data, size_t len, uint64_t pos) {
        for (size_t i = 0; i < len; i++)
                if (data[i] != byte_at(pos + i))
                        fail_msg("byte %llu is wrong", (unsigned long long)(pos + i));
}

static void test_window_gives_bytes_in_order_whatever_order_they_came_in(void **state) {
        struct test_rng rng = test_rng_new("window");
        struct arena *a = arena_for_test();
        struct window w;
        struct error e;

        (void)state;
        assert_int_equal(window_init(&w, a), 0);
        for (unsigned round = 0; round < 6; round++) {
                uint64_t size = 1 + test_rng_next(&rng) % (40 * SEGMENT_SIZE), pos = 0;
                struct filling f = { .w = &w, .rng = &rng };
                unsigned held = 0;
                const void *data;
                size_t len;

                window_reset(&w, size);
                for (;;) {
                        uint64_t left = (size - window_next(&w) + SEGMENT_SIZE - 1) / SEGMENT_SIZE;
                        size_t n = 1 + test_rng_next(&rng) % 3;

                        if (left > 0 && held + n <= 8)
                                extend(&w, a, &held, n < left ? n : (size_t)left);
                        if (!front_is_readable(&w)) {
                                fill_somewhere(&f);
                                continue;
                        }
                        int r = window_read(&w, &data, &len, &e);
                        if (r == WINDOW_END)
                                break;
                        assert_int_equal(r, WINDOW_DATA);
                        len = 1 + test_rng_next(&rng) % len;
                        check_bytes(data, len, pos);
                        pos += len;
                        window_consume(&w, len);
                }
                assert_int_equal(pos, size);
                assert_int_equal(held, 0);
        }
        window_destroy(&w);
        arena_free(a);
}

static void test_missing_is_the_first_gap(void **state) {
        struct arena *a = arena_for_test();
        struct window w;
        unsigned held = 0;

        (void)state;
        assert_int_equal(window_init(&w, a), 0);
        window_reset(&w, 4 * SEGMENT_SIZE);
        extend(&w, a, &held, 3);
        assert_int_equal(window_missing(&w, 0), 0);
        fill(&w, 0, SEGMENT_SIZE);
        fill(&w, 1, 10);
        fill(&w, 2, SEGMENT_SIZE);
        assert_int_equal(window_missing(&w, 0), SEGMENT_SIZE + 10);
        assert_int_equal(window_missing(&w, SEGMENT_SIZE + 5), SEGMENT_SIZE + 10);
        assert_int_equal(window_missing(&w, 2 * SEGMENT_SIZE), 3 * SEGMENT_SIZE);
        window_destroy(&w);
        arena_free(a);
}

static void test_reader_hears_of_failure_expiry_and_cancellation(void **state) {
        struct arena *a = arena_for_test();
        struct error e = { .kind = ERROR_NONE }, why;
        struct window w;
        const void *data;
        size_t len;

        (void)state;
        assert_int_equal(window_init(&w, a), 0);
        window_reset(&w, SEGMENT_SIZE);
        window_ask_locate(&w);
        assert_int_equal(window_read(&w, &data, &len, &e), WINDOW_LOCATE);
        window_located(&w);
        error_set(&why, ERROR_DENIED, "no");
        window_fail(&w, &why);
        error_set(&why, ERROR_INTERNAL, "a later one");
        window_fail(&w, &why);
        assert_true(window_read(&w, &data, &len, &e) < 0);
        assert_int_equal(e.kind, ERROR_DENIED);
        window_cancel(&w);
        window_reset(&w, SEGMENT_SIZE);
        assert_true(window_read(&w, &data, &len, &e) < 0);
        assert_int_equal(e.kind, ERROR_CANCELLED);
        window_destroy(&w);
        arena_free(a);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_arena_refuses_less_than_it_can_work_with),
                cmocka_unit_test(test_arena_never_lends_more_than_it_has),
                cmocka_unit_test(test_arena_wakes_only_who_wanted_in_vain),
                cmocka_unit_test(test_window_gives_bytes_in_order_whatever_order_they_came_in),
                cmocka_unit_test(test_missing_is_the_first_gap),
                cmocka_unit_test(test_reader_hears_of_failure_expiry_and_cancellation),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
