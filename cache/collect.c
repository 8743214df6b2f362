/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collect: holding layers, and removing those that nothing uses.
 *
 * A layer is used by models (in the index) and held by running jobs (in memory). The decision to remove one
 * is made under c->lock, where holds are counted: whoever holds a layer and then finds it can rely on it;
 * whoever does not find it stages it again, and its seal waits at the guard until the old one is out of the
 * way.
 */
#include "cache/store.h"

#include <fcntl.h>

void cache_layer_hold(struct cache *c, const struct digest *digest) {
        LOCK_SCOPE(&c->lock);
        struct cache_hold *h;

        for (h = c->holds; h; h = h->next)
                if (digest_equal(&h->digest, digest)) {
                        h->count++;
                        return;
                }
        h = malloc(sizeof *h);
        if (!h) {
                c->hold_all = true;
                return;
        }
        *h = (struct cache_hold){ .next = c->holds, .digest = *digest, .count = 1 };
        c->holds = h;
}

void cache_layer_unhold(struct cache *c, const struct digest *digest) {
        LOCK_SCOPE(&c->lock);

        for (struct cache_hold **at = &c->holds; *at; at = &(*at)->next) {
                struct cache_hold *h = *at;

                if (!digest_equal(&h->digest, digest))
                        continue;
                if (--h->count == 0) {
                        *at = h->next;
                        free(h);
                }
                return;
        }
}

bool cache_is_held(const struct cache *c, const struct digest *digest) {
        for (const struct cache_hold *h = c->holds; h; h = h->next)
                if (digest_equal(&h->digest, digest))
                        return true;
        return c->hold_all;
}

/* 1: nobody can find it any more; 0: somebody wants it. */
static int forget(struct cache *c, const struct cache_layer *l, struct error *e) {
        LOCK_SCOPE(&c->lock);

        return cache_is_held(c, &l->digest) ? 0 : cache_index_layer_delete_unused(c->index, l, e);
}

/* The data goes in one step; a record without it is no layer any more, whatever happens then. */
static int remove_files(struct cache *c, const struct cache_layer *l, const char *hex, struct error *e) {
        _cleanup_close_ int fd = cache_layer_open(c, &l->digest, e);
        int r;

        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        r = cache_discard(c, fd, cache_layer_file(l->form), e);
        if (r < 0)
                return r;
        if (unlinkat(fd, cache_layer_record(l->form), 0) < 0 && errno != ENOENT)
                return error_errno(e, errno, "remove the record of layer %s", hex);
        if (unlinkat(c->layers_fd, hex, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != EEXIST &&
            errno != ENOENT)
                return error_errno(e, errno, "remove layer %s", hex);
        return 0;
}

static int collect_one(struct cache *c, const struct cache_layer *l, uint64_t *freed, struct error *e) {
        char hex[DIGEST_HEX_SIZE];
        int r;

        digest_hex(&l->digest, hex);
        CACHE_GUARD_SCOPE(c, CACHE_GUARD_LAYER, hex);
        r = forget(c, l, e);
        if (r <= 0)
                return r;
        r = remove_files(c, l, hex, e);
        if (r >= 0)
                *freed += l->bytes;
        return r;
}

int cache_collect_layers(struct cache *c, uint64_t *ret_freed, struct error *e) {
        _cleanup_free_ struct cache_layer *list = NULL;
        uint64_t freed = 0;
        size_t n;
        int r;

        r = cache_index_layers_unused(c->index, &list, &n, e);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = collect_one(c, &list[i], &freed, e);
        if (r < 0)
                return error_wrap(e, "remove unused layers");
        if (ret_freed)
                *ret_freed = freed;
        return 0;
}
