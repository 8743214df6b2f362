/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regions: which bytes of a blob are bytes of which file. The reactor cuts the window's segments accordingly
 * and writes those that lie in a region straight to the file; all other bytes are only there to be read.
 *
 *   blob     [ header | data ............................ | padding, header | data ......... | end ]
 *   regions            [from                          to)                     [from        to)
 *   segments [ 1 MiB  ][ 1 MiB ][ 1 MiB ] … [ the rest   ][ short          ][ 1 MiB ] …
 *
 * A region begins behind everything that is held already, so that no segment lies across its edge. The blob
 * thread adds and takes away, the reactor looks.
 */
#pragma once

#include "stager/window.h"

#define REGIONS_MAX 16u /* of one blob at once: files that are written ahead of their turn */
#define REGIONS_NO_HOLD UINT64_MAX

struct place_file;

struct region {
        uint64_t from, to; /* of the blob */
        uint64_t offset;   /* of the byte `from` in the file; a multiple of SEGMENT_SIZE */
        uint64_t data;     /* where in the blob the file's first byte is; of a raw blob 0 */
        struct place_file *file;
        unsigned serial; /* the caller's */
        bool taken;      /* the file has found its member; or it is not going to be looked for */
};

struct regions {
        pthread_mutex_t lock; /* guards what follows; the window's and the placer's are taken after it */
        struct region all[REGIONS_MAX]; /* by position */
        size_t n;
        uint64_t hold; /* no segment is made from here on yet: what lies there is being looked at */
};

void regions_init(struct regions *g);
void regions_destroy(struct regions *g);
void regions_clear(struct regions *g);
bool regions_are_full(struct regions *g, struct window *w);

/*
 * The bytes [@data, @data + @size) of the blob are @file, as far as nothing is held of them yet: the region
 * begins at the first byte at which it can and *ret says where. False: it could only have had fewer than
 * @least bytes, and is not made. place_expect() is called for it. Regions come in order.
 */
bool regions_add(struct regions *g, struct window *w, const struct region *what, uint64_t least,
                 struct region *ret);
/* The next region, once, of a file that begins at @data or before; their bytes keep coming until all segments
 * are made. False: there is none. */
bool regions_take(struct regions *g, uint64_t data, struct region *ret);
void regions_hold(struct regions *g, uint64_t pos); /* REGIONS_NO_HOLD: nothing is held back */

bool regions_are_held(struct regions *g, struct window *w); /* no segment can be made now */
/* Puts @s at the window's end, cut where it has to be. False: everything from there on is held back. */
bool regions_extend(struct regions *g, struct window *w, struct segment *s);
