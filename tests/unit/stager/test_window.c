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

/* One segment more, of at most @len bytes. */
static void extend(struct window *w, struct arena *a, unsigned *held, size_t len) {
        uint64_t left = w->size - window_next(w);
        struct segment *s;

        assert_true(arena_take(a, &s, 1, held, SEGMENTS));
        window_extend(w, s, len < left ? len : (size_t)left);
}

static void fill(struct window *w, struct segment *s, size_t n) {
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

/* One piece of random size into a random segment that has room. */
static bool fill_somewhere(struct window *w, struct test_rng *rng) {
        uint64_t from = w->first, n = w->next - w->first;

        for (uint64_t i = 0, k = test_rng_next(rng); i < n; i++) {
                struct segment *s = w->slots[(from + (k + i) % n) % w->n_slots];

                if (s->got < s->len) {
                        fill(w, s, 1 + test_rng_next(rng) % (SEGMENT_SIZE / 2));
                        return true;
                }
        }
        return false;
}

static void check_bytes(const uint8_t *data, size_t len, uint64_t pos) {
        for (size_t i = 0; i < len; i++)
                if (data[i] != byte_at(pos + i))
                        fail_msg("byte %llu is wrong", (unsigned long long)(pos + i));
}

/* What the reader can have now is right; it takes a part of it. False: it is at the end. */
static bool read_some(struct window *w, struct test_rng *rng, enum window_reader reader, uint64_t *pos) {
        struct error e;
        const void *data;
        size_t len;
        int r = window_try_read(w, reader, &data, &len, &e);

        if (r == WINDOW_END)
                return false;
        assert_int_equal(r, WINDOW_DATA);
        if (len > 0)
                len = 1 + test_rng_next(rng) % len;
        check_bytes(data, len, *pos);
        *pos += len;
        window_consume(w, reader, len);
        return true;
}

static void test_window_gives_bytes_in_order_whatever_order_they_came_in(void **state) {
        struct test_rng rng = test_rng_new("window");
        struct arena *a = arena_for_test();
        struct window w;

        (void)state;
        assert_int_equal(window_init(&w, a), 0);
        for (unsigned round = 0; round < 6; round++) {
                uint64_t size = 1 + test_rng_next(&rng) % (40 * SEGMENT_SIZE);
                uint64_t start = round % 2 ? test_rng_next(&rng) % size : 0;
                uint64_t pos[_WINDOW_READER_MAX] = { start, start };
                bool more[_WINDOW_READER_MAX] = { true, true };
                unsigned held = 0;

                window_reset(&w, start, size);
                while (more[WINDOW_DIGEST] || more[WINDOW_CONTENT]) {
                        if (window_next(&w) < size && held < 8)
                                extend(&w, a, &held, 1 + test_rng_next(&rng) % SEGMENT_SIZE);
                        fill_somewhere(&w, &rng);
                        for (int i = 0; i < _WINDOW_READER_MAX; i++)
                                more[i] = read_some(&w, &rng, i, &pos[i]);
                        if (test_rng_next(&rng) % 16 == 0) { /* also beyond what is held */
                                uint64_t left = size - pos[WINDOW_CONTENT];

                                pos[WINDOW_CONTENT] += test_rng_next(&rng) % (left + 1) % (3 * SEGMENT_SIZE);
                                window_skip(&w, WINDOW_CONTENT, pos[WINDOW_CONTENT]);
                        }
                }
                assert_int_equal(pos[WINDOW_DIGEST], size);
                assert_int_equal(pos[WINDOW_CONTENT], size);
                assert_int_equal(held, 0);
        }
        window_destroy(&w);
        arena_free(a);
}

static void test_segment_stays_until_both_have_read_it(void **state) {
        struct arena *a = arena_for_test();
        struct window w;
        unsigned held = 0;
        char peek[100];

        (void)state;
        assert_int_equal(window_init(&w, a), 0);
        window_reset(&w, 0, 2 * SEGMENT_SIZE);
        extend(&w, a, &held, 1000);
        extend(&w, a, &held, SEGMENT_SIZE);
        fill(&w, window_at(&w, 0), 1000);
        window_consume(&w, WINDOW_DIGEST, 1000);
        assert_int_equal(held, 2);
        assert_int_equal(window_peek(&w, 950, peek, sizeof peek), 50);
        check_bytes((const uint8_t *)peek, 50, 950);
        assert_int_equal(window_peek(&w, 1000, peek, sizeof peek), 0);
        window_skip(&w, WINDOW_CONTENT, 500000); /* beyond the first, into the second */
        assert_int_equal(held, 1);
        assert_int_equal(window_peek(&w, 950, peek, sizeof peek), 0);
        window_skip(&w, WINDOW_CONTENT, 2 * SEGMENT_SIZE);
        assert_int_equal(held, 1);
        window_destroy(&w);
        assert_int_equal(held, 0);
        arena_free(a);
}

static void test_missing_is_the_first_gap(void **state) {
        struct arena *a = arena_for_test();
        struct window w;
        unsigned held = 0;

        (void)state;
        assert_int_equal(window_init(&w, a), 0);
        window_reset(&w, 0, 4 * SEGMENT_SIZE);
        for (int i = 0; i < 3; i++)
                extend(&w, a, &held, SEGMENT_SIZE);
        assert_int_equal(window_missing(&w, 0), 0);
        fill(&w, window_at(&w, 0), SEGMENT_SIZE);
        fill(&w, window_at(&w, SEGMENT_SIZE), 10);
        fill(&w, window_at(&w, 2 * SEGMENT_SIZE), SEGMENT_SIZE);
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
        window_reset(&w, 0, SEGMENT_SIZE);
        window_ask_locate(&w);
        assert_int_equal(window_try_read(&w, WINDOW_DIGEST, &data, &len, &e), WINDOW_DATA);
        assert_int_equal(len, 0);
        assert_int_equal(window_read(&w, WINDOW_CONTENT, &data, &len, &e), WINDOW_LOCATE);
        window_located(&w);
        window_tell(&w);
        assert_int_equal(window_read(&w, WINDOW_CONTENT, &data, &len, &e), WINDOW_NEWS);
        error_set(&why, ERROR_DENIED, "no");
        window_fail(&w, &why);
        error_set(&why, ERROR_INTERNAL, "a later one");
        window_fail(&w, &why);
        for (int i = 0; i < _WINDOW_READER_MAX; i++) {
                assert_true(window_read(&w, i, &data, &len, &e) < 0);
                assert_int_equal(e.kind, ERROR_DENIED);
        }
        window_cancel(&w);
        window_reset(&w, 0, SEGMENT_SIZE);
        assert_true(window_wait_digest(&w, &e) < 0);
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
                cmocka_unit_test(test_segment_stays_until_both_have_read_it),
                cmocka_unit_test(test_missing_is_the_first_gap),
                cmocka_unit_test(test_reader_hears_of_failure_expiry_and_cancellation),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
