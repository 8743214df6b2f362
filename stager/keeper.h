/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper: writes a transfer's journal while its bytes come.
 *
 *   content reader   keeper_file, keeper_bytes   where the blob's next bytes can be had again
 *   digest reader    keeper_mark                 the state of the digest at a place; now and then
 *                       |
 *                       v
 *   a batch, once both have come so far: appended by the reactor; nobody waits for it
 *
 * Nothing of the data is flushed for it, and a batch may reach the disk before what it speaks of: whoever
 * resumes finds out. Once every few seconds the journal is flushed, so that the file system does the same
 * with what it knows of the data; so much may a power cut cost more than a kill.
 *
 * A batch ends in a file or at its end, so that whoever goes on with an archive knows where the next header
 * is. A journal is bounded. What is too much for it (an archive of tiny files) ends it: it says no more, and
 * what it has said stays true.
 */
#pragma once

#include "stager/journal.h"

#include <stdbool.h>

struct reactor;
struct keeper;

/* How far a journal can be believed (resume.h), and so where it is to be gone on with. */
struct keeper_start {
        uint64_t pos;         /* of the blob */
        uint64_t journal_len; /* 0: there is none yet, or none of use */
};

/* For the journal in @dir_fd, which is borrowed. @r NULL: written at once, by whoever calls. */
int keeper_new(struct keeper **ret, struct reactor *r, int dir_fd, const struct journal_head *head,
               const struct keeper_start *start, struct error *e);
/* Waits for its writes. *ret_pos: how far the journal goes. NULL is fine. */
void keeper_free(struct keeper *k);
DEFINE_CLEANUP(struct keeper *, keeper_free);

/* Each begins where the last one ended, or before; if not, the journal ends. One thread; NULL is fine. */
void keeper_file(struct keeper *k, uint64_t from, uint64_t to, const char *name, uint64_t offset);
void keeper_bytes(struct keeper *k, uint64_t from, const void *data, size_t len);
/* One thread; may be another. To be called often. NULL is fine. */
void keeper_mark(struct keeper *k, const struct sha256 *state);
/* Writes what can be written of all that was told, and says how far the journal goes then; nobody tells it
 * anything more. NULL: 0. */
uint64_t keeper_finish(struct keeper *k);
