/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader looks at one segment only, the one at its position; so the filler wakes it only for that one, and
 * not for less than WINDOW_STEP. The lock is held for moments: bytes are copied into and read from the
 * segments without it, which is safe because what lies below `fill` does not change any more and what lies
 * above is the filler's alone.
 *
 * Segments are found by bisection: they have different lengths, but they are in order.
 */
#include "stager/window.h"

#include <assert.h>
#include <string.h>

int window_init(struct window *w, struct arena *a) {
        size_t n = arena_segments(a, ARENA_WINDOW) + 1; /* the first one comes from the other pool */
        struct segment **slots = calloc(n, sizeof *slots);

        if (!slots)
                return -ENOMEM;
        *w = (struct window){ .arena = a, .slots = slots, .n_slots = n };
        pthread_mutex_init(&w->lock, NULL);
        for (int i = 0; i < _WINDOW_READER_MAX; i++)
                pthread_cond_init(&w->readers[i].changed, NULL);
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
        for (int i = 0; i < _WINDOW_READER_MAX; i++)
                pthread_cond_destroy(&w->readers[i].changed);
        pthread_mutex_destroy(&w->lock);
}

void window_on_digest(struct window *w, void (*wake)(void *userdata), void *userdata) {
        w->wake = wake;
        w->wake_data = userdata;
}

void window_reset(struct window *w, uint64_t start, uint64_t size) {
        release_all(w);

        LOCK_SCOPE(&w->lock);
        w->start = w->end = start;
        w->size = size;
        w->first = w->next = 0;
        for (int i = 0; i < _WINDOW_READER_MAX; i++) {
                w->readers[i].pos = start;
                w->readers[i].index = 0;
        }
        w->wants_locate = w->news = false;
        w->error.kind = ERROR_NONE;
}

static struct segment *slot(const struct window *w, uint64_t index) {
        return w->slots[index % w->n_slots];
}

uint64_t window_next(struct window *w) {
        LOCK_SCOPE(&w->lock);
        return w->end;
}

void window_extend(struct window *w, struct segment *s, size_t len) {
        LOCK_SCOPE(&w->lock);

        assert(w->next - w->first < w->n_slots);
        assert(len > 0 && len <= SEGMENT_SIZE && len <= w->size - w->end);
        s->pos = w->end;
        s->len = len;
        w->slots[w->next++ % w->n_slots] = s;
        w->end += len;
}

