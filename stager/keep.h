/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep: what a transfer takes over from an earlier one, and what it leaves if it fails. The same for raw
 * blobs, plain tars, and what goes through a decoder and has a spool (spool.h).
 *
 *   keep_begin   looks at what is in the staging directory, and removes what is of no use
 *   keep_end     after a failure: the journal stays with what it speaks of, or all is removed
 *
 * On the blob thread.
 */
#pragma once

#include "stager/keeper.h"
#include "stager/resume.h"
#include "stager/transfer.h"

struct keep {
        struct transfer *transfer;
        bool located;          /* the blob was: there is something to go on with */
        struct resume resume;  /* start.pos 0: from the beginning */
        struct keeper *keeper; /* NULL: no journal */
};

/* @fresh: nothing of what may be there is to be used. */
int keep_begin(struct keep *k, struct transfer *t, bool fresh, struct error *e);
void keep_no_more(struct keep *k); /* nothing more goes into the journal; what it has said stays */
/* The window, the digest and the files are at rest. @result and @e: of the attempt. */
void keep_end(struct keep *k, int result, const struct error *e);
/* Nothing wrong with the bytes or the disk, as far as is known: it may be gone on with. */
bool keep_is_worth(const struct error *e);
