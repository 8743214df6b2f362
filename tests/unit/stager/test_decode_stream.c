/* SPDX-License-Identifier: Apache-2.0 */
/* WRAP: decoder_run_whole */
/* Streams of many frames, decoded at once and in order: the same bytes, the same errors. */
#include "tests/unit/test.h"

#include "base/buf.h"
#include "stager/decode_scan.h"
#include "stager/decode_stream.h"

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <zstd.h>

#define MIB ((size_t)1 << 20)
#define STREAM_MAX (64 * MIB)

/* The thread of the test decodes no unit before another one has begun to. */
static struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        pthread_t held;
        bool on, helped;
} gate = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

int __real_decoder_run_whole(struct decoder *d, const char *in, size_t in_len, void *out, size_t size,
                             size_t *ret_len, struct error *e);
int __wrap_decoder_run_whole(struct decoder *d, const char *in, size_t in_len, void *out, size_t size,
                             size_t *ret_len, struct error *e);

int __wrap_decoder_run_whole(struct decoder *d, const char *in, size_t in_len, void *out, size_t size,
                             size_t *ret_len, struct error *e) {
        {
                LOCK_SCOPE(&gate.lock);

                if (gate.on && !pthread_equal(pthread_self(), gate.held)) {
                        gate.helped = true;
                        pthread_cond_broadcast(&gate.changed);
                }
                while (gate.on && !gate.helped)
                        pthread_cond_wait(&gate.changed, &gate.lock);
        }
        return __real_decoder_run_whole(d, in, in_len, out, size, ret_len, e);
}

/* What a stream is made of, and where its frames end. */
struct made {
        enum plan_codec codec;
        struct buf stream, plain;
        size_t ends[512];
        size_t n;
        struct test_rng rng;
};

static struct made made_new(enum plan_codec codec) {
        return (struct made){
                .codec = codec,
                .stream = BUF_INIT(STREAM_MAX),
                .plain = BUF_INIT(STREAM_MAX),
                .rng = { 5 },
        };
}

static void made_free(struct made *m) {
        buf_free(&m->stream);
        buf_free(&m->plain);
}

/* Some content that compresses a little: returns it. */
static const void *add_plain(struct made *m, size_t len) {
        size_t from = m->plain.len;
        static uint64_t block[1024];

        for (size_t left = len, n; left > 0; left -= n) {
                n = left < sizeof block ? left : sizeof block;
                for (size_t i = 0; i < sizeof block / sizeof *block; i++)
                        block[i] = test_rng_next(&m->rng) & 0x0f0fff0fff0f0f0f;
                assert_int_equal(buf_append(&m->plain, block, n), 0);
        }
        return buf_text(&m->plain) + from;
}

static void add_end(struct made *m, const void *data, size_t len) {
        assert_int_equal(buf_append(&m->stream, data, len), 0);
        m->ends[m->n++] = m->stream.len;
}

/* @sized: the header says how large the content is. */
static void add_zstd(struct made *m, size_t len, bool sized, bool checksum) {
        const void *plain = add_plain(m, len);
        ZSTD_CCtx *c = ZSTD_createCCtx();
        size_t cap = ZSTD_compressBound(len);
        char *out = malloc(cap);
        ZSTD_inBuffer i = { plain, len, 0 };
        ZSTD_outBuffer o = { out, cap, 0 };

        ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, 1);
        ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, sized);
        ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
        if (sized)
                ZSTD_CCtx_setPledgedSrcSize(c, len);
        assert_int_equal(ZSTD_compressStream2(c, &o, &i, ZSTD_e_end), 0);
        add_end(m, out, o.pos);
        free(out);
        ZSTD_freeCCtx(c);
}

static void add_skippable(struct made *m, size_t len) {
        uint8_t *frame = calloc(1, 8 + len);

        memcpy(frame, "\x5a\x2a\x4d\x18", 4);
        for (int i = 0; i < 4; i++)
                frame[4 + i] = (uint8_t)(len >> 8 * i);
        memset(frame + 8, 0xb5, len);
        add_end(m, frame, 8 + len);
        free(frame);
}

