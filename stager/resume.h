/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume: how far what an earlier transfer has left can be gone on with.
 *
 * It reads again all that the journal speaks of, and hashes it. Where the state of the digest is what the
 * journal says, the bytes are those that were hashed as they came; from the first place where it is not,
 * everything is fetched again. So bytes that were lost on their way to the disk, or changed there, are found
 * before they are built upon. Whether the bytes are the right ones only the blob's digest tells, at the end.
 */
#pragma once

#include "stager/keeper.h"

struct resume {
        struct keeper_start start; /* pos 0: from the beginning */
        struct sha256 state;       /* of the digest, at start.pos */
};

/* Blob thread. @go_on is told once in a while how many bytes were hashed; its failure is passed on. Nothing
 * of use is no failure. */
int resume_check(struct resume *ret, int dir_fd, const struct journal_head *head,
                 int (*go_on)(void *userdata, uint64_t pos, struct error *e), void *userdata,
                 struct error *e);

/* The journal's entries, one after the other, up to @upto (that resume_check() has found), where the last one
 * is cut. */
struct resume_reader;
int resume_reader_new(struct resume_reader **ret, int dir_fd, uint64_t upto, struct error *e);
void resume_reader_free(struct resume_reader *r);
DEFINE_CLEANUP(struct resume_reader *, resume_reader_free);
/* 1; 0 at the end. What *ret points to stays until the next call. ERROR_INVALID: it ends before @upto. */
int resume_reader_next(struct resume_reader *r, struct journal_entry *ret, struct error *e);
