/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space: how much disk there is for models, and promising it.
 *
 *   capacity   cache.maxBytes, or the file system less cache.minFree
 *   used       bytes of the layers in the index: every byte is once in a layer, models only link; and what is
 *              kept of unfinished layers (kept.c), unless a job holds the layer, which reserves it
 *   written    bytes that jobs have written and that may not be in a sealed layer yet
 *   reserved   bytes that jobs still have to write
 *   free       what is left of the capacity, or of the disk above minFree if that is less
 *
 * Consuming moves bytes from reserved to written; releasing forgets both. Between the seal of a layer and the
 * release its bytes count twice, which errs on the safe side. What is spared counts as written.
 *
 * Measuring asks the index and the file system and may take long, so no lock is held; consuming, which the
 * engine's reactor does, never waits for it. What is promised is looked at first: what is consumed or
 * released in the meantime then counts twice and not never. Promises are made one at a time, under a guard,
 * so that nobody promises the same bytes.
 */
#include "cache/store.h"

#include "base/text.h"

#include <sys/statvfs.h>

#define SPARE_PART 4u /* of what is free, one part may be used for what nobody needs */

struct cache_reservation {
        struct cache *cache;
        uint64_t promised, written; /* guarded by cache->promises.lock */
};

static uint64_t minus(uint64_t a, uint64_t b) {
        return a > b ? a - b : 0;
}

/* @ret->free does not know of reservations yet. */
static int measure(struct cache *c, struct cache_space *ret, struct cache_index_sums *sums, struct error *e) {
        const struct settings *s = c->settings;
        uint64_t whole, available, keep, partial = cache_kept_bytes(c, false);
        struct statvfs fs;
        int r;

        r = cache_index_sums(c->index, sums, e);
        if (r < 0)
                return r;
        if (fstatvfs(c->root_fd, &fs) < 0)
                return error_errno(e, errno, "measure the file system of %s", c->root);
        whole = (uint64_t)fs.f_blocks * fs.f_frsize;
        available = (uint64_t)fs.f_bavail * fs.f_frsize + cache_kept_bytes(c, true);
        keep = settings_amount_of(&s->cache.min_free, whole);
        *ret = (struct cache_space){
                .capacity = s->cache.max_bytes ? s->cache.max_bytes : minus(whole, keep),
                .used = sums->bytes + partial,
                .partial = partial,
                .models = sums->models,
                .layers = sums->layers,
                .saved = sums->saved,
        };
        ret->free = minus(available, keep);
        return 0;
}

static int measure_with_promises(struct cache *c, struct cache_space *ret, struct cache_index_sums *sums,
                                 struct error *e) {
        uint64_t reserved, written, below_capacity;
        int r;

        pthread_mutex_lock(&c->promises.lock);
        reserved = c->promises.reserved;
        written = c->promises.written;
        pthread_mutex_unlock(&c->promises.lock);
        r = measure(c, ret, sums, e);
        if (r < 0)
                return r;
        below_capacity = minus(ret->capacity, ret->used + written);
        ret->reserved = reserved;
        ret->free = minus(below_capacity < ret->free ? below_capacity : ret->free, reserved);
        return 0;
}

int cache_space(struct cache *c, struct cache_space *ret, struct error *e) {
        struct cache_index_sums sums;
        struct cache_space s;
        int r;

        r = measure_with_promises(c, &s, &sums, e);
        if (r < 0)
                return r;
        *ret = s;
        return 0;
}

static int no_space(struct cache *c, uint64_t bytes, const struct cache_space *s,
                    const struct cache_index_sums *sums, struct error *e) {
        char needed[TEXT_SHORT], free_[TEXT_SHORT], used[TEXT_SHORT], capacity[TEXT_SHORT],
            reserved[TEXT_SHORT], busy[TEXT_SHORT];

        return error_set(
            e, ERROR_NO_SPACE,
            "the model needs %s more, %s are free in %s (%s of %s used, %s reserved by running jobs; "
            "%llu mounted or pinned models hold %s); remove models with \"modelstage rm\", raise "
            "cache.maxBytes or use a larger disk",
            text_format_size(bytes, needed), text_format_size(s->free, free_), c->root,
            text_format_size(s->used, used), text_format_size(s->capacity, capacity),
            text_format_size(s->reserved, reserved), (unsigned long long)sums->busy_models,
            text_format_size(sums->busy_bytes, busy));
}

