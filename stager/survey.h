/* SPDX-License-Identifier: Apache-2.0 */
/*
 * survey: sees to it that the large members of a plain tar go from the window straight to their files. It has
 * the scout look at headers, of what has come already or by small requests of its own ahead of the bulk
 * (probes), makes a file for each large member that is found, and enters it in the regions. When the archive
 * is read in order and the member has a name, the file is moved there.
 *
 *   scout -> member found -> "region.N" made, region added -> … bytes come … -> survey_adopt(): its name
 *                                                                           \-> never: removed at the end
 *
 * What a probe is on its way to see is held back from the bulk, so that the bulk does not run over a region's
 * beginning; but there are few probes, and none where members are small. On the blob thread.
 */
#pragma once

#include "stager/fetch.h"
#include "stager/place.h"
#include "stager/scout.h"

#define SURVEY_PREFIX "region." /* of the files' names, before they have found their members */

struct survey {
        struct fetch *fetch;
        struct placer *placer;
        int dir_fd;   /* where the files are made; borrowed */
        bool over;    /* nothing more is to be found */
        bool waiting; /* a probe was sent and has brought nothing yet */
        bool holding; /* the bulk is kept from what lies behind the probe's position */
        struct scout scout;
        bool has_found; /* a member that has no region yet, because there are too many */
        struct scout_member found;
        unsigned probes;        /* that may still be made */
        unsigned vain;          /* have brought nothing */
        unsigned made, adopted; /* files */
        char block[8 * SCOUT_BLOCK];
};

/* Keeps all by reference. @fetch is not attached to the reactor yet. @from: where a header is, or nothing is.
 * */
void survey_begin(struct survey *s, struct fetch *fetch, struct placer *p, int dir_fd, uint64_t from);
/* Looks as far ahead as it can now. Call it when bytes have come, and on WINDOW_NEWS. */
int survey_go_on(struct survey *s, struct error *e);
void survey_stop(struct survey *s);    /* the archive is not read any further */
void survey_give_up(struct survey *s); /* no member comes any more */
/*
 * The member whose first byte is at @data is a file of @size bytes: if the survey has one for it, gives it
 * @name in @parent_fd. 1: *ret is the file, whose bytes from *ret_from on come by themselves; those before
 * are the caller's to write. 0: there is none. Files that were made for what is no member are given up.
 */
int survey_adopt(struct place_file **ret, uint64_t *ret_from, struct survey *s, uint64_t data, uint64_t size,
                 int parent_fd, const char *name, struct error *e);
void survey_end(struct survey *s); /* removes the files that found no member */
