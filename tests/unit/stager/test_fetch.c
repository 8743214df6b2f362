/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked for, and what becomes of answers that break off; no sockets, and a clock of our own. */
#include "stager/fetch.h"
#include "tests/unit/test.h"

#define SIZE (8 * SEGMENT_SIZE)
#define FAR INT64_C(1000000) /* no wait at all */

struct world {
        struct arena *arena;
        struct window window;
        struct regions regions;
        struct fetch fetch;
        char *data; /* the blob */
        uint64_t read;
        int64_t now;
};

static const struct fetch_limits wide = { .segments = 6, .range_segments = 2 };
static const struct fetch_limits narrow = { .segments = 1, .range_segments = 1 };

static int set_up(void **state) {
        struct world *w = calloc(1, sizeof *w);
        struct test_rng rng = { 7 };
        struct error e;

        w->data = malloc(SIZE);
        for (size_t i = 0; i < SIZE; i++)
                w->data[i] = (char)test_rng_next(&rng);
        assert_int_equal(arena_new(&w->arena, 32 * SEGMENT_SIZE, 4, &e), 0);
        assert_int_equal(window_init(&w->window, w->arena), 0);
        window_reset(&w->window, 0, SIZE);
        window_skip(&w->window, WINDOW_DIGEST, SIZE);
        regions_init(&w->regions);
        fetch_init(&w->fetch, w->arena, &w->window, &w->regions, NULL, SIZE);
        *state = w;
        return 0;
}

static int tear_down(void **state) {
        struct world *w = *state;

        fetch_destroy(&w->fetch);
        regions_destroy(&w->regions);
        window_destroy(&w->window);
        arena_free(w->arena);
        free(w->data);
        free(w);
        return 0;
}

static struct range *ask(struct world *w, const struct fetch_limits *l) {
        int64_t wait = FAR;
        struct range *r = fetch_next(&w->fetch, l, w->now, &wait);

        if (!r && wait < FAR) { /* it is waiting */
                w->now += wait;
                r = fetch_next(&w->fetch, l, w->now, &wait);
        }
        return r;
}

/* @len bytes of the blob arrive for @r, whose connection has come to @pos. */
static size_t give(struct world *w, const struct fetch_limits *l, struct range *r, uint64_t pos, size_t len) {
        return fetch_store(&w->fetch, l, r, w->data + pos, len);
}

static void end_by(struct world *w, struct range *r, enum oci_verdict verdict, bool throttled) {
        const struct fetch_end end = { .verdict = verdict, .throttled = throttled, .now_ms = w->now };
        struct error e;

        error_set(&e, ERROR_UNAVAILABLE, "the connection broke");
        fetch_ended(&w->fetch, r, &end, &e);
}

/* Reads all that is there and compares it. */
static void read_on(struct world *w, uint64_t upto) {
        struct error e;
        const void *data;
        size_t len;

        while (w->read < upto) {
                assert_int_equal(window_read(&w->window, WINDOW_CONTENT, &data, &len, &e), WINDOW_DATA);
                assert_true(memcmp(data, w->data + w->read, len) == 0);
                window_consume(&w->window, WINDOW_CONTENT, len);
                w->read += len;
        }
}

static void assert_failed(struct world *w) {
        struct error e;

        assert_true(w->fetch.failed);
        assert_true(window_check(&w->window, &e) < 0);
        assert_string_equal(e.text, "the connection broke");
        assert_null(ask(w, &wide));
}

/* ---- probes ---- */

static void end_after(struct world *w, struct range *r, int64_t wait_ms) {
        const struct fetch_end end = {
                .verdict = OCI_VERDICT_RETRY, .throttled = true, .wait_ms = wait_ms, .now_ms = w->now
        };
        struct error e;

        error_set(&e, ERROR_UNAVAILABLE, "not now");
        fetch_ended(&w->fetch, r, &end, &e);
}

static void assert_news(struct world *w) {
        const void *data;
        size_t len;
        struct error e;

        assert_int_equal(window_try_read(&w->window, WINDOW_CONTENT, &data, &len, &e), WINDOW_NEWS);
        assert_false(fetch_is_probing(&w->fetch));
}

