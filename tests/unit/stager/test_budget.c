/* SPDX-License-Identifier: Apache-2.0 */
/* Who may have a connection, and who may ask for bytes; the clock is ours. */
#include "stager/budget.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>

#define SECOND 1000000000ull

/* With all that a host may have from the start. */
static void begin(struct budget *b, unsigned connections, unsigned per_host, uint64_t rate) {
        const struct settings s = { .engine = { .connections = connections,
                                                .connections_per_host = per_host,
                                                .bandwidth = rate,
                                                .warm_share = { .percent = 50, .is_percent = true } } };

        assert_int_equal(budget_init(b, &s, NULL), 0);
}

static int join(struct budget *b, const char *host) {
        int place = budget_join(b, host);

        assert_true(place >= 0);
        b->hosts[place].pacer.target = b->per_host;
        return place;
}

/* How many @place gets, at most @most. */
static unsigned take(struct budget *b, int place, bool warm, unsigned most) {
        unsigned n = 0;

        while (n < most && budget_take(b, place, warm, SECOND) == 0)
                n++;
        return n;
}

static void test_host_and_node_have_their_own_limits(void **state) {
        struct budget b;

        (void)state;
        begin(&b, 5, 3, 0);
        int a = join(&b, "a"), other = join(&b, "b"), third = join(&b, "c");
        assert_int_equal(take(&b, a, false, 9), 3);
        assert_int_equal(take(&b, other, false, 9), 2);
        assert_int_equal(take(&b, third, false, 9), 0);
        budget_give(&b, a, false);
        assert_int_equal(take(&b, third, false, 9), 1);
        budget_destroy(&b);
}

static void test_place_of_an_idle_host_is_used_again(void **state) {
        struct budget b;
        char host[16];

        (void)state;
        begin(&b, 2, 2, 0);
        int first = join(&b, "first");
        for (int i = 0; i < 1000; i++) {
                snprintf(host, sizeof host, "host%d", i);
                int place = join(&b, host);
                assert_int_not_equal(place, first);
                budget_leave(&b, place);
        }
        assert_int_equal(join(&b, "first"), first);
        assert_int_equal(b.hosts[first].blobs, 2);
        budget_destroy(&b);
}

static void test_what_a_host_bears_is_remembered_while_it_is_idle(void **state) {
        struct budget b;

        (void)state;
        begin(&b, 4, 4, 0);
        int small = join(&b, "small");
        assert_int_equal(take(&b, small, false, 4), 4);
        pacer_refused(&b.hosts[small].pacer, 4, SECOND, SECOND, 0);
        for (int i = 0; i < 4; i++)
                budget_give(&b, small, false);
        budget_leave(&b, small);
        assert_int_equal(join(&b, "other") == small, false);
        assert_int_equal(join(&b, "small"), small);
        assert_int_equal(take(&b, small, false, 4), 3);
        budget_destroy(&b);
}

static void test_host_begins_with_what_its_profile_says(void **state) {
        const struct settings s = { .engine = { .connections = 32, .connections_per_host = 16 } };
        _cleanup_(hosts_unrefp) struct hosts *profiles = hosts_new();
        int64_t now = 1700000000000; /* long ago, so the limit is not believed any more */
        struct budget b;

        (void)state;
        hosts_note_pace(profiles, "a", &(struct host_pace){ .best = 11, .limit = 5 }, now);
        assert_int_equal(budget_init(&b, &s, profiles), 0);
        int place = budget_join(&b, "a"), other = budget_join(&b, "b");
        assert_int_equal(take(&b, place, false, 99), 11);
        assert_int_equal(take(&b, other, false, 99), PACER_START);
        budget_destroy(&b);
}

static void test_warming_gets_its_share_only_while_volumes_wait(void **state) {
        struct budget b;

        (void)state;
        begin(&b, 12, 8, 0);
        int a = join(&b, "a"), other = join(&b, "b");
        assert_int_equal(take(&b, a, true, 99), 8);
        for (int i = 0; i < 6; i++)
                budget_give(&b, a, true);
        b.volumes = 1;
        assert_int_equal(take(&b, a, true, 99), 2);     /* half of the host's eight */
        assert_int_equal(take(&b, other, true, 99), 2); /* half of the node's twelve */
        assert_int_equal(take(&b, a, false, 99), 4);
        assert_int_equal(take(&b, other, false, 99), 2);
        budget_destroy(&b);
}

