/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window: the part of a blob that is in memory, between the reactor that fills it in any order and two
 * readers that each read it in order. Also where they tell each other that something has gone wrong.
 *
 *      start     content   digest                             next
 *   ─────┼─────────┼─────────┼────────────────────────────────┼──────────────────▶ size
 *     consumed     segments held, each filled from its front      not asked for yet
 *
 * The segments lie next to each other in the blob, each as long as whoever extends the window says, at most
 * SEGMENT_SIZE. A segment leaves when both readers are through with it. A reader that needs no bytes skips
 * them: what it has skipped does not wait for it, whether it is there yet or not.
 */
#pragma once

#include "stager/arena.h"

#define WINDOW_STEP ((size_t)256 << 10) /* a reader is woken for no less, but for a segment's end */

enum window_reader {
        WINDOW_DIGEST,  /* every byte goes into the hash */
        WINDOW_CONTENT, /* what becomes of them; the one that locates and hears news */
        _WINDOW_READER_MAX
};

struct window_cursor {
        uint64_t pos;   /* bytes before it are done with */
        uint64_t index; /* of the held segment that has the byte at pos; the window's next if none has */
        pthread_cond_t changed;
};

struct window {
        struct arena *arena;
        pthread_mutex_t lock;   /* guards all below, and fill of the segments */
        uint64_t start, size;   /* of the blob: nothing before start is read */
        struct segment **slots; /* by index, modulo n_slots */
        size_t n_slots;         /* as many segments as one blob can ever hold */
        uint64_t first, next;   /* indexes: [first, next) are held; they count from 0 at start */
        uint64_t end;           /* the first byte that is not held yet */
        struct window_cursor readers[_WINDOW_READER_MAX];
        bool cancelled;
        bool wants_locate;            /* the address has expired; the content reader is to find the new one */
        bool news;                    /* something else than bytes has come for the content reader */
        struct error error;           /* kind ERROR_NONE: all is well */
        void (*wake)(void *userdata); /* see window_on_digest(); NULL: nobody */
        void *wake_data;
};

int window_init(struct window *w, struct arena *a); /* -ENOMEM */
void window_destroy(struct window *w);
/* @wake(@userdata) runs on the filling thread whenever the digest reader has more to read. Before its first
 * use. */
void window_on_digest(struct window *w, void (*wake)(void *userdata), void *userdata);
/* Back to the byte @start of a blob of @size bytes: gives the segments back, forgets errors but not the
 * cancellation. Both readers read from there. Nobody else uses the window. */
void window_reset(struct window *w, uint64_t start, uint64_t size);

/* The filling side. */
uint64_t window_next(struct window *w); /* byte from which nothing is held yet */
/* Puts @s, which gets pos and @len, behind all others; takes it over. */
void window_extend(struct window *w, struct segment *s, size_t len);
struct segment *window_at(struct window *w, uint64_t pos); /* NULL: consumed, or not held */
uint64_t window_missing(struct window *w,
                        uint64_t pos);                 /* the first byte from @pos on that is not here yet */
void window_show(struct window *w, struct segment *s); /* what was got up to now can be read */
void window_fail(struct window *w, const struct error *e); /* the first error stays */
void window_ask_locate(struct window *w);
/* Between window_ask_locate() and window_located(): no request is worth starting. */
bool window_is_locating(struct window *w);
void window_tell(struct window *w); /* wakes the content reader with WINDOW_NEWS */

/* The reading side, one thread a reader. The last two are for the content reader alone. WINDOW_LOCATE: find
 * the blob again, call window_located(), then go on. */
enum { WINDOW_END = 0, WINDOW_DATA = 1, WINDOW_LOCATE = 2, WINDOW_NEWS = 3 };
/* Blocks until there is something to tell: the bytes from the reader's position on that are here in a row,
 * up to the end of one segment; the end of the blob; or the failure that ended it. */
int window_read(struct window *w, enum window_reader reader, const void **ret, size_t *ret_len,
                struct error *e);
/* As window_read(), but 0 bytes and WINDOW_DATA instead of waiting. */
int window_try_read(struct window *w, enum window_reader reader, const void **ret, size_t *ret_len,
                    struct error *e);
/* Of what was read. True: the reader is at the end of a segment. */
bool window_consume(struct window *w, enum window_reader reader, size_t len);
void window_skip(struct window *w, enum window_reader reader, uint64_t to); /* only forward */
/* Blocks until the digest reader is at the end: WINDOW_END, or what window_read() says. */
int window_wait_digest(struct window *w, struct error *e);
void window_located(struct window *w);
/* Copies what is here in a row from @pos on, wherever the readers are; at most @cap bytes of one segment. */
size_t window_peek(struct window *w, uint64_t pos, void *data, size_t cap);

void window_cancel(struct window *w);                /* any thread; for good */
int window_check(struct window *w, struct error *e); /* cancelled or failed? */