static void test_probe_goes_first_and_brings_its_bytes(void **state) {
        struct world *w = *state;
        const char *got;

        fetch_probe(&w->fetch, 3 * SEGMENT_SIZE);
        struct range *r = ask(w, &wide);
        assert_int_equal(r->pos, 3 * SEGMENT_SIZE);
        assert_int_equal(fetch_probed(&w->fetch, 3 * SEGMENT_SIZE, &got), 0);
        assert_int_equal(ask(w, &wide)->pos, 0);
        give(w, &wide, r, r->pos, FETCH_PROBE_SIZE);
        end_by(w, r, OCI_VERDICT_OK, false);
        assert_news(w);
        assert_int_equal(fetch_probed(&w->fetch, 3 * SEGMENT_SIZE + 512, &got), FETCH_PROBE_SIZE - 512);
        assert_memory_equal(got, w->data + 3 * SEGMENT_SIZE + 512, FETCH_PROBE_SIZE - 512);
}

static void test_probe_is_given_up_after_a_few_tries(void **state) {
        struct world *w = *state;

        fetch_probe(&w->fetch, 3 * SEGMENT_SIZE);
        for (unsigned i = 0; i < FETCH_PROBE_TRIES; i++) {
                assert_true(fetch_is_probing(&w->fetch));
                struct range *r = &w->fetch.probe.range;
                w->now = r->not_before_ms;
                assert_ptr_equal(ask(w, &wide), r);
                end_by(w, r, OCI_VERDICT_RETRY, false);
        }
        assert_news(w);
        assert_false(w->fetch.failed);
}

/* The bulk is held back behind it. */
static void test_probe_does_not_wait_for_as_long_as_a_host_asks(void **state) {
        struct world *w = *state;

        fetch_probe(&w->fetch, 3 * SEGMENT_SIZE);
        end_after(w, ask(w, &wide), 60000);
        assert_news(w);
}

/* ---- ranges ---- */

static void test_ranges_follow_each_other_while_the_share_lasts(void **state) {
        struct world *w = *state;
        struct range *r[3];

        for (unsigned i = 0; i < 3; i++) {
                r[i] = ask(w, &wide);
                assert_int_equal(r[i]->pos, 2 * i * SEGMENT_SIZE);
                assert_int_equal(r[i]->end, 2 * (i + 1) * SEGMENT_SIZE);
        }
        assert_null(ask(w, &wide));      /* six segments are held */
        for (unsigned i = 3; i-- > 0;) { /* they arrive the wrong way round */
                assert_int_equal(give(w, &wide, r[i], r[i]->pos, 2 * SEGMENT_SIZE), 2 * SEGMENT_SIZE);
                end_by(w, r[i], OCI_VERDICT_OK, false);
        }
        read_on(w, 6 * SEGMENT_SIZE);
        r[0] = ask(w, &wide);
        assert_int_equal(r[0]->pos, 6 * SEGMENT_SIZE);
        assert_int_equal(r[0]->end, SIZE);
        assert_int_equal(give(w, &wide, r[0], r[0]->pos, 2 * SEGMENT_SIZE), 2 * SEGMENT_SIZE);
        end_by(w, r[0], OCI_VERDICT_OK, false);
        assert_null(ask(w, &wide));
        read_on(w, SIZE);
}

static void test_rest_of_the_first_segment_is_asked_for_first(void **state) {
        struct world *w = *state;
        struct segment *s = arena_wait(w->arena);

        window_extend(&w->window, s, SEGMENT_SIZE);
        memcpy(s->data, w->data, 1000);
        s->got = 1000;
        window_show(&w->window, s);
        assert_int_equal(fetch_begin(&w->fetch, 1000), 0);
        struct range *r = ask(w, &wide);
        assert_int_equal(r->pos, 1000);
        assert_int_equal(r->end, SEGMENT_SIZE);
        assert_int_equal(give(w, &wide, r, 1000, SEGMENT_SIZE - 1000), SEGMENT_SIZE - 1000);
        end_by(w, r, OCI_VERDICT_OK, false);
        read_on(w, SEGMENT_SIZE);
}

