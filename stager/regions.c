/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A short list that is only appended to and loses its first ones, once they are taken and the window has left
 * them behind. Looking and extending are one step under the lock: a region that is added while the window
 * grows begins where the window has got to.
 */
#include "stager/regions.h"

#include "stager/place.h"
#include "stager/scout.h"

#include <assert.h>
#include <string.h>

void regions_init(struct regions *g) {
        *g = (struct regions){ .hold = REGIONS_NO_HOLD };
        pthread_mutex_init(&g->lock, NULL);
}

void regions_destroy(struct regions *g) {
        pthread_mutex_destroy(&g->lock);
}

void regions_clear(struct regions *g) {
        LOCK_SCOPE(&g->lock);

        g->n = 0;
        g->hold = REGIONS_NO_HOLD;
}

/* The first byte of @r from which nothing is held, and which is at a multiple of SEGMENT_SIZE in the file. */
static uint64_t first_free(const struct region *r, uint64_t held) {
        uint64_t ahead = held > r->from ? held - r->from : 0;

        return r->from + (ahead + SEGMENT_SIZE - 1) / SEGMENT_SIZE * SEGMENT_SIZE;
}

bool regions_add(struct regions *g, struct window *w, const struct region *what, uint64_t least,
                 struct region *ret) {
        LOCK_SCOPE(&g->lock);
        struct region r = *what;
        uint64_t from = first_free(&r, window_next(w));

        assert(g->n < REGIONS_MAX && (g->n == 0 || what->from >= g->all[g->n - 1].to));
        if (from >= r.to || r.to - from < least)
                return false;
        r.offset += from - r.from;
        r.from = from;
        place_expect(r.file, r.to - r.from);
        g->all[g->n++] = r;
        *ret = r;
        return true;
}

/* Lock held. */
static void forget(struct regions *g, uint64_t held) {
        size_t n = 0;

        while (n < g->n && g->all[n].taken && g->all[n].to <= held)
                n++;
        g->n -= n;
        memmove(g->all, g->all + n, g->n * sizeof *g->all);
}

bool regions_are_full(struct regions *g, struct window *w) {
        LOCK_SCOPE(&g->lock);

        forget(g, window_next(w));
        return g->n == REGIONS_MAX;
}

bool regions_take(struct regions *g, uint64_t data, struct region *ret) {
        LOCK_SCOPE(&g->lock);

        for (size_t i = 0; i < g->n && g->all[i].data <= data; i++) {
                if (g->all[i].taken)
                        continue;
                g->all[i].taken = true;
                *ret = g->all[i];
                return true;
        }
        return false;
}

void regions_hold(struct regions *g, uint64_t pos) {
        LOCK_SCOPE(&g->lock);
        g->hold = pos;
}

/* The region with @pos, or the first one behind it, or NULL. Lock held. */
static const struct region *at_or_behind(const struct regions *g, uint64_t pos) {
        for (size_t i = 0; i < g->n; i++)
                if (pos < g->all[i].to)
                        return &g->all[i];
        return NULL;
}

bool regions_are_held(struct regions *g, struct window *w) {
        LOCK_SCOPE(&g->lock);
        uint64_t pos = window_next(w);

        forget(g, pos);
        return pos >= g->hold;
}

bool regions_extend(struct regions *g, struct window *w, struct segment *s) {
        LOCK_SCOPE(&g->lock);
        uint64_t pos = window_next(w), end = pos + SEGMENT_SIZE;

        forget(g, pos);
        const struct region *r = at_or_behind(g, pos);
        if (pos >= g->hold)
                return false;
        if (end > g->hold)
                end = g->hold;
        if (end > w->size)
                end = w->size;
        s->file = NULL;
        if (r && pos >= r->from) {
                end = end < r->to ? end : r->to;
                s->file = r->file;
                s->file_offset = r->offset + (pos - r->from);
        } else {
                if (r && end > r->from)
                        end = r->from;
                if (end < w->size) /* so that no header lies across an edge */
                        end -= end % SCOUT_BLOCK;
        }
        window_extend(w, s, (size_t)(end - pos));
        return true;
}
