/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader looks at one segment only, the first; so the filler wakes it only for that one, and not for less
 * than WINDOW_STEP. The lock is held for moments: bytes are copied into and read from the segments without
 * it, which is safe because what lies below `fill` does not change any more and what lies above is the
 * filler's alone.
 */
#include "stager/window.h"

#include <assert.h>

int window_init(struct window *w, struct arena *a) {
        size_t n = arena_segments(a, ARENA_WINDOW) + 1; /* the first one comes from the other pool */
        struct segment **slots = calloc(n, sizeof *slots);

        if (!slots)
                return -ENOMEM;
        *w = (struct window){ .arena = a, .slots = slots, .n_slots = n };
        pthread_mutex_init(&w->lock, NULL);
        pthread_cond_init(&w->changed, NULL);
        return 0;
}

/* The lock is not needed: nobody else is there any more. */
static void release_all(struct window *w) {
        for (; w->first < w->next; w->first++)
                arena_unref(w->arena, w->slots[w->first % w->n_slots]);
}

void window_destroy(struct window *w) {
        if (!w->slots)
                return;
        release_all(w);
        free(w->slots);
        w->slots = NULL;
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
}

void window_reset(struct window *w, uint64_t size) {
        release_all(w);

        LOCK_SCOPE(&w->lock);
        w->size = size;
        w->first = w->next = 0;
        w->read = 0;
        w->wants_locate = false;
        w->error.kind = ERROR_NONE;
}

uint64_t window_next(struct window *w) {
        LOCK_SCOPE(&w->lock);
        return w->next * SEGMENT_SIZE < w->size ? w->next * SEGMENT_SIZE : w->size;
}

void window_extend(struct window *w, struct segment **s, size_t n) {
        LOCK_SCOPE(&w->lock);

        assert(w->next - w->first + n <= w->n_slots);
        for (size_t i = 0; i < n; i++, w->next++) {
                uint64_t pos = w->next * SEGMENT_SIZE, left = w->size - pos;

                assert(pos < w->size);
                s[i]->pos = pos;
                s[i]->len = left < SEGMENT_SIZE ? (size_t)left : SEGMENT_SIZE;
                w->slots[w->next % w->n_slots] = s[i];
        }
}

struct segment *window_at(struct window *w, uint64_t pos) {
        LOCK_SCOPE(&w->lock);
        uint64_t i = pos / SEGMENT_SIZE;

        return i >= w->first && i < w->next ? w->slots[i % w->n_slots] : NULL;
}

uint64_t window_missing(struct window *w, uint64_t pos) {
        LOCK_SCOPE(&w->lock);

        if (pos < w->read)
                pos = w->read;
        for (uint64_t i = pos / SEGMENT_SIZE; i >= w->first && i < w->next; i++) {
                const struct segment *s = w->slots[i % w->n_slots];

                if (pos < s->pos + s->fill)
                        pos = s->pos + s->fill;
                if (s->fill < s->len)
                        break;
        }
        return pos;
}

/* Bytes that the reader can have now, or 0 if it is not worth waking it. Lock held. */
static size_t readable(const struct window *w) {
        if (w->first >= w->next)
                return 0;
        const struct segment *s = w->slots[w->first % w->n_slots];
        size_t from = (size_t)(w->read - s->pos);

        return s->fill == s->len || s->fill - from >= WINDOW_STEP ? s->fill - from : 0;
}

void window_show(struct window *w, struct segment *s) {
        LOCK_SCOPE(&w->lock);

        s->fill = s->got;
        if (w->first < w->next && w->slots[w->first % w->n_slots] == s && readable(w) > 0)
                pthread_cond_signal(&w->changed);
}

void window_fail(struct window *w, const struct error *e) {
        LOCK_SCOPE(&w->lock);

        if (w->error.kind == ERROR_NONE)
                error_copy(&w->error, e);
        pthread_cond_signal(&w->changed);
}

void window_ask_locate(struct window *w) {
        LOCK_SCOPE(&w->lock);

        w->wants_locate = true;
        pthread_cond_signal(&w->changed);
}

bool window_is_locating(struct window *w) {
        LOCK_SCOPE(&w->lock);
        return w->wants_locate;
}

/* Lock held. */
static int check_locked(const struct window *w, struct error *e) {
        if (w->cancelled)
                return error_set(e, ERROR_CANCELLED, "the transfer was cancelled");
        return w->error.kind == ERROR_NONE ? 0 : error_copy(e, &w->error);
}

int window_check(struct window *w, struct error *e) {
        LOCK_SCOPE(&w->lock);
        return check_locked(w, e);
}

int window_read(struct window *w, const void **ret, size_t *ret_len, struct error *e) {
        LOCK_SCOPE(&w->lock);

        for (;;) {
                int r = check_locked(w, e);

                if (r < 0)
                        return r;
                if (w->read == w->size)
                        return WINDOW_END;
                size_t n = readable(w);
                if (n > 0) {
                        const struct segment *s = w->slots[w->first % w->n_slots];

                        *ret = s->data + (w->read - s->pos);
                        *ret_len = n;
                        return WINDOW_DATA;
                }
                if (w->wants_locate)
                        return WINDOW_LOCATE;
                pthread_cond_wait(&w->changed, &w->lock);
        }
}

/* The segment that the reader is through with, or NULL. */
static struct segment *advance(struct window *w, size_t len) {
        LOCK_SCOPE(&w->lock);
        struct segment *s = w->slots[w->first % w->n_slots];

        assert(w->first < w->next && w->read + len <= s->pos + s->fill);
        w->read += len;
        if (w->read < s->pos + s->len)
                return NULL;
        w->first++;
        return s;
}

void window_consume(struct window *w, size_t len) {
        if (len == 0)
                return;
        struct segment *s = advance(w, len);
        if (s)
                arena_unref(w->arena, s);
}

void window_located(struct window *w) {
        LOCK_SCOPE(&w->lock);
        w->wants_locate = false;
}

void window_cancel(struct window *w) {
        LOCK_SCOPE(&w->lock);

        w->cancelled = true;
        pthread_cond_signal(&w->changed);
}
