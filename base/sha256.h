/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sha256: SHA-256 whose state is plain data. Copy it to fork a stream, save it to go on after a restart,
 * nothing to free. On a CPU with SHA-NI two streams can be hashed interleaved on one core, which takes little
 * longer than one of them alone. The same bits on every CPU.
 *
 *   sha256_init -> sha256_update … -> sha256_final (of what came so far; the state stays)
 *
 * A state is one thread's at a time.
 */
#pragma once

#include "base/digest.h"

#define SHA256_BLOCK 64u

struct sha256 {
        uint32_t h[8];
        uint64_t len;               /* bytes so far */
        uint8_t tail[SHA256_BLOCK]; /* the last len % SHA256_BLOCK of them wait here for their block */
};

void sha256_init(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *data, size_t len);
/* As sha256_update(a, data_a, len) and sha256_update(b, data_b, len), interleaved where sha256_lanes() is 2.
 * The two are different. */
void sha256_update_two(struct sha256 *a, const void *data_a, struct sha256 *b, const void *data_b,
                       size_t len);
void sha256_final(const struct sha256 *s, struct digest *ret);
bool sha256_equal(const struct sha256 *a, const struct sha256 *b); /* the states are */

/*
 * On disk, integers with their most significant byte first:
 *
 *      0  h[0] … h[7], 4 bytes each
 *     32  len, 8 bytes
 *     40  tail: len % 64 bytes, then zeros
 *    104
 */
#define SHA256_SAVED_SIZE 104u
void sha256_save(const struct sha256 *s, uint8_t ret[static SHA256_SAVED_SIZE]);
/* -EINVAL: no state can look like that. Who keeps it must know by other means whether it is the right one. */
int sha256_load(struct sha256 *ret, const uint8_t saved[static SHA256_SAVED_SIZE]);

/* How blocks are hashed. The best way is chosen at the first use; tests choose another one. */
enum sha256_way {
        SHA256_OPENSSL, /* everywhere */
        SHA256_LANES,   /* ours, by SHA-NI */
        _SHA256_WAY_MAX,
};
int sha256_choose(enum sha256_way choice); /* -EOPNOTSUPP: this CPU cannot. For tests */
unsigned sha256_lanes(void);               /* streams that one core hashes at once: 1 or 2 */