static void test_share_of_few_connections_is_one(void **state) {
        struct budget b;

        (void)state;
        begin(&b, 1, 1, 0);
        int a = join(&b, "a");
        b.volumes = 1;
        assert_int_equal(take(&b, a, true, 99), 1);
        budget_destroy(&b);
}

/* ---- bandwidth ---- */

/* Bytes that are asked for in ten seconds, a range at a time. */
static uint64_t asked_for(struct budget *b, struct bucket *own, bool warm, uint64_t *now) {
        const uint64_t range = 1 << 20, end = *now + 10 * SECOND;
        uint64_t asked = 0;

        while (*now < end) {
                int wait = budget_wait_ms(b, own, warm, *now);

                if (wait == 0) {
                        budget_spend(b, own, warm, range);
                        asked += range;
                }
                *now += (uint64_t)(wait ? wait : 1) * 1000000;
        }
        return asked;
}

static void test_no_rate_never_waits(void **state) {
        struct budget b;

        (void)state;
        begin(&b, 1, 1, 0);
        budget_spend(&b, NULL, false, UINT64_C(1) << 60);
        assert_int_equal(budget_wait_ms(&b, NULL, false, SECOND), 0);
        assert_null(budget_rate(&b, "a", "b"));
        budget_destroy(&b);
}

static void test_bytes_asked_for_keep_to_the_rate(void **state) {
        const uint64_t rate = 10 << 20;
        uint64_t now = SECOND;
        struct budget b;

        (void)state;
        begin(&b, 1, 1, rate);
        (void)asked_for(&b, NULL, false, &now);
        assert_in_range(asked_for(&b, NULL, false, &now), 97 * rate / 10, 103 * rate / 10);
        budget_destroy(&b);
}

static void test_warming_gets_its_share_of_the_rate(void **state) {
        const uint64_t rate = 20 << 20;
        uint64_t now = SECOND;
        struct budget b;

        (void)state;
        begin(&b, 1, 1, rate);
        assert_in_range(asked_for(&b, NULL, true, &now), 10 * rate,
                        106 * rate / 10); /* and the first burst */
        b.volumes = 1;
        (void)asked_for(&b, NULL, true, &now);
        assert_in_range(asked_for(&b, NULL, true, &now), 48 * rate / 10, 52 * rate / 10);
        budget_destroy(&b);
}

static void test_host_has_a_rate_of_its_own(void **state) {
        struct settings_registry registries[] = {
                { .host = (char *)"Slow.example.com", .bandwidth = 4 << 20 },
                { .host = (char *)"free.example.com" },
                { .host = (char *)"mirror.example.com:5000", .bandwidth = 8 << 20 },
        };
        const struct settings s = { .engine = { .connections = 4, .connections_per_host = 4 },
                                    .registries = registries,
                                    .n_registries = 3 };
        uint64_t now = SECOND;
        struct budget b;

        (void)state;
        assert_int_equal(budget_init(&b, &s, NULL), 0);
        struct bucket *slow = budget_rate(&b, "slow.example.com", "slow.example.com");
        assert_non_null(slow);
        assert_ptr_equal(budget_rate(&b, "storage.example.net", "slow.example.com"), slow); /* a redirect */
        assert_ptr_not_equal(budget_rate(&b, "mirror.example.com:5000", "slow.example.com"), slow);
        assert_null(budget_rate(&b, "free.example.com", "free.example.com"));
        (void)asked_for(&b, slow, false, &now);
        assert_in_range(asked_for(&b, slow, false, &now), UINT64_C(39) << 20, UINT64_C(41) << 20);
        assert_int_equal(budget_wait_ms(&b, NULL, false, now), 0); /* others do not wait for it */
        budget_destroy(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_host_and_node_have_their_own_limits),
                cmocka_unit_test(test_place_of_an_idle_host_is_used_again),
                cmocka_unit_test(test_what_a_host_bears_is_remembered_while_it_is_idle),
                cmocka_unit_test(test_host_begins_with_what_its_profile_says),
                cmocka_unit_test(test_warming_gets_its_share_only_while_volumes_wait),
                cmocka_unit_test(test_share_of_few_connections_is_one),
                cmocka_unit_test(test_no_rate_never_waits),
                cmocka_unit_test(test_bytes_asked_for_keep_to_the_rate),
                cmocka_unit_test(test_warming_gets_its_share_of_the_rate),
                cmocka_unit_test(test_host_has_a_rate_of_its_own),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
