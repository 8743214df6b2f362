/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "base/buf.h"
#include "stager/decode.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>

#define PLAIN_SIZE 300000

static char plain[PLAIN_SIZE];

static void make_plain(struct test_rng *rng) {
        for (size_t i = 0; i < sizeof plain; i++)
                plain[i] = (char)(test_rng_next(rng) & (i % 4096 < 1024 ? 0xff : 0x07));
}

static void add_gzip(struct buf *b, const void *data, size_t len) {
        struct isal_zstream s;
        static uint8_t out[2 * PLAIN_SIZE];

        isal_deflate_stateless_init(&s);
        s.gzip_flag = IGZIP_GZIP;
        s.end_of_stream = 1;
        s.next_in = (uint8_t *)data;
        s.avail_in = (uint32_t)len;
        s.next_out = out;
        s.avail_out = sizeof out;
        assert_int_equal(isal_deflate_stateless(&s), COMP_OK);
        assert_int_equal(buf_append(b, out, s.total_out), 0);
}

static void add_zstd(struct buf *b, const void *data, size_t len) {
        static char out[2 * PLAIN_SIZE];
        size_t n = ZSTD_compress(out, sizeof out, data, len, 3);

        assert_false(ZSTD_isError(n));
        assert_int_equal(buf_append(b, out, n), 0);
}

/* Feeds @b in pieces of 1 to @step bytes and takes the output in pieces of @room; *ret gets what came out. */
static int decode(enum plan_codec codec, const struct buf *b, size_t step, size_t room, struct buf *ret,
                  struct error *e) {
        struct test_rng rng = { 7 };
        _cleanup_(decoder_freep) struct decoder *d = NULL;
        size_t given = 0;
        _cleanup_free_ char *out = malloc(room);

        buf_clear(ret);
        assert_int_equal(decoder_new(&d, codec, e), 0);
        while (given < b->len) {
                size_t n = 1 + test_rng_next(&rng) % step, left;

                if (n > b->len - given)
                        n = b->len - given;
                char *exact = malloc(n); /* the sanitizer sees reads beside it */
                memcpy(exact, b->data + given, n);
                const char *in = exact;
                int r = 1;
                for (left = n; r == 1 || left > 0;) {
                        size_t len = 0;

                        r = decoder_run(d, &in, &left, out, room, &len, e);
                        if (r >= 0)
                                assert_int_equal(buf_append(ret, out, len), 0);
                        if (r < 0)
                                break;
                }
                free(exact);
                if (r < 0)
                        return r;
                given += n;
        }
        return decoder_end(d, e);
}

static void assert_decodes_to(enum plan_codec codec, const struct buf *b, const void *want, size_t len) {
        static const size_t steps[] = { 1, 7, 300, 100000, SIZE_MAX },
                            rooms[] = { 100, 70000, PLAIN_SIZE * 4 };
        _cleanup_buf_ struct buf got = BUF_INIT(8 * PLAIN_SIZE);
        struct error e;

        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
                for (size_t k = 0; k < sizeof rooms / sizeof *rooms; k++) {
                        assert_int_equal(decode(codec, b, steps[i], rooms[k], &got, &e), 0);
                        assert_int_equal(got.len, len);
                        assert_memory_equal(got.data, want, len);
                }
}

static void assert_refused(enum plan_codec codec, const struct buf *b) {
        _cleanup_buf_ struct buf got = BUF_INIT(8 * PLAIN_SIZE);
        struct error e;

        assert_int_equal(decode(codec, b, 1000, 65536, &got, &e), -EINVAL);
        assert_int_equal(e.kind, ERROR_INVALID);
        assert_true(strlen(e.text) > 0);
}

static void test_members_and_frames_make_one_stream(void **state) {
        struct test_rng rng = test_rng_new("decode");

        (void)state;
        make_plain(&rng);
        for (int zstd = 0; zstd < 2; zstd++) {
                _cleanup_buf_ struct buf b = BUF_INIT(4 * PLAIN_SIZE);
                void (*add)(struct buf *, const void *, size_t) = zstd ? add_zstd : add_gzip;

                add(&b, plain, 1000);
                add(&b, plain + 1000, 0);
                add(&b, plain + 1000, 99000);
                add(&b, plain + 100000, 200000);
                assert_decodes_to(zstd ? PLAN_CODEC_ZSTD : PLAN_CODEC_GZIP, &b, plain, PLAIN_SIZE);
        }
}

static void test_truncated_stream_is_refused_at_every_length(void **state) {
        (void)state;
        for (int zstd = 0; zstd < 2; zstd++) {
                _cleanup_buf_ struct buf b = BUF_INIT(4 * PLAIN_SIZE);

                (zstd ? add_zstd : add_gzip)(&b, plain, 3000);
                for (size_t full = b.len; b.len > 0; b.len -= full / 50 + 1) {
                        if (b.len < full)
                                assert_refused(zstd ? PLAN_CODEC_ZSTD : PLAN_CODEC_GZIP, &b);
                        if (b.len <= full / 50 + 1)
                                break;
                }
                b.len = 0;
                assert_refused(zstd ? PLAN_CODEC_ZSTD : PLAN_CODEC_GZIP, &b);
        }
}

