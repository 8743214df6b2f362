/* SPDX-License-Identifier: Apache-2.0 */
/* How many connections servers of several kinds get, by a clock of our own. */
#include "stager/pacer.h"
#include "tests/unit/test.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define RANGE (8.0 * 1024 * 1024) /* bytes of a request */
#define MB 1e6

struct server {
        double each, all;  /* bytes a second: of a connection, of all together */
        double latency_ms; /* to the first byte, when nothing queues */
        double queue_ms;   /* and more for every connection that @all has no room for */
        unsigned bears;    /* more get 429; 0: all are served */
        int64_t retry_after_ms;
};

struct world {
        struct server server;
        struct pacer pacer;
        uint64_t now_ns;
        unsigned used, most_used, refused; /* now, ever, in all */
        double left;                       /* bytes until the next request ends */
        double received;
};

static void begin(struct world *w, const struct server *s, unsigned most, unsigned best) {
        *w = (struct world){ .server = *s, .now_ns = SECOND, .left = RANGE };
        pacer_init(&w->pacer, most, best, 0);
        pacer_join(&w->pacer, 1);
}

/* One more request: taken, or refused. */
static bool ask(struct world *w) {
        const struct server *s = &w->server;
        double fit = s->all / s->each;

        w->used++;
        if (s->bears && w->used > s->bears) {
                pacer_refused(&w->pacer, w->used, w->now_ns, w->now_ns, s->retry_after_ms);
                w->used--;
                w->refused++;
                return false;
        }
        double late = w->used > fit ? (w->used - fit) * s->queue_ms : 0;
        pacer_first_byte(&w->pacer, (uint64_t)((s->latency_ms + late) * 1e6));
        if (w->used > w->most_used)
                w->most_used = w->used;
        return true;
}

static void fill(struct world *w) {
        while (w->used < pacer_connections(&w->pacer, w->now_ns))
                if (!ask(w))
                        return; /* that range waits a moment */
}

/* A millisecond of transfer; of @jitter, 1 is none. */
static void turn(struct world *w, double jitter) {
        const struct server *s = &w->server;
        double rate = w->used * s->each < s->all ? w->used * s->each : s->all, n = rate / 1000 * jitter;

        fill(w);
        pacer_look(&w->pacer, w->used, w->now_ns);
        w->now_ns += MS;
        w->received += n;
        pacer_received(&w->pacer, (uint64_t)n);
        for (w->left -= n; w->left < 0 && w->used > 0; w->left += RANGE) {
                pacer_answered(&w->pacer, w->now_ns);
                w->used--;
                fill(w);
        }
}

static void run(struct world *w, uint64_t ms) {
        while (ms-- > 0)
                turn(w, 1);
}

static void test_climb_to_sixteen_is_short(void **state) {
        const struct server s = { .each = 80 * MB, .all = 1e12, .latency_ms = 1 };
        struct world w;

        (void)state;
        begin(&w, &s, 16, 0);
        turn(&w, 1);
        assert_int_equal(w.used, PACER_START);
        run(&w, 100);
        assert_int_equal(w.used, 16);
        run(&w, 1600); /* 2 GiB take that long */
        assert_true(w.received >= 0.95 * 16 * 80 * MB * 1.701);
        run(&w, 60000);
        assert_int_equal(w.used, 16);
        assert_int_equal(w.pacer.best, 16);
        assert_in_range(w.pacer.rate, (uint64_t)(15 * 80 * MB), (uint64_t)(17 * 80 * MB));
}

static void test_climb_takes_a_far_host_into_account(void **state) {
        const struct server s = { .each = 20 * MB, .all = 1e12, .latency_ms = 150 };
        struct world w;

        (void)state;
        begin(&w, &s, 16, 0);
        run(&w, 2000);
        assert_int_equal(w.used, 16);
}

static void test_link_that_four_fill_is_left_to_four(void **state) {
        const struct server s = { .each = 2000 * MB, .all = 2000 * MB, .latency_ms = 0.1 };
        struct world w;
        double before;

        (void)state;
        begin(&w, &s, 16, 0);
        run(&w, 300);
        assert_int_equal(w.used, PACER_START);
        assert_true(w.received >= 0.99 * 0.3 * 2000 * MB);
        before = w.received;
        run(&w, 60000); /* it is tried again, and never kept */
        assert_true(w.most_used <= 8);
        assert_int_equal(w.pacer.best, PACER_START);
        assert_true(w.received - before >= 0.99 * 60 * 2000 * MB);
}

static void test_link_that_becomes_wider_is_found_out(void **state) {
        const struct server narrow = { .each = 50 * MB, .all = 200 * MB, .latency_ms = 5 };
        struct world w;

        (void)state;
        begin(&w, &narrow, 16, 0);
        run(&w, 5000);
        assert_in_range(w.used, PACER_START, 6);
        w.server.all = 1000 * MB;
        run(&w, 40000);
        assert_int_equal(w.used, 16);
}

static void test_noise_does_not_keep_a_climb_from_the_top(void **state) {
        const struct server s = { .each = 80 * MB, .all = 1e12, .latency_ms = 1 };
        struct test_rng rng = { 42 };

        (void)state;
        for (unsigned i = 0; i < 50; i++) {
                struct world w;

                begin(&w, &s, 16, 0);
                for (unsigned ms = 0; ms < 150; ms++)
                        turn(&w, 0.5 + (double)(test_rng_next(&rng) % 1000) / 1000);
                assert_int_equal(w.used, 16);
        }
}

