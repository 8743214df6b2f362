/* SPDX-License-Identifier: Apache-2.0 */
/* WRAP: sha256_update */
/* Windows that the test fills as the reactor would, and the digester reads. */
#include "tests/unit/test.h"

#include "stager/digester.h"

#define SEGMENTS 64u
#define MIB ((size_t)1 << 20)
#define TASKS 4u

struct stream {
        struct window window;
        struct digest_task task;
        atomic_uint_fast64_t verified;
        unsigned held;
        uint8_t seed;
};

struct world {
        struct arena *arena;
        struct digester *digester;
        struct stream streams[TASKS];
        unsigned n;
};

/* The hook of one lane: a test can hold a thread there, in the middle of its turn. */
static struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool armed;  /* the next one that enters is held */
        bool inside; /* one is */
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

void __real_sha256_update(struct sha256 *s, const void *data, size_t len);
void __wrap_sha256_update(struct sha256 *s, const void *data, size_t len);

void __wrap_sha256_update(struct sha256 *s, const void *data, size_t len) {
        {
                LOCK_SCOPE(&gate.lock);
                bool held = gate.armed && !gate.inside;

                gate.inside = gate.inside || held;
                pthread_cond_broadcast(&gate.changed);
                while (held && gate.armed)
                        pthread_cond_wait(&gate.changed, &gate.lock);
                if (held)
                        gate.inside = false;
        }
        __real_sha256_update(s, data, len);
}

static void gate_arm(bool armed) {
        LOCK_SCOPE(&gate.lock);

        gate.armed = armed;
        pthread_cond_broadcast(&gate.changed);
}

static void gate_wait(void) {
        LOCK_SCOPE(&gate.lock);

        while (!gate.inside)
                pthread_cond_wait(&gate.changed, &gate.lock);
}

/* The bytes of a stream repeat after PERIOD, which nothing else here is a multiple of. */
#define PERIOD 65521u
static uint8_t pattern[PERIOD];

static int make_pattern(void **state) {
        struct test_rng rng = test_rng_new("pattern");

        (void)state;
        for (size_t i = 0; i < PERIOD; i++)
                pattern[i] = (uint8_t)test_rng_next(&rng);
        return 0;
}

/* Some of the bytes from @pos on: at most @len, as many as there are in a row. */
static size_t bytes_at(const struct stream *s, uint64_t pos, size_t len, const uint8_t **ret) {
        size_t from = (size_t)((pos + s->seed) % PERIOD), n = PERIOD - from;

        *ret = pattern + from;
        return n < len ? n : len;
}

static struct world *world_new(unsigned threads) {
        struct world *w = calloc(1, sizeof *w);
        struct error e;

        assert_int_equal(arena_new(&w->arena, SEGMENTS * SEGMENT_SIZE, 4, &e), 0);
        assert_int_equal(digester_new(&w->digester, threads, &e), 0);
        return w;
}

static void world_free(struct world *w) {
        digester_free(w->digester);
        for (unsigned i = 0; i < w->n; i++)
                window_destroy(&w->streams[i].window);
        arena_free(w->arena); /* every segment came back */
        free(w);
}

/* Nobody reads the content. */
static void reset(struct stream *s, uint64_t start, uint64_t size) {
        window_reset(&s->window, start, size);
        window_skip(&s->window, WINDOW_CONTENT, size);
}

static struct stream *stream_new(struct world *w, uint64_t size) {
        struct stream *s = &w->streams[w->n++];

        s->seed = (uint8_t)(w->n * 37);
        assert_int_equal(window_init(&s->window, w->arena), 0);
        digest_task_init(&s->task, w->digester, &s->window, &s->verified);
        reset(s, 0, size);
        return s;
}

