/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spool: a compressed blob as it comes, in a file beside what is made of it. What a decoder has put out does
 * not bring back the bytes that it was made of, so without this nobody could go on with a transfer that was
 * cut off: the digest is of the bytes as they came. The file is as large as the blob, and goes when the layer
 * is complete.
 *
 *   blob     0 .................... kept ............................ size
 *            spool_next() reads     the window's segments, written by the reactor
 *
 * Nobody is to be in want of the space that it takes: there is none where little is free, and a transfer for
 * which the space does not suffice is tried again without one (transfer.c). Nor is there one for a blob of
 * one window, which is what a kill may cost in any case.
 *
 * On the blob thread.
 */
#pragma once

#include "cache/cache.h"
#include "stager/resume.h"
#include "stager/transfer.h"

struct spool {
        struct transfer *transfer;
        struct place_file *file; /* that the window is to be written to; NULL: no spool */
        uint64_t spared;         /* bytes of space that were taken for it */
        int fd;                  /* of what was kept; -1: nothing */
        uint64_t pos;            /* of it: what is read next */
        struct sha256 want;      /* the digest's state at its end, and */
        struct sha256 hash;      /* what reading it once more has come to */
        char *data;              /* a piece of it */
};

/* Is the blob one that gets a spool, if there is space? */
bool spool_is_for(const struct transfer *t);
/* @from: what was kept. Without space, or where the file cannot be made, there is no spool, which is no
 * failure: s->file is NULL. */
int spool_begin(struct spool *s, struct transfer *t, const struct resume *from, struct error *e);
/* The next bytes of what was kept, valid until the next call: 1, or 0 at its end. What has changed since it
 * was looked at is ERROR_DATA_LOSS; what was given out before may be wrong then. */
int spool_next(struct spool *s, const void **ret, size_t *ret_len, struct error *e);
bool spool_is_in_use(const struct spool *s); /* it takes space: of what was kept, or of what comes */
/* Nothing more comes through the window. @done: nobody is going to go on with it. */
void spool_end(struct spool *s, bool done);
