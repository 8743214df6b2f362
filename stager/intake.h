/* SPDX-License-Identifier: Apache-2.0 */
/*
 * intake: a blob's bytes in order, on the blob thread, wherever they come from: the window that the reactor
 * fills and the digester reads too, or a file of an OCI layout, which is hashed here.
 */
#pragma once

#include "stager/survey.h"
#include "stager/transfer.h"

struct intake {
        struct transfer *transfer;
        bool located;            /* not long ago, by the caller; nothing was read */
        bool begun;              /* there is, or will be, something to read */
        struct sha256 hash;      /* of what was kept, then of the layout's file */
        struct survey *survey;   /* of a plain tar at a registry, else NULL; the caller's */
        size_t given;            /* bytes handed out that are to be given back to the window */
        uint64_t offset;         /* of the next byte */
        struct segment *segment; /* that the file is read into */
};

/* Finds the blob and lets the fetch begin, behind the bytes that in->hash has seen: that is where the window
 * is. @whole: the file that the blob is, byte by byte, or NULL. What comes through the window is written to
 * it without further ado. */
int intake_begin(struct intake *in, struct place_file *whole, struct error *e);
/* The next bytes, valid until the next call: 1, 0 at the end, or a negative errno. */
int intake_next(struct intake *in, const void **ret, size_t *ret_len, struct error *e);
/* Passes over the next @len bytes, or those that are left: how many, or a negative errno. */
int64_t intake_skip(struct intake *in, uint64_t len, struct error *e);
/* Nothing more is read; waits until everything is hashed: 0, or a negative errno. */
int intake_drain(struct intake *in, struct error *e);
void intake_digest(struct intake *in, struct digest *ret); /* after intake_drain() */
void intake_end(struct intake *in); /* takes the fetch from the reactor and the window from the digester */