/* The next segment, full, of at most @len bytes. */
static void fill(struct stream *s, size_t len) {
        uint64_t left = s->window.size - window_next(&s->window);
        struct segment *g;

        assert_true(arena_take(s->window.arena, &g, 1, &s->held, SEGMENTS));
        window_extend(&s->window, g, len < left ? len : (size_t)left);
        while (g->got < g->len) {
                const uint8_t *bytes;
                size_t n = bytes_at(s, g->pos + g->got, g->len - g->got, &bytes);

                memcpy(g->data + g->got, bytes, n);
                g->got += n;
        }
        window_show(&s->window, g);
}

static void fill_to(struct stream *s, uint64_t end) {
        while (window_next(&s->window) < end)
                fill(s, SEGMENT_SIZE);
}

static void expect_hash(const struct sha256 *hash, const struct stream *s, uint64_t len) {
        struct sha256 want;
        struct digest got, d;

        sha256_init(&want);
        while (want.len < len) {
                const uint8_t *bytes;
                size_t n = bytes_at(s, want.len, (size_t)(len - want.len), &bytes);

                __real_sha256_update(&want, bytes, n);
        }
        sha256_final(&want, &d);
        sha256_final(hash, &got);
        assert_memory_equal(got.bytes, d.bytes, sizeof d.bytes);
}

static void expect_end(struct stream *s) {
        struct digest by_task, by_hash;
        struct error e;

        assert_int_equal(window_wait_digest(&s->window, &e), WINDOW_END);
        digest_end(&s->task);
        assert_int_equal(s->verified, s->window.size);
        digest_result(&s->task, &by_task);
        sha256_final(&s->task.hash, &by_hash);
        assert_true(digest_equal(&by_task, &by_hash));
        expect_hash(&s->task.hash, s, s->window.size);
}

static void test_windows_are_hashed_by_any_number_of_threads(void **state) {
        struct test_rng rng = test_rng_new("windows");

        (void)state;
        for (unsigned threads = 1; threads <= 3; threads++) {
                struct world *w = world_new(threads);
                bool more = true;

                for (unsigned i = 0; i < TASKS; i++)
                        digest_begin(&stream_new(w, 3 * MIB + i * 700001 + 7)->task, NULL);
                while (more) {
                        more = false;
                        for (unsigned i = 0; i < TASKS; i++) {
                                struct stream *s = &w->streams[i];

                                if (window_next(&s->window) == s->window.size)
                                        continue;
                                fill(s, 1 + (size_t)test_rng_next(&rng) % SEGMENT_SIZE);
                                more = true;
                        }
                }
                for (unsigned i = 0; i < TASKS; i++)
                        expect_end(&w->streams[i]);
                uint64_t all = digester_hashed(w->digester, 1) + digester_hashed(w->digester, 2);
                assert_int_equal(all, TASKS * (3 * MIB + 7) + 6 * 700001);
                world_free(w);
        }
}

static void test_what_is_there_before_it_begins_is_hashed(void **state) {
        struct world *w = world_new(1);
        struct stream *s = stream_new(w, 2 * MIB + 5);

        (void)state;
        fill_to(s, s->window.size);
        digest_begin(&s->task, NULL);
        expect_end(s);
        world_free(w);
}

/* While the thread is held in its first turn, with one window, the other one comes: they go on together. */
static void two_windows(unsigned threads, enum sha256_way way, uint64_t want_alone, uint64_t want_together) {
        struct world *w = world_new(threads);
        struct stream *a = stream_new(w, 4 * MIB), *b = stream_new(w, 4 * MIB - WINDOW_STEP);

        if (sha256_choose(way) < 0) {
                world_free(w);
                skip();
        }
        digest_begin(&a->task, NULL);
        digest_begin(&b->task, NULL);
        gate_arm(true);
        fill(a, SEGMENT_SIZE);
        gate_wait();
        fill_to(a, a->window.size);
        fill_to(b, b->window.size);
        gate_arm(false);
        expect_end(a);
        expect_end(b);
        assert_int_equal(digester_hashed(w->digester, 1), want_alone);
        assert_int_equal(digester_hashed(w->digester, 2), want_together);
        world_free(w);
}