static size_t deflate_into(uint8_t *out, size_t cap, const void *plain, size_t len, int flag) {
        struct isal_zstream s;

        isal_deflate_stateless_init(&s);
        s.gzip_flag = (uint16_t)flag;
        s.end_of_stream = 1;
        s.next_in = (uint8_t *)plain;
        s.avail_in = (uint32_t)len;
        s.next_out = out;
        s.avail_out = (uint32_t)cap;
        assert_int_equal(isal_deflate_stateless(&s), COMP_OK);
        return s.total_out;
}

static void put(uint8_t *p, uint64_t v, int n) {
        for (int i = 0; i < n; i++)
                p[i] = (uint8_t)(v >> 8 * i);
}

/* @more: bytes of another subfield in front of BGZF's own. */
static void add_bgzf(struct made *m, size_t len, size_t more) {
        static uint8_t out[160 * 1024];
        const void *plain = add_plain(m, len);
        size_t head = 12 + more + 6, n;

        memcpy(out, "\x1f\x8b\x08\x04\0\0\0\0\0\xff", 10);
        put(out + 10, more + 6, 2);
        if (more > 0) {
                memcpy(out + 12, "XY", 2);
                put(out + 14, more - 4, 2);
        }
        memcpy(out + 12 + more, "BC\2\0", 4);
        n = head + deflate_into(out + head, sizeof out - head - 8, plain, len, IGZIP_DEFLATE);
        put(out + n, crc32_gzip_refl(0, plain, len), 4);
        put(out + n + 4, len, 4);
        assert_true(n + 8 <= 65536);
        put(out + 16 + more, n + 8 - 1, 2);
        add_end(m, out, n + 8);
}

static void add_gzip(struct made *m, size_t len) {
        const void *plain = add_plain(m, len);
        size_t cap = len + len / 8 + 1024;
        uint8_t *out = malloc(cap);

        add_end(m, out, deflate_into(out, cap, plain, len, IGZIP_GZIP));
        free(out);
}

struct pieces { /* the source */
        const struct buf *b;
        size_t given, step, fail_at;
        char *piece; /* of exactly its size, so that the sanitizer sees reads beside it, or after its time */
};

static int next_piece(void *userdata, const void **ret, size_t *ret_len, struct error *e) {
        struct pieces *p = userdata;
        size_t n = p->b->len - p->given < p->step ? p->b->len - p->given : p->step;

        free(take_ptr(p->piece));
        if (p->fail_at && p->given >= p->fail_at)
                return error_set(e, ERROR_UNAVAILABLE, "the source has failed");
        if (n == 0)
                return 0;
        p->piece = malloc(n);
        memcpy(p->piece, p->b->data + p->given, n);
        p->given += n;
        *ret = p->piece;
        *ret_len = n;
        return 1;
}

struct outcome {
        int r;
        struct error e;
        struct buf out;
};

static struct outcome decode(const struct made *m, struct decode_pool *pool, size_t step, size_t fail_at) {
        struct outcome o = { .out = BUF_INIT(STREAM_MAX) };
        struct pieces p = { .b = &m->stream, .step = step, .fail_at = fail_at };
        const struct decode_source source = { .next = next_piece, .userdata = &p };
        struct decode_stream *s = NULL;
        static char buffer[100000];
        const void *data;
        size_t len;

        assert_int_equal(decode_stream_new(&s, m->codec, &source, pool, buffer, sizeof buffer, &o.e), 0);
        while ((o.r = decode_stream_next(s, &data, &len, &o.e)) > 0) {
                assert_true(len > 0);
                assert_int_equal(buf_append(&o.out, data, len), 0);
        }
        decode_stream_free(s);
        free(p.piece);
        return o;
}

static struct decode_pool *pool_new(unsigned threads) {
        struct decode_pool *pool;
        struct error e;

        assert_int_equal(decode_pool_new(&pool, threads, &e), 0);
        return pool;
}

static void expect_plain(const struct made *m, struct decode_pool *pool, size_t step) {
        struct outcome o = decode(m, pool, step, 0);

        if (o.r < 0)
                fail_msg("%s", o.e.text);
        assert_int_equal(o.out.len, m->plain.len);
        assert_true(memcmp(buf_text(&o.out), buf_text(&m->plain), m->plain.len) == 0);
        buf_free(&o.out);
}

