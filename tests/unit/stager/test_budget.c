/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "stager/budget.h"

#include <errno.h>

#define SECOND ((uint64_t)1000000000)

static void test_host_and_node_have_their_own_limits(void **state) {
        struct budget b;

        (void)state;
        assert_int_equal(budget_init(&b, 5, 3, 0), 0);
        int a = budget_take(&b, "a");
        assert_true(a >= 0);
        assert_int_equal(budget_take(&b, "a"), a);
        assert_int_equal(budget_take(&b, "a"), a);
        assert_int_equal(budget_take(&b, "a"), -EAGAIN);
        int other = budget_take(&b, "b");
        assert_true(other >= 0 && other != a);
        assert_int_equal(budget_take(&b, "b"), other);
        assert_int_equal(budget_take(&b, "c"), -EAGAIN);
        budget_give(&b, a);
        assert_true(budget_take(&b, "c") >= 0);
        budget_destroy(&b);
}

static void test_place_of_an_idle_host_is_used_again(void **state) {
        struct budget b;
        char host[16];

        (void)state;
        assert_int_equal(budget_init(&b, 2, 2, 0), 0);
        for (int i = 0; i < 100; i++) {
                snprintf(host, sizeof host, "host%d", i);
                int place = budget_take(&b, host);
                assert_int_equal(place, 0);
                budget_give(&b, place);
        }
        budget_destroy(&b);
}

static void test_what_an_idle_host_bears_is_remembered_wherever_its_place_is(void **state) {
        struct budget b;

        (void)state;
        assert_int_equal(budget_init(&b, 4, 4, 0), 0);
        int other = budget_take(&b, "other"), small = budget_take(&b, "small");
        budget_throttled(&b, small);
        budget_give(&b, other); /* a free place before the one that knows */
        budget_give(&b, small);
        assert_int_equal(budget_take(&b, "small"), small);
        assert_int_equal(budget_take(&b, "small"), -EAGAIN);
        budget_destroy(&b);
}

static void test_no_rate_never_waits(void **state) {
        struct budget b;

        (void)state;
        assert_int_equal(budget_init(&b, 1, 1, 0), 0);
        budget_spend(&b, UINT64_C(1) << 50);
        assert_int_equal(budget_wait_ms(&b, SECOND), 0);
        budget_destroy(&b);
}

static void test_bytes_asked_for_keep_to_the_rate(void **state) {
        const uint64_t rate = 10 << 20, range = 8 << 20;
        uint64_t now = SECOND, asked = 0;
        struct budget b;

        (void)state;
        assert_int_equal(budget_init(&b, 1, 1, rate), 0);
        while (now < 101 * SECOND) {
                int wait = budget_wait_ms(&b, now);

                if (wait == 0) {
                        budget_spend(&b, range);
                        asked += range;
                }
                now += (uint64_t)(wait ? wait : 1) * 1000000;
        }
        assert_in_range(asked, 97 * rate, 103 * rate);
        budget_destroy(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_host_and_node_have_their_own_limits),
                cmocka_unit_test(test_place_of_an_idle_host_is_used_again),
                cmocka_unit_test(test_what_an_idle_host_bears_is_remembered_wherever_its_place_is),
                cmocka_unit_test(test_no_rate_never_waits),
                cmocka_unit_test(test_bytes_asked_for_keep_to_the_rate),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