static void test_two_windows_share_a_core(void **state) {
        (void)state;
        two_windows(1, SHA256_LANES, WINDOW_STEP, 2 * (4 * MIB - WINDOW_STEP));
}

/* Not one thread each: two lanes are cheaper than two cores. */
static void test_two_windows_share_a_core_though_there_are_more(void **state) {
        (void)state;
        two_windows(3, SHA256_LANES, WINDOW_STEP, 2 * (4 * MIB - WINDOW_STEP));
}

static void test_without_lanes_each_is_hashed_alone(void **state) {
        (void)state;
        two_windows(2, SHA256_OPENSSL, 8 * MIB - WINDOW_STEP, 0);
        (void)sha256_choose(SHA256_LANES);
}

/* Held in the first turn of one window, with OpenSSL's one lane: the other window needs another thread. */
static void test_a_window_does_not_wait_for_another_one_if_there_is_a_thread(void **state) {
        struct world *w = world_new(2);
        struct stream *a = stream_new(w, MIB), *b = stream_new(w, 3 * MIB);

        (void)state;
        assert_int_equal(sha256_choose(SHA256_OPENSSL), 0);
        digest_begin(&a->task, NULL);
        digest_begin(&b->task, NULL);
        gate_arm(true);
        fill(a, SEGMENT_SIZE);
        gate_wait();
        fill_to(b, b->window.size);
        expect_end(b);
        gate_arm(false);
        expect_end(a);
        (void)sha256_choose(SHA256_LANES);
        world_free(w);
}

static void test_one_that_failed_does_not_hold_up_the_others(void **state) {
        struct world *w = world_new(1);
        struct stream *a = stream_new(w, 4 * MIB), *b = stream_new(w, 4 * MIB);
        struct error why, e;

        (void)state;
        error_set(&why, ERROR_UNAVAILABLE, "gone");
        digest_begin(&a->task, NULL);
        digest_begin(&b->task, NULL);
        fill_to(a, 2 * MIB);
        window_fail(&a->window, &why);
        fill_to(a, 3 * MIB);
        assert_true(window_wait_digest(&a->window, &e) < 0);
        assert_string_equal(e.text, "gone");
        fill_to(b, b->window.size);
        expect_end(b);
        digest_end(&a->task);
        world_free(w);
}

/* Who cancels has the window for himself when digest_end() is back, even if a thread was at work in it. */
static void test_it_ends_in_the_middle_of_a_turn(void **state) {
        struct world *w = world_new(1);
        struct stream *s = stream_new(w, 8 * MIB);
        struct error e;

        (void)state;
        for (int attempt = 0; attempt < 50; attempt++) {
                reset(s, 0, 8 * MIB);
                digest_begin(&s->task, NULL);
                fill_to(s, 2 * MIB);
                digest_end(&s->task);
                uint64_t pos = s->window.readers[WINDOW_DIGEST].pos;
                assert_int_equal(pos, s->task.hash.len);
                fill_to(s, 3 * MIB); /* nobody listens */
                assert_int_equal(s->window.readers[WINDOW_DIGEST].pos, pos);
        }
        window_cancel(&s->window);
        digest_end(&s->task);
        assert_true(window_wait_digest(&s->window, &e) < 0);
        assert_int_equal(e.kind, ERROR_CANCELLED);
        world_free(w);
}

static void test_an_attempt_begins_anew(void **state) {
        struct world *w = world_new(2);
        struct stream *s = stream_new(w, 3 * MIB);

        (void)state;
        digest_begin(&s->task, NULL);
        fill(s, SEGMENT_SIZE);
        digest_end(&s->task);
        s->seed++;
        reset(s, 0, 2 * MIB + 1);
        s->verified = 0;
        digest_begin(&s->task, NULL);
        fill_to(s, s->window.size);
        expect_end(s);
        world_free(w);
}