/* At once as in order: the same bytes, up to the same error. How many come before it depends on the buffers. */
static void expect_same(const struct made *m, struct decode_pool *pool, size_t step) {
        struct outcome at_once = decode(m, pool, step, 0), in_order = decode(m, NULL, step, 0);

        /* libzstd may take a malformed frame as a whole that it would refuse in pieces. */
        if (m->codec == PLAN_CODEC_GZIP || at_once.r < 0)
                assert_int_equal(at_once.r, in_order.r);
        if (at_once.r < 0) { /* libzstd's reason, in brackets, depends on the pieces too */
                *strchrnul(at_once.e.text, '(') = *strchrnul(in_order.e.text, '(') = '\0';
                assert_int_equal(at_once.e.kind, in_order.e.kind);
                assert_string_equal(at_once.e.text, in_order.e.text);
        }
        if (at_once.r == 0 && in_order.r == 0)
                assert_int_equal(at_once.out.len, in_order.out.len);
        size_t both = at_once.out.len < in_order.out.len ? at_once.out.len : in_order.out.len;
        assert_true(memcmp(buf_text(&at_once.out), buf_text(&in_order.out), both) == 0);
        buf_free(&at_once.out);
        buf_free(&in_order.out);
}

static void many_zstd(struct made *m) {
        for (unsigned i = 0; i < 40; i++) {
                if (i % 7 == 0)
                        add_skippable(m, i * 3);
                add_zstd(m, i % 5 == 0 ? 0 : i % 11 == 0 ? 2 * MIB + i : 60000 + i * 3000, i % 3 != 0, i % 2);
        }
}

static void many_bgzf(struct made *m) {
        for (unsigned i = 0; i < 100; i++)
                add_bgzf(m, i % 10 == 9 ? 0 : 65280 - i, i % 4 == 3 ? 9 : 0);
        add_bgzf(m, 0, 0); /* its mark at the end */
}

/* Frame for frame, whatever the pieces are. */
static void expect_ends(const struct made *m, size_t step) {
        struct decode_scan s;
        size_t n = 0;
        uint64_t content, all = 0;

        decode_scan_init(&s, m->codec);
        for (size_t given = 0; given < m->stream.len;) {
                size_t left = m->stream.len - given < step ? m->stream.len - given : step;
                const char *data = m->stream.data + given;

                given += left;
                while (decode_scan_feed(&s, &data, &left, &content) == SCAN_END) {
                        assert_int_equal((size_t)(data - m->stream.data), m->ends[n]);
                        all += content;
                        n++;
                }
                assert_int_equal(left, 0);
        }
        assert_int_equal(n, m->n);
        assert_true(all >= m->plain.len);
}

static void test_scan_finds_the_ends_of_frames(void **state) {
        static const size_t steps[] = { 1, 3, 1000, SIZE_MAX };
        struct made zstd = made_new(PLAN_CODEC_ZSTD), bgzf = made_new(PLAN_CODEC_GZIP);

        (void)state;
        many_zstd(&zstd);
        many_bgzf(&bgzf);
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
                expect_ends(&zstd, steps[i]);
                expect_ends(&bgzf, steps[i]);
        }
        made_free(&zstd);
        made_free(&bgzf);
}

static void expect_not(const void *data, size_t len, enum plan_codec codec, size_t most) {
        struct decode_scan s;
        const char *p = data;
        uint64_t content;

        decode_scan_init(&s, codec);
        assert_int_equal(decode_scan_feed(&s, &p, &len, &content), SCAN_NOT);
        assert_true((size_t)(p - (const char *)data) <= most);
        assert_int_equal(decode_scan_feed(&s, &p, &len, &content), SCAN_NOT); /* for good */
}