/* The index of the segment with the byte at @pos, or `next`. Lock held. */
static uint64_t find(const struct window *w, uint64_t pos) {
        uint64_t low = w->first, high = w->next;

        if (low == high || pos < slot(w, low)->pos)
                return w->next;
        while (low < high) {
                uint64_t middle = low + (high - low) / 2;
                const struct segment *s = slot(w, middle);

                if (pos >= s->pos + s->len)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

struct segment *window_at(struct window *w, uint64_t pos) {
        LOCK_SCOPE(&w->lock);
        uint64_t i = find(w, pos);

        return i < w->next ? slot(w, i) : NULL;
}

/* Everything before it was read by both readers. Lock held. */
static uint64_t front(const struct window *w) {
        return w->first < w->next ? slot(w, w->first)->pos : w->end;
}

uint64_t window_missing(struct window *w, uint64_t pos) {
        LOCK_SCOPE(&w->lock);

        if (pos < front(w))
                pos = front(w);
        for (uint64_t i = find(w, pos); i < w->next; i++) {
                const struct segment *s = slot(w, i);

                if (pos < s->pos + s->fill)
                        pos = s->pos + s->fill;
                if (s->fill < s->len)
                        break;
        }
        return pos;
}

/* The segment with the reader's position; NULL: not held yet. Lock held. */
static struct segment *current(const struct window *w, struct window_cursor *c) {
        while (c->index < w->next && slot(w, c->index)->pos + slot(w, c->index)->len <= c->pos)
                c->index++;
        return c->index < w->next ? slot(w, c->index) : NULL;
}

/* Bytes that the reader can have now, or 0 if it is not worth waking it. Lock held. */
static size_t readable(const struct window *w, struct window_cursor *c) {
        const struct segment *s = current(w, c);

        if (!s || c->pos >= s->pos + s->fill)
                return 0;
        size_t from = (size_t)(c->pos - s->pos);
        return s->fill == s->len || s->fill - from >= WINDOW_STEP ? s->fill - from : 0;
}

/* True: the digest reader has something to read. */
static bool show(struct window *w, struct segment *s) {
        LOCK_SCOPE(&w->lock);
        bool ready[_WINDOW_READER_MAX];

        s->fill = s->got;
        for (int i = 0; i < _WINDOW_READER_MAX; i++) {
                ready[i] = current(w, &w->readers[i]) == s && readable(w, &w->readers[i]) > 0;
                if (ready[i])
                        pthread_cond_signal(&w->readers[i].changed);
        }
        return ready[WINDOW_DIGEST];
}

void window_show(struct window *w, struct segment *s) {
        if (show(w, s) && w->wake)
                w->wake(w->wake_data);
}

/* Lock held. */
static void wake_all(struct window *w) {
        for (int i = 0; i < _WINDOW_READER_MAX; i++)
                pthread_cond_signal(&w->readers[i].changed);
}

void window_fail(struct window *w, const struct error *e) {
        LOCK_SCOPE(&w->lock);

        if (w->error.kind == ERROR_NONE)
                error_copy(&w->error, e);
        wake_all(w);
}

void window_ask_locate(struct window *w) {
        LOCK_SCOPE(&w->lock);

        w->wants_locate = true;
        pthread_cond_signal(&w->readers[WINDOW_CONTENT].changed);
}

bool window_is_locating(struct window *w) {
        LOCK_SCOPE(&w->lock);
        return w->wants_locate;
}

void window_tell(struct window *w) {
        LOCK_SCOPE(&w->lock);

        w->news = true;
        pthread_cond_signal(&w->readers[WINDOW_CONTENT].changed);
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

/* WINDOW_LOCATE, WINDOW_NEWS, or 0: nothing but bytes is of interest. Lock held. */
static int message(struct window *w, enum window_reader reader) {
        if (reader != WINDOW_CONTENT)
                return 0;
        if (w->wants_locate)
                return WINDOW_LOCATE;
        bool news = w->news;
        w->news = false;
        return news ? WINDOW_NEWS : 0;
}

/* What window_read() returns, or -EAGAIN: wait. Lock held. */
static int look(struct window *w, enum window_reader reader, const void **ret, size_t *ret_len,
                struct error *e) {
        struct window_cursor *c = &w->readers[reader];
        int r = check_locked(w, e);

        if (r < 0)
                return r;
        r = message(w, reader);
        if (r > 0)
                return r;
        if (c->pos >= w->size)
                return WINDOW_END;
        size_t n = readable(w, c);
        if (n == 0)
                return -EAGAIN;
        const struct segment *s = current(w, c);
        *ret = s->data + (c->pos - s->pos);
        *ret_len = n;
        return WINDOW_DATA;
}

int window_read(struct window *w, enum window_reader reader, const void **ret, size_t *ret_len,
                struct error *e) {
        LOCK_SCOPE(&w->lock);
        int r;

        while ((r = look(w, reader, ret, ret_len, e)) == -EAGAIN)
                pthread_cond_wait(&w->readers[reader].changed, &w->lock);
        return r;
}

int window_try_read(struct window *w, enum window_reader reader, const void **ret, size_t *ret_len,
                    struct error *e) {
        LOCK_SCOPE(&w->lock);
        int r = look(w, reader, ret, ret_len, e);

        if (r != -EAGAIN)
                return r;
        *ret_len = 0;
        return WINDOW_DATA;
}

int window_wait_digest(struct window *w, struct error *e) {
        LOCK_SCOPE(&w->lock);

        for (;;) {
                int r = check_locked(w, e);

                if (r == 0)
                        r = message(w, WINDOW_CONTENT);
                if (r != 0)
                        return r;
                if (w->readers[WINDOW_DIGEST].pos >= w->size)
                        return WINDOW_END;
                pthread_cond_wait(&w->readers[WINDOW_CONTENT].changed, &w->lock);
        }
}

/* Moves the reader on. The segments that nobody needs any more are given to the caller, @ret has room for
 * all. Lock held. */
static size_t move(struct window *w, enum window_reader reader, uint64_t to, struct segment **ret,
                   size_t room) {
        size_t n = 0;

        assert(to >= w->readers[reader].pos && to <= w->size);
        w->readers[reader].pos = to;
        for (; w->first < w->next && n < room; w->first++) {
                const struct segment *s = slot(w, w->first);

                for (int i = 0; i < _WINDOW_READER_MAX; i++)
                        if (w->readers[i].pos < s->pos + s->len)
                                return n;
                ret[n++] = slot(w, w->first);
        }
        return n;
}

/* A few at a time: the lock is not held while they go back to the arena. */
static void advance(struct window *w, enum window_reader reader, uint64_t to) {
        struct segment *done[16];
        size_t n;

        do {
                {
                        LOCK_SCOPE(&w->lock);
                        n = move(w, reader, to, done, sizeof done / sizeof *done);
                        for (int i = 0; i < _WINDOW_READER_MAX; i++)
                                if (w->readers[i].index < w->first)
                                        w->readers[i].index = w->first;
                        if (reader == WINDOW_DIGEST && to == w->size)
                                pthread_cond_signal(&w->readers[WINDOW_CONTENT].changed);
                }
                for (size_t i = 0; i < n; i++)
                        arena_unref(w->arena, done[i]);
        } while (n == sizeof done / sizeof *done);
}

static bool at_edge(struct window *w, enum window_reader reader) {
        LOCK_SCOPE(&w->lock);
        const struct segment *s = current(w, &w->readers[reader]);

        return !s || s->pos == w->readers[reader].pos;
}

bool window_consume(struct window *w, enum window_reader reader, size_t len) {
        if (len > 0)
                advance(w, reader, w->readers[reader].pos + len);
        return at_edge(w, reader);
}

void window_skip(struct window *w, enum window_reader reader, uint64_t to) {
        if (to > w->readers[reader].pos)
                advance(w, reader, to);
}

void window_located(struct window *w) {
        LOCK_SCOPE(&w->lock);
        w->wants_locate = false;
}

size_t window_peek(struct window *w, uint64_t pos, void *data, size_t cap) {
        LOCK_SCOPE(&w->lock);
        uint64_t i = find(w, pos);

        if (i == w->next || pos >= slot(w, i)->pos + slot(w, i)->fill)
                return 0;
        const struct segment *s = slot(w, i);
        size_t n = (size_t)(s->pos + s->fill - pos);
        if (n > cap)
                n = cap;
        memcpy(data, s->data + (pos - s->pos), n);
        return n;
}

void window_cancel(struct window *w) {
        LOCK_SCOPE(&w->lock);

        w->cancelled = true;
        wake_all(w);
}