static void test_answers_that_come_late_without_more_bytes_make_it_fewer(void **state) {
        const struct server s = { .each = 50 * MB, .all = 200 * MB, .latency_ms = 10, .queue_ms = 20 };
        struct world w;

        (void)state;
        begin(&w, &s, 16, 16); /* as it was best once */
        for (unsigned i = 0; i < 4; i++)
                pacer_first_byte(&w.pacer, 10 * MS);
        run(&w, 120000);
        assert_in_range(w.pacer.best, 4, 8);
        double before = w.received;
        run(&w, 10000);
        assert_true(w.received - before >= 0.95 * 10 * 200 * MB);
}

static void test_host_that_bears_eight_gets_eight(void **state) {
        const struct server s = { .each = 80 * MB, .all = 1e12, .latency_ms = 1, .bears = 8 };
        struct world w;

        (void)state;
        begin(&w, &s, 16, 0);
        run(&w, 200);
        assert_int_equal(w.used, 8);
        assert_int_equal(w.pacer.limit, 8);
        unsigned burst = w.refused;
        run(&w, 60000); /* 80 MB/s: some 4500 answers */
        assert_int_equal(w.used, 8);
        assert_true(w.refused - burst <= 16);
        assert_true(w.received >= 0.98 * 60 * 8 * 80 * MB);
        w.server.bears = 12;
        run(&w, 120000);
        assert_int_equal(w.used, 12);
}

static void test_no_more_are_tried_before_the_host_wants_to_be_asked_again(void **state) {
        const struct server s = {
                .each = 80 * MB, .all = 1e12, .latency_ms = 1, .bears = 8, .retry_after_ms = 20000
        };
        struct world w;

        (void)state;
        begin(&w, &s, 16, 0);
        run(&w, 200);
        unsigned burst = w.refused;
        run(&w, 19000);
        assert_int_equal(w.refused, burst);
        run(&w, 20000);
        assert_true(w.refused > burst);
}

static void test_host_that_refuses_all_is_left_alone_for_as_long_as_it_asks(void **state) {
        struct pacer p;

        (void)state;
        pacer_init(&p, 16, 0, 0);
        pacer_join(&p, 1);
        for (unsigned used = 4; used > 0; used--)
                pacer_refused(&p, used, SECOND, SECOND, 30000);
        assert_int_equal(pacer_connections(&p, SECOND + 1), 0);
        assert_in_range(pacer_wait_ms(&p, SECOND), 30000, 30001);
        assert_int_equal(pacer_connections(&p, 31 * SECOND), 1);
        assert_int_equal(pacer_wait_ms(&p, 31 * SECOND), 0);
        pacer_refused(&p, 1, 31 * SECOND, 31 * SECOND, INT64_MAX / 2); /* not for ever */
        assert_in_range(pacer_wait_ms(&p, 31 * SECOND), 1, 120001);
}

static void test_host_that_refuses_what_it_has_borne_before_gets_fewer(void **state) {
        struct pacer p;
        uint64_t now = SECOND;

        (void)state;
        pacer_init(&p, 16, 16, 12);
        pacer_join(&p, 1);
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(pacer_connections(&p, now), 12);
                now += MS;
                pacer_refused(&p, 12, now, now, 0); /* somebody else has come */
        }
        assert_int_equal(pacer_connections(&p, now), 9);
}

static void test_every_blob_gets_its_four_and_a_known_host_what_is_known(void **state) {
        struct pacer p;

        (void)state;
        pacer_init(&p, 16, 0, 0);
        for (unsigned blobs = 1; blobs <= 6; blobs++) {
                pacer_join(&p, blobs);
                assert_int_equal(pacer_connections(&p, 1), blobs < 4 ? 4 * blobs : 16);
        }
        pacer_init(&p, 16, 3, 0);
        pacer_join(&p, 1);
        assert_int_equal(pacer_connections(&p, 1), 3);
        pacer_join(&p, 5);
        assert_int_equal(pacer_connections(&p, 1), 5);
        pacer_init(&p, 8, 300, 400); /* of a file that somebody has edited */
        pacer_join(&p, 1);
        assert_int_equal(pacer_connections(&p, 1), 8);
}

/* Neither little to do nor nothing at all is a reason to think that more connections do not help. */
static void test_time_without_enough_to_do_says_nothing(void **state) {
        struct pacer p;
        uint64_t now = SECOND;

        (void)state;
        pacer_init(&p, 16, 0, 0);
        pacer_join(&p, 1);
        for (unsigned i = 0; i < 5000; i++, now += MS) {
                pacer_received(&p, 1000000);
                assert_false(pacer_look(&p, i % 3, now));
                assert_int_equal(pacer_connections(&p, now), PACER_START);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_climb_to_sixteen_is_short),
                cmocka_unit_test(test_climb_takes_a_far_host_into_account),
                cmocka_unit_test(test_link_that_four_fill_is_left_to_four),
                cmocka_unit_test(test_link_that_becomes_wider_is_found_out),
                cmocka_unit_test(test_noise_does_not_keep_a_climb_from_the_top),
                cmocka_unit_test(test_answers_that_come_late_without_more_bytes_make_it_fewer),
                cmocka_unit_test(test_host_that_bears_eight_gets_eight),
                cmocka_unit_test(test_no_more_are_tried_before_the_host_wants_to_be_asked_again),
                cmocka_unit_test(test_host_that_refuses_all_is_left_alone_for_as_long_as_it_asks),
                cmocka_unit_test(test_host_that_refuses_what_it_has_borne_before_gets_fewer),
                cmocka_unit_test(test_every_blob_gets_its_four_and_a_known_host_what_is_known),
                cmocka_unit_test(test_time_without_enough_to_do_says_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