static void test_scan_gives_up_what_is_large_or_not_known(void **state) {
        struct made large = made_new(PLAN_CODEC_ZSTD), unsized = made_new(PLAN_CODEC_ZSTD);
        struct made gzip = made_new(PLAN_CODEC_GZIP);

        (void)state;
        add_zstd(&large, SCAN_FRAME_MAX + 1, true, true);
        add_zstd(&unsized, SCAN_FRAME_MAX + 1, false, true);
        add_gzip(&gzip, 1000);
        expect_not(large.stream.data, large.stream.len, PLAN_CODEC_ZSTD, 18); /* the header says it */
        expect_not(unsized.stream.data, unsized.stream.len, PLAN_CODEC_ZSTD, unsized.stream.len - 1);
        expect_not(gzip.stream.data, gzip.stream.len, PLAN_CODEC_GZIP, 12);
        expect_not("no magic", 8, PLAN_CODEC_ZSTD, 4);
        /* a window of 16 MiB; a dictionary; a reserved block; 16 MiB to skip; a member smaller than itself */
        expect_not("\x28\xb5\x2f\xfd\x00\x70\x01\0\0", 9, PLAN_CODEC_ZSTD, 6);
        expect_not("\x28\xb5\x2f\xfd\x21\x07\x05\x01\0\0", 10, PLAN_CODEC_ZSTD, 7);
        expect_not("\x28\xb5\x2f\xfd\x20\x05\x07\0\0", 9, PLAN_CODEC_ZSTD, 9);
        expect_not("\x50\x2a\x4d\x18\0\0\0\1", 8, PLAN_CODEC_ZSTD, 8);
        expect_not("\x1f\x8b\x08\x04\0\0\0\0\0\xff\6\0BC\2\0\x18\0", 18, PLAN_CODEC_GZIP, 18);
        expect_not("\x1f\x8b\x08\x04\0\0\0\0\0\xff\6\0BC\3\0\x50\0", 18, PLAN_CODEC_GZIP, 18);
        expect_not("\x1f\x8b\x08\x04\0\0\0\0\0\xff\6\0AB\2\0\x50\0", 18, PLAN_CODEC_GZIP, 18);
        made_free(&large);
        made_free(&unsized);
        made_free(&gzip);
}

static void test_many_frames_are_decoded_in_order_by_any_number_of_threads(void **state) {
        static const size_t steps[] = { 1000, 65536, MIB, SIZE_MAX };
        struct made zstd = made_new(PLAN_CODEC_ZSTD), bgzf = made_new(PLAN_CODEC_GZIP);

        (void)state;
        many_zstd(&zstd);
        many_bgzf(&bgzf);
        for (unsigned threads = 1; threads <= 9; threads += threads < 4 ? 1 : 5) {
                struct decode_pool *pool = pool_new(threads);

                for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
                        expect_plain(&zstd, pool, steps[i]);
                        expect_plain(&bgzf, pool, steps[i]);
                }
                if (threads == 1)
                        assert_int_equal(decode_pool_helped(pool), 0);
                decode_pool_free(pool);
        }
        made_free(&zstd);
        made_free(&bgzf);
}

static void test_another_thread_helps(void **state) {
        struct made m = made_new(PLAN_CODEC_ZSTD);
        struct decode_pool *pool = pool_new(2);

        (void)state;
        many_zstd(&m);
        gate.held = pthread_self();
        gate.helped = false;
        gate.on = true;
        expect_plain(&m, pool, MIB);
        gate.on = false;
        assert_true(decode_pool_helped(pool) >= 1);
        decode_pool_free(pool);
        made_free(&m);
}

/* A stream whose frames are not known, or no longer. */
static void test_one_frame_is_decoded_in_order(void **state) {
        struct decode_pool *pool = pool_new(3);

        (void)state;
        for (int kind = 0; kind < 5; kind++) {
                struct made m = made_new(kind < 3 ? PLAN_CODEC_ZSTD : PLAN_CODEC_GZIP);

                if (kind == 0)
                        add_zstd(&m, 20 * MIB, true, true);
                if (kind == 1)
                        add_zstd(&m, 20 * MIB, false, false);
                if (kind == 2)
                        for (unsigned i = 0; i < 12; i++)
                                add_zstd(&m, i == 5 ? 9 * MIB : 700000, i != 8, true);
                if (kind == 3)
                        add_gzip(&m, 9 * MIB);
                for (unsigned i = 0; kind == 4 && i < 90; i++) {
                        if (i == 50)
                                add_gzip(&m, 5 * MIB);
                        else
                                add_bgzf(&m, 65000, 0);
                }
                expect_plain(&m, pool, MIB);
                expect_plain(&m, pool, 5000);
                made_free(&m);
        }
        decode_pool_free(pool);
}

