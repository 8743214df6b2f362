/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window: the part of a blob that is in memory, between the reactor that fills it in any order and the one
 * blob thread that reads it in order. Also where the two tell each other that something has gone wrong.
 *
 *      read          first                                  next
 *   ─────┼─────────────┼──────────────────────────────────────┼──────────────────▶ size
 *   consumed      segments held, each filled from its front      not asked for yet
 *
 * The segments are next to each other in the blob, each SEGMENT_SIZE but the last. A segment leaves when the
 * reader is through with it.
 */
#pragma once

#include "stager/arena.h"

#define WINDOW_STEP ((size_t)256 << 10) /* the reader is woken for no less, but for a segment's end */

struct window {
        struct arena *arena;
        pthread_mutex_t lock; /* guards all below, and fill of the segments */
        pthread_cond_t changed;
        uint64_t size;          /* of the blob */
        struct segment **slots; /* by index in the blob, modulo n_slots */
        size_t n_slots;         /* as many segments as one blob can ever hold */
        uint64_t first, next;   /* indexes: [first, next) are held */
        uint64_t read;          /* bytes that the reader is through with */
        bool cancelled;
        bool wants_locate;  /* the address has expired; the reader is to find the new one */
        struct error error; /* kind ERROR_NONE: all is well */
};

int window_init(struct window *w, struct arena *a); /* -ENOMEM */
void window_destroy(struct window *w);
/* Back to the start of a blob of @size bytes: gives the segments back, forgets errors but not the
 * cancellation. */
void window_reset(struct window *w, uint64_t size);

/* The filling side. */
uint64_t window_next(struct window *w); /* byte from which nothing is held yet */
void window_extend(struct window *w, struct segment **s,
                   size_t n);                              /* sets pos and len of each; takes them over */
struct segment *window_at(struct window *w, uint64_t pos); /* NULL: consumed, or not held */
uint64_t window_missing(struct window *w,
                        uint64_t pos);                 /* the first byte from @pos on that is not here yet */
void window_show(struct window *w, struct segment *s); /* what was got up to now can be read */
void window_fail(struct window *w, const struct error *e); /* the first error stays */
void window_ask_locate(struct window *w);
/* Between window_ask_locate() and window_located(): no request is worth starting. */
bool window_is_locating(struct window *w);

/* The reading side. WINDOW_LOCATE: find the blob again, call window_located(), then window_read() again. */
enum { WINDOW_END = 0, WINDOW_DATA = 1, WINDOW_LOCATE = 2 };
/* Blocks until there is something to tell: the bytes from `read` on that are here in a row, up to the end
 * of one segment; the end of the blob; or the failure that ended it. */
int window_read(struct window *w, const void **ret, size_t *ret_len, struct error *e);
void window_consume(struct window *w, size_t len); /* of what window_read() gave */
void window_located(struct window *w);

void window_cancel(struct window *w);                /* any thread; for good */
int window_check(struct window *w, struct error *e); /* cancelled or failed? */