static void test_a_stream_without_the_end_of_its_last_member_is_refused(void **state) {
        /* Frames to skip: one that says 8 bytes and has them, after the data. */
        static const char skippable[16] = "\x51\x2a\x4d\x18\x08\0\0\0abcdefgh";

        (void)state;
        for (int zstd = 0; zstd < 2; zstd++)
                for (size_t missing = 1; missing <= 16; missing++) {
                        _cleanup_buf_ struct buf b = BUF_INIT(4 * PLAIN_SIZE);

                        (zstd ? add_zstd : add_gzip)(&b, plain, 3000);
                        if (zstd)
                                assert_int_equal(buf_append(&b, skippable, sizeof skippable), 0);
                        b.len -= missing;
                        if (!zstd || missing < sizeof skippable)
                                assert_refused(zstd ? PLAN_CODEC_ZSTD : PLAN_CODEC_GZIP, &b);
                }
}

static void test_gzip_may_be_padded_with_zeros_only(void **state) {
        _cleanup_buf_ struct buf b = BUF_INIT(4 * PLAIN_SIZE);
        char zeros[700] = { 0 };

        (void)state;
        add_gzip(&b, plain, 5000);
        assert_int_equal(buf_append(&b, zeros, sizeof zeros), 0);
        assert_decodes_to(PLAN_CODEC_GZIP, &b, plain, 5000);
        assert_int_equal(buf_append(&b, "x", 1), 0);
        assert_refused(PLAN_CODEC_GZIP, &b);
}

/* What the decoder has left on the stack is gone at its next call, as in the daemon. */
static __attribute__((noinline)) void use_the_stack(int value) {
        volatile char used[16384];

        for (size_t i = 0; i < sizeof used; i++)
                used[i] = (char)value;
}

/* Cut anywhere. ISA-L forgets, between two calls of isal_inflate(), which fields a header has. */
static void test_header_of_a_member_may_come_in_pieces(void **state) {
        static const char fields[] = "\6\0AB\2\0xyname\0comment"; /* extra, name, comment */
        static const struct {
                char flags;
                size_t from, len;
        } cases[] = { { 8, 8, 5 }, { 4 | 8, 0, 13 }, { 16, 13, 8 }, { 4 | 8 | 16, 0, 21 }, { 4, 0, 8 } };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_buf_ struct buf b = BUF_INIT(PLAIN_SIZE), bare = BUF_INIT(PLAIN_SIZE);

                add_gzip(&bare, plain, 300);
                assert_int_equal(bare.data[3], 0);
                bare.data[3] = cases[i].flags;
                assert_int_equal(buf_append(&b, bare.data, 10), 0);
                assert_int_equal(buf_append(&b, fields + cases[i].from, cases[i].len), 0);
                assert_int_equal(buf_append(&b, bare.data + 10, bare.len - 10), 0);
                for (size_t cut = 1; cut <= 10 + cases[i].len; cut++)
                        for (int garbage = -1; garbage <= 0; garbage++) {
                                _cleanup_(decoder_freep) struct decoder *d = NULL;
                                const char *in = b.data;
                                size_t left = cut, len = 0;
                                static char out[1000];
                                struct error e;

                                assert_int_equal(decoder_new(&d, PLAN_CODEC_GZIP, &e), 0);
                                assert_int_equal(decoder_run(d, &in, &left, out, sizeof out, &len, &e), 0);
                                assert_int_equal(left, 0);
                                use_the_stack(garbage);
                                left = b.len - cut;
                                assert_int_equal(decoder_run(d, &in, &left, out, sizeof out, &len, &e), 0);
                                assert_int_equal(decoder_end(d, &e), 0);
                                assert_int_equal(len, 300);
                                assert_memory_equal(out, plain, 300);
                        }
        }
}

static void test_garbage_and_damage_are_refused(void **state) {
        (void)state;
        for (int zstd = 0; zstd < 2; zstd++) {
                enum plan_codec codec = zstd ? PLAN_CODEC_ZSTD : PLAN_CODEC_GZIP;
                _cleanup_buf_ struct buf b = BUF_INIT(4 * PLAIN_SIZE), garbage = BUF_INIT(100);

                assert_int_equal(buf_append(&garbage, "this is not compressed at all", 29), 0);
                assert_refused(codec, &garbage);
                (zstd ? add_zstd : add_gzip)(&b, plain, 5000);
                assert_int_equal(buf_append(&b, "trailing garbage", 16), 0);
                assert_refused(codec, &b);
        }
        _cleanup_buf_ struct buf b = BUF_INIT(4 * PLAIN_SIZE);
        add_gzip(&b, plain, 5000);
        b.data[b.len - 6] ^= 1; /* its checksum */
        assert_refused(PLAN_CODEC_GZIP, &b);
}

static void test_zstd_window_beyond_the_cap_is_refused(void **state) {
        _cleanup_buf_ struct buf b = BUF_INIT(64);
        /* A frame header: no size, window descriptor exponent 21 (2^31), then an empty last block. */
        static const unsigned char frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00 };

        (void)state;
        assert_int_equal(buf_append(&b, frame, sizeof frame), 0);
        assert_refused(PLAN_CODEC_ZSTD, &b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_members_and_frames_make_one_stream),
                cmocka_unit_test(test_truncated_stream_is_refused_at_every_length),
                cmocka_unit_test(test_a_stream_without_the_end_of_its_last_member_is_refused),
                cmocka_unit_test(test_gzip_may_be_padded_with_zeros_only),
                cmocka_unit_test(test_header_of_a_member_may_come_in_pieces),
                cmocka_unit_test(test_garbage_and_damage_are_refused),
                cmocka_unit_test(test_zstd_window_beyond_the_cap_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