static void test_broken_range_goes_on_at_the_byte_reached(void **state) {
        struct world *w = *state;
        struct range *r = ask(w, &wide);
        int64_t wait = FAR;

        give(w, &wide, r, 0, SEGMENT_SIZE + 12345);
        end_by(w, r, OCI_VERDICT_RETRY, false);
        assert_ptr_equal(fetch_next(&w->fetch, &wide, w->now, &wait), r); /* it came forward: at once */
        assert_int_equal(r->pos, SEGMENT_SIZE + 12345);
        end_by(w, r, OCI_VERDICT_RETRY, false);
        struct range *other = fetch_next(&w->fetch, &wide, w->now, &wait);
        assert_ptr_not_equal(other, r); /* it did not: it waits, and others do not wait for it */
        assert_in_range(wait, 1, FAR - 1);
        w->now += wait;
        assert_ptr_equal(ask(w, &wide), r);
        assert_int_equal(r->pos, SEGMENT_SIZE + 12345);
        give(w, &wide, r, r->pos, 2 * SEGMENT_SIZE); /* more than was asked for is dropped */
        assert_int_equal(r->pos, r->end);
        end_by(w, r, OCI_VERDICT_RETRY, false); /* whatever became of the connection */
        read_on(w, 2 * SEGMENT_SIZE);
}

static void test_range_without_progress_is_given_up(void **state) {
        struct world *w = *state;
        struct range *r = NULL;

        for (unsigned i = 0; i < FETCH_MAX_TRIES; i++) {
                r = ask(w, &narrow);
                assert_non_null(r);
                give(w, &narrow, r, r->pos, 100);
                end_by(w, r, OCI_VERDICT_RETRY, false);
        }
        assert_failed(w);
}

static void test_host_that_is_away_is_waited_for(void **state) {
        struct world *w = *state;
        const int64_t began = w->now;
        unsigned tries = 0;

        while (!w->fetch.failed) {
                struct range *r = ask(w, &narrow);
                struct fetch_end end = { .verdict = OCI_VERDICT_RETRY, .away = true, .now_ms = w->now };

                assert_non_null(r);
                assert_in_range(w->now - began, 0, FETCH_AWAY_MS + 5000);
                fetch_ended(&w->fetch, r, &end, &(struct error){ .kind = ERROR_UNAVAILABLE });
                tries++;
        }
        assert_true(w->now - began >= FETCH_AWAY_MS);
        assert_in_range(tries, FETCH_MAX_TRIES, 40);
}

static void test_what_waits_for_a_host_is_asked_for_when_it_is_back(void **state) {
        struct world *w = *state;
        struct range *a = ask(w, &wide), *b = ask(w, &wide);
        struct fetch_end away = { .verdict = OCI_VERDICT_RETRY, .away = true, .now_ms = w->now };
        struct error e = { .kind = ERROR_UNAVAILABLE };
        int64_t wait = FAR;

        fetch_ended(&w->fetch, a, &away, &e);
        away.wait_ms = 3000; /* it has said so, and still means it */
        fetch_ended(&w->fetch, b, &away, &e);
        struct range *c = fetch_next(&w->fetch, &wide, w->now, &wait);
        assert_non_null(c);
        assert_null(fetch_next(&w->fetch, &wide, w->now, &wait));
        fetch_host_is_back(&w->fetch);
        assert_ptr_equal(fetch_next(&w->fetch, &wide, w->now, &wait), a);
        wait = FAR;
        assert_null(fetch_next(&w->fetch, &wide, w->now, &wait));
        assert_in_range(wait, 1, 3000);
}

static void test_range_with_progress_is_not_given_up(void **state) {
        struct world *w = *state;

        for (unsigned i = 0; i < 4 * FETCH_MAX_TRIES; i++) {
                struct range *r = ask(w, &narrow);

                assert_non_null(r);
                give(w, &narrow, r, r->pos, 20000);
                end_by(w, r, OCI_VERDICT_RETRY, false);
        }
        assert_false(w->fetch.failed);
}