/* -ENOSPC with a text if it does not fit. */
static int take(struct cache_reservation *r, uint64_t bytes, struct error *e) {
        struct cache *c = r->cache;
        struct cache_index_sums sums;
        struct cache_space s;
        int result;

        CACHE_GUARD_SCOPE(c, CACHE_GUARD_SPACE, "");
        result = measure_with_promises(c, &s, &sums, e);
        if (result < 0)
                return result;
        if (bytes > s.free)
                return no_space(c, bytes, &s, &sums, e);
        LOCK_SCOPE(&c->promises.lock);
        r->promised += bytes;
        c->promises.reserved += bytes;
        return 0;
}

int cache_reservation_grow(struct cache_reservation *r, uint64_t bytes, struct error *e) {
        struct cache *c = r->cache;
        struct error full;
        int result, dropped = 1;

        cache_kept_expire(c);
        result = take(r, bytes, e);
        if (result != -ENOSPC)
                return result;
        result = cache_collect_layers(c, NULL, e);
        if (result < 0)
                return result;
        /* What a job wants to go on with comes last; and better a model from its beginning than none. */
        while ((result = take(r, bytes, &full)) == -ENOSPC && dropped > 0) {
                dropped = cache_kept_drop_oldest(c, false, e);
                if (dropped == 0)
                        dropped = cache_kept_drop_oldest(c, true, e);
                if (dropped < 0)
                        return dropped;
        }
        return result < 0 ? error_copy(e, &full) : 0;
}

int cache_reservation_spare(struct cache_reservation *r, uint64_t bytes) {
        struct cache *c = r->cache;
        struct cache_index_sums sums;
        struct cache_space s;
        struct error e;

        CACHE_GUARD_SCOPE(c, CACHE_GUARD_SPACE, "");
        int result = measure_with_promises(c, &s, &sums, &e);
        if (result < 0)
                return result;
        if (bytes > s.free / SPARE_PART)
                return -ENOSPC;
        LOCK_SCOPE(&c->promises.lock);
        r->written += bytes;
        c->promises.written += bytes;
        return 0;
}

void cache_reservation_give_back(struct cache_reservation *r, uint64_t bytes) {
        struct cache_promises *p = &r->cache->promises;
        LOCK_SCOPE(&p->lock);

        r->written -= bytes;
        p->written -= bytes;
}

int cache_reserve(struct cache_reservation **ret, struct cache *c, uint64_t bytes, struct error *e) {
        struct cache_reservation *r = malloc(sizeof *r);
        int result;

        if (!r)
                return error_errno(e, ENOMEM, "reserve space");
        *r = (struct cache_reservation){ .cache = c };
        result = cache_reservation_grow(r, bytes, e);
        if (result < 0) {
                free(r);
                return result;
        }
        *ret = r;
        return 0;
}

void cache_reservation_consume(struct cache_reservation *r, uint64_t bytes) {
        struct cache_promises *p = &r->cache->promises;
        LOCK_SCOPE(&p->lock);
        uint64_t promised = bytes < r->promised ? bytes : r->promised;

        r->promised -= promised;
        p->reserved -= promised;
        r->written += bytes;
        p->written += bytes;
}

void cache_reservation_release(struct cache_reservation *r) {
        struct cache_promises *p;

        if (!r)
                return;
        p = &r->cache->promises;
        pthread_mutex_lock(&p->lock);
        p->reserved -= r->promised;
        p->written -= r->written;
        pthread_mutex_unlock(&p->lock);
        free(r);
}
