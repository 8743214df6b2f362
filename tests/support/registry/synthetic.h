/* SPDX-License-Identifier: Apache-2.0 */
/*
 * synthetic: blobs that are computed and not stored. Any range can be had at any time, so a blob of a
 * tebibyte costs no disk.
 *
 * The bytes of a file are the AES-128-CTR key stream of a key that is made from a seed and the file's number:
 * the same seed gives the same digests on every machine. Where the server's own work is not to be the limit,
 * a blob repeats the first SYNTHETIC_PERIOD of them, which are kept; that is no power of two, so pieces of it
 * are not equal. Immutable once made: any thread may read.
 */
#pragma once

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYNTHETIC_PERIOD (257u << 10)
#define SYNTHETIC_SLICE (512u << 10) /* that synthetic_peek() can show */
#define SYNTHETIC_DIGEST_SIZE 72     /* "sha256:" and 64 digits, with the NUL */

struct synthetic_file {
        char path[64];
        uint64_t size;
        uint64_t start; /* of its bytes in the blob */
        uint8_t key[16];
        char digest[SYNTHETIC_DIGEST_SIZE]; /* empty if the blob's digest was given and not computed */
};

struct synthetic {
        uint8_t *pattern; /* SYNTHETIC_PERIOD and SYNTHETIC_SLICE bytes that it repeats; NULL: it does not */
        bool tar; /* each file is preceded by a header and padded to 512 bytes, two empty blocks end it */
        uint64_t size;
        struct synthetic_file *files;
        size_t n_files;
        char digest[SYNTHETIC_DIGEST_SIZE];
};

/* One raw file: number @index of @seed. @digest (may be NULL) is believed; else it is computed. NULL: out of
 * memory. */
struct synthetic *synthetic_new_raw(const char *seed, unsigned index, uint64_t size, bool repeats,
                                    const char *digest);
/* A plain tar of @n files of @size bytes each. */
struct synthetic *synthetic_new_tar(const char *seed, unsigned n, uint64_t size, const char *digest);
void synthetic_free(struct synthetic *s);
DEFINE_CLEANUP(struct synthetic *, synthetic_free);

/* Fills @buf with the bytes from @offset on; the range lies inside the blob. False: out of memory. */
bool synthetic_read(const struct synthetic *s, uint64_t offset, uint8_t *buf, size_t len);

/* The same bytes without a copy, at most SYNTHETIC_SLICE. NULL: they have to be computed. */
const uint8_t *synthetic_peek(const struct synthetic *s, uint64_t offset);

/* "sha256:…" of a piece of memory. */
void synthetic_digest_of(const void *data, size_t len, char ret[static SYNTHETIC_DIGEST_SIZE]);