static void test_throttled_range_has_not_failed_while_others_run(void **state) {
        struct world *w = *state;

        w->fetch.connections = 1;
        for (unsigned i = 0; i < 4 * FETCH_MAX_TRIES; i++)
                end_by(w, ask(w, &narrow), OCI_VERDICT_RETRY, true);
        assert_false(w->fetch.failed);
        w->fetch.connections = 0; /* the host bears none at all */
        for (unsigned i = 0; i < FETCH_MAX_TRIES; i++) {
                assert_false(w->fetch.failed);
                end_by(w, ask(w, &narrow), OCI_VERDICT_RETRY, true);
        }
        assert_failed(w);
}

static void test_wait_of_the_host_is_kept_to_but_not_for_ever(void **state) {
        static const struct {
                int64_t asked, least, most;
        } cases[] = { { 30000, 30000, 30000 }, { INT64_MAX / 2, 120000, 120000 }, { 0, 1, 5000 } };
        struct world *w = *state;

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct range *r = ask(w, &narrow);
                struct fetch_end end = { .verdict = OCI_VERDICT_RETRY,
                                         .now_ms = w->now,
                                         .wait_ms = cases[i].asked };
                int64_t wait = FAR;

                fetch_ended(&w->fetch, r, &end, &(struct error){ .kind = ERROR_UNAVAILABLE });
                assert_null(fetch_next(&w->fetch, &narrow, w->now, &wait));
                assert_in_range(wait, cases[i].least, cases[i].most);
        }
}

/* It takes the place of one that ends, and the host has not asked that one to wait. */
static void test_refused_range_waits_only_if_it_is_refused_again(void **state) {
        struct fetch_end refused = {
                .verdict = OCI_VERDICT_RETRY, .throttled = true, .others = 3, .wait_ms = 30000
        };
        const struct error e = { .kind = ERROR_UNAVAILABLE };
        struct world *w = *state;
        struct range *r = ask(w, &narrow);
        int64_t wait = FAR;

        fetch_ended(&w->fetch, r, &refused, &e);
        assert_ptr_equal(fetch_next(&w->fetch, &narrow, w->now, &wait), r);
        for (unsigned i = 0; i < 3 * FETCH_MAX_TRIES; i++) {
                wait = FAR;
                refused.now_ms = w->now;
                fetch_ended(&w->fetch, r, &refused, &e);
                assert_null(fetch_next(&w->fetch, &narrow, w->now, &wait));
                assert_in_range(wait, 1, 3000);
                assert_ptr_equal(ask(w, &narrow), r);
        }
        assert_false(w->fetch.failed); /* the host bears our others */
}

static void test_trouble_is_told_until_something_comes(void **state) {
        char trouble[TRANSFER_TROUBLE_SIZE];
        struct world *w = *state;
        struct range *r;

        fetch_copy_trouble(&w->fetch, trouble);
        assert_string_equal(trouble, "");
        w->fetch.received = 12345;
        end_by(w, ask(w, &narrow), OCI_VERDICT_RETRY, false);
        fetch_copy_trouble(&w->fetch, trouble);
        assert_string_equal(trouble, "the connection broke");
        r = ask(w, &narrow);
        w->fetch.received += give(w, &narrow, r, r->pos, 100);
        fetch_copy_trouble(&w->fetch, trouble);
        assert_string_equal(trouble, "the connection broke");
        w->fetch.received += give(w, &narrow, r, r->pos, 100000);
        fetch_copy_trouble(&w->fetch, trouble);
        assert_string_equal(trouble, "");
}

static void test_fatal_answer_fails_at_once(void **state) {
        struct world *w = *state;

        end_by(w, ask(w, &wide), OCI_VERDICT_FATAL, false);
        assert_failed(w);
}

static void test_nothing_is_asked_for_while_the_address_is_looked_for(void **state) {
        struct world *w = *state;
        struct error e;
        const void *data;
        size_t len;

        end_by(w, ask(w, &wide), OCI_VERDICT_LOCATE, false);
        assert_null(ask(w, &wide));
        assert_int_equal(window_read(&w->window, WINDOW_CONTENT, &data, &len, &e), WINDOW_LOCATE);
        window_located(&w->window);
        w->now += 5000;
        struct range *r = ask(w, &wide);
        assert_int_equal(r->pos, 0);
}

