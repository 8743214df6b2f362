/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal: what is known of an unfinished transfer, as a file beside its data. No I/O here: keeper.h writes
 * it, resume.h reads it.
 *
 *   head  | batch of [0, P1) | batch of [P1, P2) | … | maybe a torn one
 *
 * A batch says how the blob's next bytes can be had again: so many bytes of this file at this offset, or
 * these bytes here; and what the state of the digest is behind them. So nothing has to be believed: whoever
 * goes on reads the bytes again, and what the digest does not confirm is fetched again, be it the disk's
 * fault, the order in which things reached it, or a lie in the journal. It is only appended to, and a torn
 * batch, or one that makes no sense, is its end.
 *
 * Integers have their least significant byte first:
 *
 *   head    "msjrnl1\n", digest (32), size (8), packing (1), codec (1), zeros (6), check (8)
 *   batch   length of the entries (8), from (8), to (8), digest's state at `to` (SHA256_SAVED_SIZE), entries,
 *           check (8)
 *   entry   'F', length (8), offset (8), length of the name (2), the name and a NUL
 *           'B', length (8), the bytes
 *           'Z', length (8): so many zeros
 *
 * check: the first bytes of the SHA-256 of all before it in the head or batch.
 */
#pragma once

#include "base/buf.h"
#include "base/sha256.h"
#include "oci/plan.h"

#include <sys/types.h>

#define JOURNAL_NAME_MAX 4096u /* of a file, with its NUL */
#define JOURNAL_CHECK_SIZE 8u
#define JOURNAL_HEAD_SIZE (8u + 32u + 8u + 8u + JOURNAL_CHECK_SIZE)
#define JOURNAL_BATCH_SIZE (3u * 8u + SHA256_SAVED_SIZE) /* without entries and check */
#define JOURNAL_ENTRIES_MAX ((size_t)4 << 20)            /* bytes of a batch */

struct journal_head { /* which blob it is, and what is made of it */
        struct digest digest;
        uint64_t size;
        enum plan_packing packing;
        enum plan_codec codec;
};

struct journal_batch {
        uint64_t from, to;   /* bytes of the blob; from < to */
        struct sha256 state; /* at `to` */
        const char *entries; /* borrowed */
        size_t len;
};

enum journal_kind { JOURNAL_FILE = 'F', JOURNAL_BYTES = 'B', JOURNAL_ZEROS = 'Z' };

struct journal_entry {
        enum journal_kind kind;
        uint64_t len;     /* bytes of the blob; never 0 */
        uint64_t offset;  /* JOURNAL_FILE: in the file */
        const char *name; /* JOURNAL_FILE: clean, below the staging directory; borrowed */
        const char *data; /* JOURNAL_BYTES; borrowed */
};

void journal_print_head(char ret[static JOURNAL_HEAD_SIZE], const struct journal_head *h);
bool journal_parse_head(struct journal_head *ret, const char data[static JOURNAL_HEAD_SIZE]);
bool journal_head_equal(const struct journal_head *a, const struct journal_head *b);

/* -ENOMEM, also when the buffer's cap is reached. Bytes go out as they are but for long runs of zeros. */
int journal_print_entry(struct buf *out, const struct journal_entry *entry);
int journal_print_batch(struct buf *out, const struct journal_batch *b);

/* How long the batch is that begins with these bytes, with all; 0: it makes no sense. */
size_t journal_batch_size(const char data[static JOURNAL_BATCH_SIZE]);
/* Of @len bytes that are one batch. The entries of what it accepts can be read without looking for mistakes:
 * they make the bytes [from, to), and the names are clean. False: torn or damaged. */
bool journal_parse_batch(struct journal_batch *ret, const char *data, size_t len);
/* The first entry of @b, which then begins with the second. False: there is none. */
bool journal_next(struct journal_batch *b, struct journal_entry *ret);