static void test_short_streams(void **state) {
        struct decode_pool *pool = pool_new(2);

        (void)state;
        for (int kind = 0; kind < 6; kind++) {
                struct made m = made_new(kind < 4 ? PLAN_CODEC_ZSTD : PLAN_CODEC_GZIP);

                if (kind == 1)
                        add_skippable(&m, 100);
                if (kind == 2)
                        add_zstd(&m, 0, true, false);
                if (kind == 3)
                        add_zstd(&m, 100, false, true);
                if (kind == 5)
                        add_bgzf(&m, 0, 0);
                expect_same(&m, pool, 10);
                if (kind == 0 || kind == 4) {
                        struct outcome o = decode(&m, pool, 10, 0);

                        assert_int_equal(o.e.kind, ERROR_INVALID);
                        assert_non_null(strstr(o.e.text, "ends too early"));
                        buf_free(&o.out);
                } else {
                        expect_plain(&m, pool, 10);
                }
                made_free(&m);
        }
        decode_pool_free(pool);
}

static void test_what_follows_the_last_frame(void **state) {
        struct decode_pool *pool = pool_new(2);
        static const char zeros[3000];

        (void)state;
        for (int kind = 0; kind < 4; kind++) {
                struct made m = made_new(kind < 2 ? PLAN_CODEC_ZSTD : PLAN_CODEC_GZIP);
                bool padded = kind % 2;

                if (kind < 2)
                        many_zstd(&m);
                else
                        many_bgzf(&m);
                assert_int_equal(buf_append(&m.stream, padded ? zeros : "garbage", padded ? 3000 : 7), 0);
                expect_same(&m, pool, 30000);
                struct outcome o = decode(&m, pool, 30000, 0);
                assert_int_equal(o.r < 0, kind != 3); /* gzip may be padded with zeros */
                if (o.r == 0)
                        assert_int_equal(o.out.len, m.plain.len);
                buf_free(&o.out);
                made_free(&m);
        }
        decode_pool_free(pool);
}

/* Cut anywhere, or with a wrong byte anywhere. */
static void test_damage_is_found_and_said_as_in_order(void **state) {
        struct test_rng rng = test_rng_new("damage");
        struct decode_pool *pool = pool_new(3);

        (void)state;
        for (int round = 0; round < 120; round++) {
                struct made m = made_new(round % 2 ? PLAN_CODEC_ZSTD : PLAN_CODEC_GZIP);
                unsigned n = 2 + (unsigned)(test_rng_next(&rng) % 30);

                for (unsigned i = 0; i < n; i++)
                        if (round % 2)
                                add_zstd(&m, (size_t)(test_rng_next(&rng) % 200000), i % 2, i % 3);
                        else
                                add_bgzf(&m, (size_t)(test_rng_next(&rng) % 65000), 0);
                /* in the header of a frame, or anywhere */
                size_t k = (size_t)(test_rng_next(&rng) % n), from = k == 0 ? 0 : m.ends[k - 1];
                size_t at = round % 4 < 2 ? from + (size_t)(test_rng_next(&rng) % 20)
                                          : (size_t)(test_rng_next(&rng) % m.stream.len);
                if (at >= m.stream.len)
                        at = m.stream.len - 1;
                if (round % 3 == 0)
                        m.stream.len = at;
                else
                        m.stream.data[at] ^= (char)(1 << test_rng_next(&rng) % 8);
                expect_same(&m, pool, 1 + (size_t)(test_rng_next(&rng) % 100000));
                made_free(&m);
        }
        decode_pool_free(pool);
}