/* ---- stragglers, and the end ---- */

static unsigned n_ranges(const struct world *w) {
        unsigned n = 0, ready = 0;

        for (const struct range *r = w->fetch.ranges; r; r = r->next) {
                assert_ptr_equal(*r->link, r);
                assert_true(!r->next || r->end <= r->next->pos);
                ready += r->state == RANGE_READY;
                n++;
        }
        assert_int_equal(ready, w->fetch.n_ready);
        return n;
}

static void finish(struct world *w, struct range *r) {
        give(w, &wide, r, r->pos, (size_t)(r->end - r->pos));
        end_by(w, r, OCI_VERDICT_OK, false);
}

static void test_rest_of_a_range_that_is_cut_off_is_shared(void **state) {
        const struct fetch_limits long_ones = { .segments = 8, .range_segments = 8 };
        struct world *w = *state;
        struct range *r = ask(w, &long_ones);
        uint64_t at = SEGMENT_SIZE + 4096;

        give(w, &wide, r, 0, SEGMENT_SIZE + 4096);
        fetch_cut(&w->fetch, r, 3);
        assert_int_equal(n_ranges(w), 3);
        for (unsigned i = 0; i < 3; i++) { /* next to each other, and nothing twice */
                r = ask(w, &long_ones);
                assert_int_equal(r->pos, at);
                at = r->end;
        }
        assert_int_equal(at, SIZE);
        assert_null(ask(w, &long_ones));
        for (struct range *next = w->fetch.ranges; (r = next);) {
                next = r->next;
                finish(w, r);
        }
        read_on(w, SIZE);
}

static void test_range_of_one_segment_is_cut_off_whole(void **state) {
        struct world *w = *state;
        struct range *r = ask(w, &narrow);

        give(w, &narrow, r, 0, 100);
        fetch_cut(&w->fetch, r, 16);
        assert_int_equal(n_ranges(w), 1);
        r = ask(w, &narrow);
        assert_int_equal(r->pos, 100);
        give(w, &narrow, r, 100, SEGMENT_SIZE - 100);
        fetch_cut(&w->fetch, r, 16); /* too late: it is all there */
        assert_int_equal(n_ranges(w), 0);
        read_on(w, SEGMENT_SIZE);
}

static void test_cut_does_not_count_as_a_failure(void **state) {
        struct world *w = *state;

        for (unsigned i = 0; i < 3 * FETCH_MAX_TRIES; i++)
                fetch_cut(&w->fetch, ask(w, &narrow), 1);
        assert_false(w->fetch.failed);
}

static void test_slowest_range_is_split_and_nothing_is_asked_for_twice(void **state) {
        struct world *w = *state;
        struct range *slow = ask(w, &wide), *fast = ask(w, &wide), *unknown = ask(w, &wide);

        assert_null(fetch_split(&w->fetch, 1e12, 0)); /* nobody knows how fast they are */
        slow->rate = SEGMENT_SIZE;                    /* two seconds */
        fast->rate = 10 * SEGMENT_SIZE;
        assert_null(fetch_split(&w->fetch, 1e12, 3e9));
        assert_null(fetch_split(&w->fetch, SEGMENT_SIZE, 1e9)); /* as fast as others */
        struct range *rest = fetch_split(&w->fetch, 2 * SEGMENT_SIZE, 1e9);
        assert_ptr_equal(rest, slow->next);
        assert_int_equal(rest->state, RANGE_RUNNING);
        assert_int_equal(slow->end, SEGMENT_SIZE);
        assert_int_equal(rest->pos, SEGMENT_SIZE);
        assert_int_equal(rest->end, 2 * SEGMENT_SIZE);
        assert_int_equal(n_ranges(w), 4);
        assert_null(fetch_split(&w->fetch, 2 * SEGMENT_SIZE, 0.5e9)); /* a segment is not divided */
        finish(w, rest);
        finish(w, unknown);
        finish(w, fast);
        give(w, &wide, slow, 0, 2 * SEGMENT_SIZE); /* the server does not know: the rest is dropped */
        end_by(w, slow, OCI_VERDICT_OK, false);
        read_on(w, 6 * SEGMENT_SIZE);
}

