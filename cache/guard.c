/* SPDX-License-Identifier: Apache-2.0 */
/* guard: locks on names. There are as many as there are operations running, so a list is enough. */
#include "cache/store.h"

#include <string.h>

static bool is_taken(const struct cache *c, enum cache_guard_kind kind, const char *name) {
        for (const struct cache_guard *g = c->guards; g; g = g->next)
                if (g->kind == kind && strcmp(g->name, name) == 0)
                        return true;
        return false;
}

void cache_guard_enter(struct cache *c, struct cache_guard *g, enum cache_guard_kind kind, const char *name) {
        LOCK_SCOPE(&c->lock);

        while (is_taken(c, kind, name))
                pthread_cond_wait(&c->guard_left, &c->lock);
        *g = (struct cache_guard){ .next = c->guards, .kind = kind, .name = name };
        c->guards = g;
}

void cache_guard_leave(struct cache *c, struct cache_guard *g) {
        LOCK_SCOPE(&c->lock);
        struct cache_guard **at = &c->guards;

        while (*at != g)
                at = &(*at)->next;
        *at = g->next;
        pthread_cond_broadcast(&c->guard_left);
}
