/* SPDX-License-Identifier: Apache-2.0 */
/* Which requests are starved, by a clock of our own. */
#include "stager/straggler.h"
#include "tests/unit/test.h"

#define MS UINT64_C(1000000)
#define BEGIN (UINT64_C(1000) * MS)
#define N 16u
#define MB 1e6

struct world {
        struct peers peers;
        struct lap laps[N];
        double received[N];
        uint64_t now_ns;
};

static void begin(struct world *w) {
        *w = (struct world){ .now_ns = BEGIN };
        for (unsigned i = 0; i < N; i++) {
                lap_begin(&w->laps[i], BEGIN);
                lap_first_byte(&w->laps[i], BEGIN + MS);
        }
}

/* So long at these rates; one that is negative does not run. */
static void run(struct world *w, const double rates[N], unsigned ms) {
        for (; ms > 0; ms--) {
                w->now_ns += MS;
                for (unsigned i = 0; i < N; i++) {
                        if (rates[i] < 0)
                                continue;
                        w->received[i] += rates[i] / 1000;
                        lap_look(&w->laps[i], (uint64_t)w->received[i], w->now_ns);
                }
        }
}

static double median(const struct world *w, const double rates[N]) {
        const struct lap *running[N];
        size_t n = 0;

        for (unsigned i = 0; i < N; i++)
                if (rates[i] >= 0)
                        running[n++] = &w->laps[i];
        return peers_median(&w->peers, running, n, w->now_ns);
}

static bool is_starved(const struct world *w, const double rates[N], unsigned i, bool waited_for) {
        return lap_is_straggler(&w->laps[i], median(w, rates), 1 * MS, waited_for, w->now_ns);
}

static void all(double rates[N], double rate) {
        for (unsigned i = 0; i < N; i++)
                rates[i] = rate;
}

static void test_one_of_sixteen_is_found_and_only_that_one(void **state) {
        double rates[N];
        struct world w;

        (void)state;
        begin(&w);
        all(rates, 80 * MB);
        rates[5] = 1 * MB;
        run(&w, rates, 300);
        for (unsigned i = 0; i < N; i++) /* too early */
                assert_false(is_starved(&w, rates, i, false));
        run(&w, rates, 200);
        for (unsigned i = 0; i < N; i++)
                assert_int_equal(is_starved(&w, rates, i, false), i == 5);
}

static void test_what_all_wait_for_gets_less_time(void **state) {
        double rates[N];
        struct world w;

        (void)state;
        begin(&w);
        all(rates, 80 * MB);
        rates[5] = 1 * MB;
        run(&w, rates, 60);
        assert_false(is_starved(&w, rates, 5, true));
        run(&w, rates, 60);
        assert_true(is_starved(&w, rates, 5, true));
        assert_false(is_starved(&w, rates, 5, false));
        assert_false(is_starved(&w, rates, 6, true));
}

static void test_half_as_fast_is_not_starved(void **state) {
        double rates[N];
        struct world w;

        (void)state;
        begin(&w);
        for (unsigned i = 0; i < N; i++)
                rates[i] = (i % 2 ? 80 : 25) * MB;
        run(&w, rates, 5000);
        for (unsigned i = 0; i < N; i++)
                assert_false(is_starved(&w, rates, i, true));
}

static void test_connection_that_was_fast_is_found_when_it_starves(void **state) {
        double rates[N];
        struct world w;

        (void)state;
        begin(&w);
        all(rates, 80 * MB);
        run(&w, rates, 20000);
        rates[3] = 0;
        run(&w, rates, 700);
        assert_true(is_starved(&w, rates, 3, false));
}

static void test_nobody_is_starved_when_the_whole_link_is_slow(void **state) {
        double rates[N];
        struct world w;

        (void)state;
        begin(&w);
        all(rates, 80 * MB);
        run(&w, rates, 3000);
        for (unsigned i = 0; i < N; i++)
                peers_add(&w.peers, &w.laps[i], (uint64_t)w.received[i], w.now_ns);
        all(rates, 2 * MB);
        for (unsigned ms = 0; ms < 3000; ms += 25) {
                run(&w, rates, 25);
                for (unsigned i = 0; i < N; i++)
                        assert_false(is_starved(&w, rates, i, true));
        }
}

static void test_the_last_one_is_compared_with_those_that_ended_a_moment_ago(void **state) {
        double rates[N];
        struct world w;

        (void)state;
        begin(&w);
        all(rates, 80 * MB);
        rates[0] = 1 * MB;
        run(&w, rates, 200);
        assert_false(is_starved(&w, rates, 0, false));
        for (unsigned i = 1; i < N; i++)
                peers_add(&w.peers, &w.laps[i], (uint64_t)w.received[i], w.now_ns);
        all(rates, -1);
        rates[0] = 1 * MB;
        run(&w, rates, 50);
        assert_true(is_starved(&w, rates, 0, true));
        run(&w, rates, 3000); /* the others were long ago */
        assert_false(is_starved(&w, rates, 0, true));
}

static void test_few_others_say_nothing(void **state) {
        double rates[N];
        struct world w;

        (void)state;
        begin(&w);
        all(rates, -1);
        rates[0] = 1 * MB;
        rates[1] = 80 * MB;
        run(&w, rates, 1000);
        assert_false(is_starved(&w, rates, 0, true));
}

static void test_silence_before_the_first_byte_is_given_more_time(void **state) {
        double rates[N];
        struct world w;

        (void)state;
        begin(&w);
        all(rates, 80 * MB);
        lap_begin(&w.laps[2], BEGIN);
        run(&w, rates, 900);
        assert_false(is_starved(&w, rates, 2, true));
        run(&w, rates, 200);
        assert_true(is_starved(&w, rates, 2, false));
        assert_false(lap_is_straggler(&w.laps[2], median(&w, rates), 500e6, true, w.now_ns)); /* a far host */
}

static void test_new_connection_to_a_far_host_may_speed_up_first(void **state) {
        double rates[N];
        struct world w;

        (void)state;
        begin(&w);
        all(rates, 80 * MB);
        rates[2] = 5 * MB;
        run(&w, rates, 600);
        assert_true(is_starved(&w, rates, 2, false));
        assert_false(lap_is_straggler(&w.laps[2], median(&w, rates), 100e6, false, w.now_ns));
        run(&w, rates, 700);
        assert_true(lap_is_straggler(&w.laps[2], median(&w, rates), 100e6, false, w.now_ns));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_one_of_sixteen_is_found_and_only_that_one),
                cmocka_unit_test(test_what_all_wait_for_gets_less_time),
                cmocka_unit_test(test_half_as_fast_is_not_starved),
                cmocka_unit_test(test_connection_that_was_fast_is_found_when_it_starves),
                cmocka_unit_test(test_nobody_is_starved_when_the_whole_link_is_slow),
                cmocka_unit_test(test_the_last_one_is_compared_with_those_that_ended_a_moment_ago),
                cmocka_unit_test(test_few_others_say_nothing),
                cmocka_unit_test(test_silence_before_the_first_byte_is_given_more_time),
                cmocka_unit_test(test_new_connection_to_a_far_host_may_speed_up_first),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
