/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place_file: what place.c (opening, closing, space) and place_write.c (bytes) know of each other.
 */
#pragma once

#include "stager/place.h"

struct place_file {
        struct placer *placer;
        struct place_file *next; /* of placer.files, the newest first */
        int fd;                  /* owned */
        bool large;              /* goes through segments */
        bool allocate;           /* fallocate() ahead of the writes */
        bool ended;              /* nothing more is written; it is closed when `pending` is 0 */
        bool abandoned;          /* likewise, as it is */
        struct place_end end;    /* once it has ended */
        uint64_t size;           /* expected */
        uint64_t allocated;      /* bytes from the start that fallocate() has given */
        uint64_t granted;        /* likewise, that were claimed for it */
        uint64_t reached;        /* end of the bytes so far */
        struct segment *cur;     /* being collected; pos is its cell's offset in the file */
        size_t from, fill;       /* part of cur that is used */
        bool claimed;            /* all of it, when it was opened */
        bool kept;               /* it was there before */
        unsigned pending;        /* writes queued or under way; guarded by placer.lock */
        uint64_t awaited;        /* bytes that are still to come in segments of the window; likewise */
        uint64_t extent;         /* the file's size by what was written, padding included; likewise */
        struct disk_op sync;     /* counts as pending */
};

/* ---- place.c ---- */

/* May the file have the bytes of [from, end) too? What fallocate() takes is claimed ahead of its bytes. */
int place_claim_to(const struct place_file *f, uint64_t from, uint64_t end, struct error *e);
/* Space for the bytes up to @upto, ahead of them, in large steps. */
int place_allocate(struct place_file *f, uint64_t upto, struct error *e);
/* Tells wrote() only what is beyond the high-water mark: after a restart the first bytes come again. */
void placer_report(struct placer *p, uint64_t bytes);
/* Has a write failed? */
int placer_failed(struct placer *p, struct error *e);

/* ---- place_write.c ---- */

/* Gives the segment at hand to the disk, or to those that placer_submit() sends. */
void place_flush(struct place_file *f);