static void test_split_leaves_what_has_arrived_to_who_has_it(void **state) {
        const struct fetch_limits long_ones = { .segments = 8, .range_segments = 8 };
        struct world *w = *state;
        struct range *r = ask(w, &long_ones);

        give(w, &long_ones, r, 0, 6 * SEGMENT_SIZE + 10);
        r->rate = 1;
        struct range *rest = fetch_split(&w->fetch, 1e12, 1);
        assert_int_equal(rest->pos, 7 * SEGMENT_SIZE);
        assert_int_equal(r->end, 7 * SEGMENT_SIZE);
        finish(w, r);
        finish(w, rest);
        read_on(w, SIZE);
}

/* However large the blob is, there are no more ranges than the arena has segments, and each is put and taken
 * without a walk. */
static void test_blob_of_a_tebibyte_has_few_ranges(void **state) {
        static char megabyte[SEGMENT_SIZE];
        const struct fetch_limits l = { .segments = 8, .range_segments = 1 };
        struct world *w = *state;
        struct error e;
        const void *data;
        size_t len;

        w->fetch.size = UINT64_C(1) << 40;
        window_reset(&w->window, 0, w->fetch.size);
        window_skip(&w->window, WINDOW_CONTENT, w->fetch.size);
        for (uint64_t pos = 0; pos < 4096 * SEGMENT_SIZE; pos += SEGMENT_SIZE) {
                struct range *r;

                while ((r = ask(w, &l)))
                        ;
                assert_int_equal(n_ranges(w), 8);
                r = w->fetch.ranges;
                assert_int_equal(r->pos, pos);
                fetch_store(&w->fetch, &l, r, megabyte, sizeof megabyte);
                end_by(w, r, OCI_VERDICT_OK, false);
                assert_int_equal(window_read(&w->window, WINDOW_DIGEST, &data, &len, &e), WINDOW_DATA);
                window_consume(&w->window, WINDOW_DIGEST, len);
        }
}

/* ---- the one stream ---- */

static struct range *begin_stream(struct world *w) {
        fetch_become_stream(&w->fetch);
        struct range *r = ask(w, &narrow);

        assert_true(r->stream);
        assert_int_equal(r->pos, 0);
        return r;
}

/* One connection from zero to the end, in pieces as curl gives them; what is refused comes again after the
 * reader has read. */
static void stream_all(struct world *w, const struct fetch_limits *l, struct range *r, size_t piece) {
        for (uint64_t pos = 0; pos < SIZE;) {
                size_t n = SIZE - pos < piece ? SIZE - pos : piece, taken = give(w, l, r, pos, n);

                pos += taken;
                assert_int_equal(r->pos, pos);
                if (taken < n) {
                        assert_false(fetch_may_go_on(&w->fetch, l, r));
                        read_on(w, pos / SEGMENT_SIZE * SEGMENT_SIZE);
                        assert_true(fetch_may_go_on(&w->fetch, l, r));
                }
        }
        end_by(w, r, OCI_VERDICT_OK, false);
        read_on(w, SIZE);
}

static void test_stream_goes_on_with_a_single_segment(void **state) {
        struct world *w = *state;

        stream_all(w, &narrow, begin_stream(w), 100000);
}

/* A piece may begin with what is here and end where there is no memory. */
static void test_stream_that_starts_over_skips_what_is_here(void **state) {
        static const size_t pieces[] = { 1000, 16384, 100000, 3 * SEGMENT_SIZE };
        struct world *w = *state;

        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
                struct range *r = begin_stream(w);

                give(w, &narrow, r, 0, SEGMENT_SIZE - 8192);
                end_by(w, r, OCI_VERDICT_RETRY, false);
                stream_all(w, &narrow, ask(w, &narrow), pieces[i]);
                window_reset(&w->window, 0, SIZE);
                window_skip(&w->window, WINDOW_DIGEST, SIZE);
                fetch_reset(&w->fetch);
                w->read = 0;
        }
}