/* The header says less than there is, or more. */
static void test_frames_that_lie_about_their_size(void **state) {
        struct decode_pool *pool = pool_new(2);

        (void)state;
        for (int add = -1; add <= 1; add += 2) {
                struct made m = made_new(PLAN_CODEC_ZSTD);

                for (unsigned i = 0; i < 6; i++)
                        add_zstd(&m, 700000, true, false);
                uint8_t *size =
                    (uint8_t *)m.stream.data + m.ends[3] + 6; /* behind magic, descriptor, window */
                assert_int_equal(size[-2], 0x80);             /* that it has four bytes */
                put(size, (uint64_t)(700000 + add), 4);
                expect_same(&m, pool, 100000);
                struct outcome o = decode(&m, pool, 100000, 0);
                assert_int_equal(o.e.kind, ERROR_INVALID);
                assert_true(o.out.len >= (size_t)4 * 700000);
                assert_true(memcmp(o.out.data, m.plain.data, (size_t)4 * 700000) == 0);
                buf_free(&o.out);
                made_free(&m);
        }
        decode_pool_free(pool);
}

static void test_failure_of_the_source_is_passed_on(void **state) {
        struct made m = made_new(PLAN_CODEC_ZSTD);
        struct decode_pool *pool = pool_new(3);

        (void)state;
        many_zstd(&m);
        for (size_t at = 1; at < m.stream.len; at += m.stream.len / 9) {
                struct outcome o = decode(&m, pool, 50000, at);

                assert_int_equal(o.e.kind, ERROR_UNAVAILABLE);
                assert_true(o.out.len < m.plain.len);
                assert_true(memcmp(buf_text(&o.out), m.plain.data, o.out.len) == 0);
                buf_free(&o.out);
        }
        decode_pool_free(pool); /* all units came back */
        made_free(&m);
}

/* The units go round: a stream that gets none is decoded as well. */
static void test_streams_share_the_units(void **state) {
        struct made m = made_new(PLAN_CODEC_ZSTD);
        struct decode_pool *pool = pool_new(5);
        struct decode_stream *streams[6];
        struct pieces pieces[6];
        struct buf outs[6];
        static char buffers[6][65536];
        struct error e;

        (void)state;
        many_zstd(&m);
        for (int i = 0; i < 6; i++) {
                const struct decode_source source = { .next = next_piece, .userdata = &pieces[i] };

                pieces[i] = (struct pieces){ .b = &m.stream, .step = 100000 };
                outs[i] = (struct buf)BUF_INIT(STREAM_MAX);
                assert_int_equal(
                    decode_stream_new(&streams[i], m.codec, &source, pool, buffers[i], sizeof buffers[i], &e),
                    0);
        }
        for (int going = 6; going > 0;) {
                going = 0;
                for (int i = 0; i < 6; i++) {
                        const void *data;
                        size_t len;
                        int r = decode_stream_next(streams[i], &data, &len, &e);

                        assert_true(r >= 0);
                        if (r > 0)
                                assert_int_equal(buf_append(&outs[i], data, len), 0);
                        going += r;
                        if (r == 0)
                                assert_int_equal(outs[i].len, m.plain.len);
                }
        }
        for (int i = 0; i < 6; i++) {
                assert_true(memcmp(outs[i].data, m.plain.data, m.plain.len) == 0);
                decode_stream_free(streams[i]);
                buf_free(&outs[i]);
                free(pieces[i].piece);
        }
        decode_pool_free(pool);
        made_free(&m);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_scan_finds_the_ends_of_frames),
                cmocka_unit_test(test_scan_gives_up_what_is_large_or_not_known),
                cmocka_unit_test(test_many_frames_are_decoded_in_order_by_any_number_of_threads),
                cmocka_unit_test(test_another_thread_helps),
                cmocka_unit_test(test_one_frame_is_decoded_in_order),
                cmocka_unit_test(test_short_streams),
                cmocka_unit_test(test_what_follows_the_last_frame),
                cmocka_unit_test(test_damage_is_found_and_said_as_in_order),
                cmocka_unit_test(test_frames_that_lie_about_their_size),
                cmocka_unit_test(test_failure_of_the_source_is_passed_on),
                cmocka_unit_test(test_streams_share_the_units),
        };
        return cmocka_run_group_tests_name("stager/decode_stream", tests, NULL, NULL);
}
