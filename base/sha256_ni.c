/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256's compression (FIPS 180-4, 6.2.2) with the SHA extensions of x86-64.
 *
 * SHA256RNDS2 does two rounds, and each needs the result of the one before: a single stream leaves the unit
 * idle for half of the time. So there are two lanes, whose rounds alternate; the registers suffice for both
 * (two of state and four of message schedule each, one of constants).
 *
 *   state   abef, cdgh     the eight words as the instruction wants them
 *   w[0…3]  the last 16 words of the message schedule, four in each register
 *
 * One step is four rounds. Steps 0-3 take the message itself, steps 4-15 first make the next four words of
 * the schedule in place of the oldest ones. This file is compiled for any x86-64 and chosen at run time.
 */
#include "base/sha256_ni.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#define WITH_SHA __attribute__((target("sha,sse4.1,ssse3")))
#define STEP static inline __attribute__((always_inline)) WITH_SHA

struct lane {
        __m128i abef, cdgh, w[4];
        const uint8_t *data;
};

static const uint32_t constants[64] __attribute__((aligned(16))) = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

bool sha256_ni_works(void) {
        const unsigned ssse3 = 1u << 9, sse41 = 1u << 19, sha = 1u << 29;
        unsigned a, b, c, d;

        if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & ssse3) || !(c & sse41))
                return false;
        return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & sha);
}

/* a b c d, e f g h in memory; the highest word of a register comes first in its name. */
STEP void begin(struct lane *l, const uint32_t *h, const uint8_t *data) {
        __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)h), _MM_SHUFFLE(0, 1, 2, 3));
        __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(h + 4)), _MM_SHUFFLE(0, 1, 2, 3));

        l->abef = _mm_unpackhi_epi64(efgh, abcd);
        l->cdgh = _mm_unpacklo_epi64(efgh, abcd);
        l->data = data;
}

STEP void end(const struct lane *l, uint32_t *h) {
        __m128i abcd = _mm_unpackhi_epi64(l->cdgh, l->abef), efgh = _mm_unpacklo_epi64(l->cdgh, l->abef);

        _mm_storeu_si128((__m128i *)h, _mm_shuffle_epi32(abcd, _MM_SHUFFLE(0, 1, 2, 3)));
        _mm_storeu_si128((__m128i *)(h + 4), _mm_shuffle_epi32(efgh, _MM_SHUFFLE(0, 1, 2, 3)));
}

/* Sixteen bytes of the message as four words. */
STEP __m128i load(const struct lane *l, int quarter) {
        const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);

        return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)l->data + quarter), swap);
}

/* The next four words; @i: which register has the oldest ones. */
STEP void schedule(struct lane *l, int i) {
        __m128i newest = l->w[(i + 3) & 3];
        __m128i back7 = _mm_alignr_epi8(newest, l->w[(i + 2) & 3], 4);
        __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(l->w[i], l->w[(i + 1) & 3]), back7);

        l->w[i] = _mm_sha256msg2_epu32(sum, newest);
}

STEP __m128i constants_of(int step) {
        return _mm_load_si128((const __m128i *)constants + step);
}

/* The words of one step. All that is passed down from here is constant, so that w[i] becomes a register. */
STEP void words(struct lane *l, int i, bool first) {
        if (first)
                l->w[i] = load(l, i);
        else
                schedule(l, i);
}

STEP void step_one(struct lane *l, int step, int i, bool first) {
        words(l, i, first);
        __m128i wk = _mm_add_epi32(l->w[i], constants_of(step + i));

        l->cdgh = _mm_sha256rnds2_epu32(l->cdgh, l->abef, wk);
        l->abef = _mm_sha256rnds2_epu32(l->abef, l->cdgh, _mm_shuffle_epi32(wk, _MM_SHUFFLE(1, 0, 3, 2)));
}

STEP void step_two(struct lane *a, struct lane *b, int step, int i, bool first) {
        __m128i k = constants_of(step + i);

        words(a, i, first);
        words(b, i, first);
        __m128i ka = _mm_add_epi32(a->w[i], k), kb = _mm_add_epi32(b->w[i], k);
        a->cdgh = _mm_sha256rnds2_epu32(a->cdgh, a->abef, ka);
        b->cdgh = _mm_sha256rnds2_epu32(b->cdgh, b->abef, kb);
        ka = _mm_shuffle_epi32(ka, _MM_SHUFFLE(1, 0, 3, 2));
        kb = _mm_shuffle_epi32(kb, _MM_SHUFFLE(1, 0, 3, 2));
        a->abef = _mm_sha256rnds2_epu32(a->abef, a->cdgh, ka);
        b->abef = _mm_sha256rnds2_epu32(b->abef, b->cdgh, kb);
}

STEP void steps_one(struct lane *l, int step, bool first) {
        step_one(l, step, 0, first);
        step_one(l, step, 1, first);
        step_one(l, step, 2, first);
        step_one(l, step, 3, first);
}

STEP void steps_two(struct lane *a, struct lane *b, int step, bool first) {
        step_two(a, b, step, 0, first);
        step_two(a, b, step, 1, first);
        step_two(a, b, step, 2, first);
        step_two(a, b, step, 3, first);
}

STEP void add(struct lane *l, __m128i abef, __m128i cdgh) {
        l->abef = _mm_add_epi32(l->abef, abef);
        l->cdgh = _mm_add_epi32(l->cdgh, cdgh);
        l->data += 64;
}

WITH_SHA void sha256_ni_one(uint32_t h[static 8], const uint8_t *data, size_t blocks) {
        struct lane l;

        begin(&l, h, data);
        for (; blocks > 0; blocks--) {
                __m128i abef = l.abef, cdgh = l.cdgh;

                steps_one(&l, 0, true);
                for (int step = 4; step < 16; step += 4)
                        steps_one(&l, step, false);
                add(&l, abef, cdgh);
        }
        end(&l, h);
}

WITH_SHA void sha256_ni_two(uint32_t ha[static 8], const uint8_t *data_a, uint32_t hb[static 8],
                            const uint8_t *data_b, size_t blocks) {
        struct lane a, b;

        begin(&a, ha, data_a);
        begin(&b, hb, data_b);
        for (; blocks > 0; blocks--) {
                __m128i abef_a = a.abef, cdgh_a = a.cdgh, abef_b = b.abef, cdgh_b = b.cdgh;

                steps_two(&a, &b, 0, true);
                for (int step = 4; step < 16; step += 4)
                        steps_two(&a, &b, step, false);
                add(&a, abef_a, cdgh_a);
                add(&b, abef_b, cdgh_b);
        }
        end(&a, ha);
        end(&b, hb);
}

#else

#include <stdlib.h>

bool sha256_ni_works(void) {
        return false;
}

void sha256_ni_one(uint32_t h[static 8], const uint8_t *data, size_t blocks) {
        (void)h;
        (void)data;
        (void)blocks;
        abort();
}

void sha256_ni_two(uint32_t ha[static 8], const uint8_t *data_a, uint32_t hb[static 8], const uint8_t *data_b,
                   size_t blocks) {
        sha256_ni_one(ha, data_a, blocks);
        sha256_ni_one(hb, data_b, blocks);
}

#endif
