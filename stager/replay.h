/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay: the part of a tar stream that an earlier transfer has left, for unpack_tar() to read once more. It
 * checks, counts and notes everything anew, in a new tree, and the files of the old one are linked into it,
 * so that nothing of their data is read or written. What the old tree had beyond that is thrown away with it.
 *
 *   stream   0 ................................ upto .............................. size
 *            the journal's entries                 arrive(), then the source behind
 *   tree     "next" is filled beside "tree"        "next" has become "tree"
 *
 * Until the new tree takes the old one's place the journal describes the old one, and then the new one; in
 * between is an instant in which there is none, and a kill there costs what was kept. It is an unpack_source,
 * on the blob thread.
 */
#pragma once

#include "stager/resume.h"
#include "stager/unpack.h"

#define REPLAY_TREE "next" /* in the staging, for unpack_tar() */
#define REPLAY_OLD "old"   /* likewise; soon gone */

/* The file that reaches to the end of what is kept, or beyond it. */
struct replay_last {
        uint64_t data, size; /* of the member */
        uint64_t kept;       /* bytes of it that are there: all, or whole blocks */
        int parent_fd;
        const char *name; /* in it; it is there already */
};

struct replay_order {
        int dir_fd;                        /* of the staging, with "tree" in it */
        uint64_t upto;                     /* resume_check() has found so much */
        struct placer *placer;             /* told of what is kept */
        const struct unpack_source *after; /* what comes behind */
        /* Before anything of `after` is asked for. */
        int (*arrive)(void *userdata, struct error *e);
        /* *ret->file is to be opened if it is not complete, and *ret->from to be set. */
        int (*last)(void *userdata, struct unpack_adopted *ret, const struct replay_last *l, struct error *e);
        void *userdata;
};

struct replay;
int replay_new(struct replay **ret, const struct replay_order *order, struct error *e);
void replay_free(struct replay *r);
DEFINE_CLEANUP(struct replay *, replay_free);
struct unpack_source replay_source(struct replay *r);
/* Until then what is written anew is on the disk beside what was kept. */
bool replay_has_arrived(const struct replay *r);