static void test_stream_skips_what_ranges_have_brought(void **state) {
        struct world *w = *state;
        struct range *r[3];

        for (unsigned i = 0; i < 3; i++)
                r[i] = ask(w, &wide);
        give(w, &wide, r[0], 0, 500);
        give(w, &wide, r[1], r[1]->pos, 2 * SEGMENT_SIZE);
        give(w, &wide, r[2], r[2]->pos, SEGMENT_SIZE + 77);
        stream_all(w, &wide, begin_stream(w), 16384);
}

static void test_stream_that_comes_further_each_time_is_not_given_up(void **state) {
        struct world *w = *state;
        struct range *r = begin_stream(w);

        for (unsigned i = 1; i <= 2 * FETCH_MAX_RESTARTS; i++) {
                assert_non_null(r);
                give(w, &wide, r, 0, i * 20000);
                end_by(w, r, OCI_VERDICT_RETRY, false);
                r = ask(w, &wide);
        }
        stream_all(w, &wide, r, 16384);
}

static void test_stream_that_comes_no_further_is_given_up(void **state) {
        struct world *w = *state;
        struct range *r = begin_stream(w);

        give(w, &wide, r, 0, 300000);
        end_by(w, r, OCI_VERDICT_RETRY, false);
        for (unsigned i = 1; i < FETCH_MAX_RESTARTS; i++) {
                r = ask(w, &wide);
                assert_non_null(r);
                give(w, &wide, r, 0, 290000 + 100 * i);
                end_by(w, r, OCI_VERDICT_RETRY, false);
        }
        assert_failed(w);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* The bulk is held back as long as a probe is under way. */
static void test_probe_does_not_wait_for_long(void **state) {
        struct world *w = *state;
        const struct {
                int64_t wait_ms;
                bool again;
        } cases[] = { { 0, true }, { 500, true }, { 30000, false } };

        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                fetch_probe(&w->fetch, 4 * SEGMENT_SIZE);
                struct range *r = ask(w, &wide);
                assert_int_equal(r->pos, 4 * SEGMENT_SIZE);
                fetch_ended(&w->fetch, r,
                            &(struct fetch_end){ .verdict = OCI_VERDICT_RETRY,
                                                 .throttled = true,
                                                 .wait_ms = cases[i].wait_ms,
                                                 .now_ms = w->now },
                            NULL);
                assert_int_equal(fetch_is_probing(&w->fetch), cases[i].again);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_probe_goes_first_and_brings_its_bytes),
                T(test_probe_is_given_up_after_a_few_tries),
                T(test_probe_does_not_wait_for_as_long_as_a_host_asks),
                T(test_ranges_follow_each_other_while_the_share_lasts),
                T(test_rest_of_the_first_segment_is_asked_for_first),
                T(test_broken_range_goes_on_at_the_byte_reached),
                T(test_range_without_progress_is_given_up),
                T(test_host_that_is_away_is_waited_for),
                T(test_what_waits_for_a_host_is_asked_for_when_it_is_back),
                T(test_range_with_progress_is_not_given_up),
                T(test_throttled_range_has_not_failed_while_others_run),
                T(test_wait_of_the_host_is_kept_to_but_not_for_ever),
                T(test_trouble_is_told_until_something_comes),
                T(test_fatal_answer_fails_at_once),
                T(test_nothing_is_asked_for_while_the_address_is_looked_for),
                T(test_refused_range_waits_only_if_it_is_refused_again),
                T(test_rest_of_a_range_that_is_cut_off_is_shared),
                T(test_range_of_one_segment_is_cut_off_whole),
                T(test_cut_does_not_count_as_a_failure),
                T(test_slowest_range_is_split_and_nothing_is_asked_for_twice),
                T(test_split_leaves_what_has_arrived_to_who_has_it),
                T(test_blob_of_a_tebibyte_has_few_ranges),
                T(test_stream_goes_on_with_a_single_segment),
                T(test_stream_that_starts_over_skips_what_is_here),
                T(test_stream_skips_what_ranges_have_brought),
                T(test_stream_that_comes_further_each_time_is_not_given_up),
                T(test_stream_that_comes_no_further_is_given_up),
                T(test_probe_does_not_wait_for_long),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
