/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks are hashed by OpenSSL or by sha256_ni; what is around them, the tail that waits for its block, the
 * padding and the state on disk, is the same for both.
 *
 * OpenSSL 3 has no way to get at the state of a digest but its old API, which it calls deprecated and has no
 * date for: this file alone uses it, and needs of it no more than SHA256_Update() over whole blocks.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/sha256.h"

#include "base/sha256_ni.h"

#include <assert.h>
#include <errno.h>
#include <openssl/sha.h>
#include <stdatomic.h>
#include <string.h>

struct way {
        unsigned lanes;
        void (*one)(uint32_t h[static 8], const uint8_t *data, size_t blocks);
        void (*two)(uint32_t ha[static 8], const uint8_t *data_a, uint32_t hb[static 8],
                    const uint8_t *data_b, size_t blocks);
};

static void openssl_one(uint32_t h[static 8], const uint8_t *data, size_t blocks) {
        SHA256_CTX c = { .md_len = SHA256_DIGEST_LENGTH };

        memcpy(c.h, h, sizeof c.h);
        SHA256_Update(&c, data, blocks * SHA256_BLOCK); /* cannot fail; its count is not used */
        memcpy(h, c.h, sizeof c.h);
}

static void openssl_two(uint32_t ha[static 8], const uint8_t *data_a, uint32_t hb[static 8],
                        const uint8_t *data_b, size_t blocks) {
        openssl_one(ha, data_a, blocks);
        openssl_one(hb, data_b, blocks);
}

static const struct way ways[_SHA256_WAY_MAX] = {
        [SHA256_OPENSSL] = { 1, openssl_one, openssl_two },
        [SHA256_LANES] = { 2, sha256_ni_one, sha256_ni_two },
};
static const struct way *_Atomic chosen; /* NULL: not yet; two threads that choose choose the same */

static const struct way *way(void) {
        const struct way *w = atomic_load_explicit(&chosen, memory_order_relaxed);

        if (!w) {
                w = &ways[sha256_ni_works() ? SHA256_LANES : SHA256_OPENSSL];
                atomic_store_explicit(&chosen, w, memory_order_relaxed);
        }
        return w;
}

int sha256_choose(enum sha256_way choice) {
        if (choice == SHA256_LANES && !sha256_ni_works())
                return -EOPNOTSUPP;
        atomic_store_explicit(&chosen, &ways[choice], memory_order_relaxed);
        return 0;
}

unsigned sha256_lanes(void) {
        return way()->lanes;
}

void sha256_init(struct sha256 *s) {
        *s = (struct sha256){
                .h = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
                       0x5be0cd19 },
        };
}

static size_t in_tail(const struct sha256 *s) {
        return s->len % SHA256_BLOCK;
}

/* Completes the block that has begun, if there is enough for it; returns how much of @data it took. */
static size_t fill_tail(struct sha256 *s, const uint8_t *data, size_t len) {
        size_t have = in_tail(s), n = SHA256_BLOCK - have;

        if (have == 0 || len == 0)
                return 0;
        if (n > len)
                n = len;
        memcpy(s->tail + have, data, n);
        s->len += n;
        if (have + n == SHA256_BLOCK)
                way()->one(s->h, s->tail, 1);
        return n;
}

/* Whole blocks and then what is less than one; the tail is empty, or @len is 0. */
static void add_rest(struct sha256 *s, const uint8_t *data, size_t len) {
        size_t blocks = len / SHA256_BLOCK, rest = len % SHA256_BLOCK;

        if (blocks > 0)
                way()->one(s->h, data, blocks);
        if (rest > 0)
                memcpy(s->tail, data + blocks * SHA256_BLOCK, rest);
        s->len += len;
}

void sha256_update(struct sha256 *s, const void *data, size_t len) {
        const uint8_t *p = data;
        size_t n = fill_tail(s, p, len);

        if (n < len)
                add_rest(s, p + n, len - n);
}

/* Tails of different length are filled first, so the lanes may begin, and end, a block apart. */
void sha256_update_two(struct sha256 *a, const void *data_a, struct sha256 *b, const void *data_b,
                       size_t len) {
        const uint8_t *p = data_a, *q = data_b;
        size_t na = fill_tail(a, p, len), nb = fill_tail(b, q, len);
        size_t blocks = (len - (na > nb ? na : nb)) / SHA256_BLOCK, both = blocks * SHA256_BLOCK;

        assert(a != b);
        if (blocks > 0) {
                way()->two(a->h, p + na, b->h, q + nb, blocks);
                a->len += both;
                b->len += both;
        }
        if (na + both < len)
                add_rest(a, p + na + both, len - na - both);
        if (nb + both < len)
                add_rest(b, q + nb + both, len - nb - both);
}

static void put32(uint8_t *p, uint32_t v) {
        for (int i = 0; i < 4; i++)
                p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void put64(uint8_t *p, uint64_t v) {
        put32(p, (uint32_t)(v >> 32));
        put32(p + 4, (uint32_t)v);
}

static uint32_t get32(const uint8_t *p) {
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* FIPS 180-4, 5.1.1: a one, zeros, and the length in bits at the end of a block. */
void sha256_final(const struct sha256 *s, struct digest *ret) {
        uint8_t end[2 * SHA256_BLOCK] = { 0 };
        uint32_t h[8];
        size_t n = in_tail(s), blocks = n + 1 + 8 > SHA256_BLOCK ? 2 : 1;

        memcpy(h, s->h, sizeof h);
        memcpy(end, s->tail, n);
        end[n] = 0x80;
        put64(end + blocks * SHA256_BLOCK - 8, s->len * 8);
        way()->one(h, end, blocks);
        for (int i = 0; i < 8; i++)
                put32(ret->bytes + (size_t)4 * i, h[i]);
}

void sha256_save(const struct sha256 *s, uint8_t ret[static SHA256_SAVED_SIZE]) {
        memset(ret, 0, SHA256_SAVED_SIZE);
        for (int i = 0; i < 8; i++)
                put32(ret + (size_t)4 * i, s->h[i]);
        put64(ret + 32, s->len);
        memcpy(ret + 40, s->tail, in_tail(s));
}

bool sha256_equal(const struct sha256 *a, const struct sha256 *b) {
        uint8_t x[SHA256_SAVED_SIZE], y[SHA256_SAVED_SIZE];

        sha256_save(a, x);
        sha256_save(b, y);
        return memcmp(x, y, sizeof x) == 0;
}

int sha256_load(struct sha256 *ret, const uint8_t saved[static SHA256_SAVED_SIZE]) {
        struct sha256 s = { .len = (uint64_t)get32(saved + 32) << 32 | get32(saved + 36) };
        static const uint8_t zeros[SHA256_BLOCK];
        size_t n = in_tail(&s);

        if (s.len > UINT64_MAX / 8 || memcmp(saved + 40 + n, zeros, SHA256_BLOCK - n) != 0)
                return -EINVAL;
        for (int i = 0; i < 8; i++)
                s.h[i] = get32(saved + (size_t)4 * i);
        memcpy(s.tail, saved + 40, n);
        *ret = s;
        return 0;
}
