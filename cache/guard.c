/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guard: locks on names, for what takes long on disk: c->lock is held for moments only. There are as many
 * guards as there are operations running, so a list is enough.
 *
 * A guard lives on the stack of the operation (CACHE_GUARD_SCOPE) and is on the list while the name is taken.
 * Whoever leaves wakes all that wait, and each looks again; nobody has a turn. Entering a name twice on one
 * thread waits for ever. The order in which kinds are entered stands in store.h.
 */
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