/* What the task's owner is told, on the digester's thread. */
struct edges {
        struct sha256 hashes[16];
        size_t n;
};

static void note_edge(void *userdata, const struct sha256 *hash) {
        struct edges *edges = userdata;

        assert_true(edges->n < 16);
        edges->hashes[edges->n++] = *hash;
}

static void test_each_end_of_a_segment_is_told(void **state) {
        static const size_t lens[] = { MIB, 512, 300 * 1024, MIB, MIB, 512, MIB, 7 };
        const size_t n = sizeof lens / sizeof *lens;
        struct world *w = world_new(2);
        struct stream *s = stream_new(w, 4 * MIB + 301 * 1024 + 7);
        struct edges edges = { .n = 0 };
        uint64_t pos = 0;

        (void)state;
        s->task.edge = note_edge;
        s->task.edge_data = &edges;
        digest_begin(&s->task, NULL);
        for (size_t i = 0; i < n; i++)
                fill(s, lens[i]);
        expect_end(s);
        assert_int_equal(edges.n, n);
        for (size_t i = 0; i < n; i++) {
                pos += lens[i];
                assert_int_equal(edges.hashes[i].len, pos);
                expect_hash(&edges.hashes[i], s, pos);
        }
        world_free(w);
}

static void test_it_goes_on_from_an_earlier_state(void **state) {
        struct world *w = world_new(1);
        struct stream *s = stream_new(w, 5 * MIB + 3);
        struct edges edges = { .n = 0 };

        (void)state;
        s->task.edge = note_edge;
        s->task.edge_data = &edges;
        digest_begin(&s->task, NULL);
        fill_to(s, s->window.size);
        expect_end(s);
        assert_int_equal(edges.hashes[1].len, 2 * MIB);
        reset(s, 2 * MIB, s->window.size);
        s->task.edge = NULL;
        s->verified = 0;
        digest_begin(&s->task, &edges.hashes[1]);
        fill_to(s, s->window.size);
        expect_end(s);
        assert_int_equal(edges.n, 6); /* nobody is told any more */
        world_free(w);
}

static void test_threads_for_the_cores(void **state) {
        static const struct {
                enum sha256_way way;
                unsigned cores, want;
        } cases[] = {
                { SHA256_OPENSSL, 1, 1 }, { SHA256_OPENSSL, 2, 2 }, { SHA256_OPENSSL, 64, 4 },
                { SHA256_LANES, 1, 1 },   { SHA256_LANES, 2, 1 },   { SHA256_LANES, 4, 2 },
                { SHA256_LANES, 64, 4 },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                if (sha256_choose(cases[i].way) == 0)
                        assert_int_equal(digester_threads(cases[i].cores, 4), cases[i].want);
        (void)sha256_choose(SHA256_LANES);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_windows_are_hashed_by_any_number_of_threads),
                cmocka_unit_test(test_what_is_there_before_it_begins_is_hashed),
                cmocka_unit_test(test_two_windows_share_a_core),
                cmocka_unit_test(test_two_windows_share_a_core_though_there_are_more),
                cmocka_unit_test(test_without_lanes_each_is_hashed_alone),
                cmocka_unit_test(test_a_window_does_not_wait_for_another_one_if_there_is_a_thread),
                cmocka_unit_test(test_one_that_failed_does_not_hold_up_the_others),
                cmocka_unit_test(test_it_ends_in_the_middle_of_a_turn),
                cmocka_unit_test(test_an_attempt_begins_anew),
                cmocka_unit_test(test_each_end_of_a_segment_is_told),
                cmocka_unit_test(test_it_goes_on_from_an_earlier_state),
                cmocka_unit_test(test_threads_for_the_cores),
        };
        return cmocka_run_group_tests_name("stager/digester", tests, make_pattern, NULL);
}
