/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: what the files of this room share: the cache itself, its directories, and locks by name.
 *
 * Locks. c->lock guards the memory below it. The index has its own, which may wait for the disk and is always
 * taken after it; that happens in one place, where the collection forgets a layer (collect.c). So the
 * engine's reactor takes neither: what it calls, cache_reservation_consume(), takes promises.lock, and
 * whoever has that one waits for nothing. What takes long on disk is done under a guard, which is a lock on a
 * name: a target, a model, a layer, or the making of promises. Who needs several takes them in that order,
 * and one of each at most.
 */
#pragma once

#include "cache/cache.h"
#include "cache/index.h"

#include <limits.h>
#include <pthread.h>

#define CACHE_DIR_MODE 0700

struct cache_hold { /* a layer that must not be collected */
        struct cache_hold *next;
        struct digest digest;
        unsigned count; /* of holders; never 0 */
};

struct cache_guard {
        struct cache_guard *next;
        enum cache_guard_kind {
                CACHE_GUARD_TARGET,
                CACHE_GUARD_MODEL,
                CACHE_GUARD_LAYER,
                CACHE_GUARD_SPACE, /* its only name is "" */
        } kind;
        const char *name; /* the holder's */
};

struct cache_promises {
        pthread_mutex_t lock; /* guards what follows; nothing else is locked and no I/O done under it */
        uint64_t reserved;    /* bytes promised and not written */
        uint64_t written;     /* bytes written by reservations that still live: not all in the index yet */
};

/* A layer's hex, its form, maybe an origin's hex. */
#define CACHE_STAGING_NAME_MAX (DIGEST_HEX_SIZE + sizeof "content" + DIGEST_HEX_SIZE)

struct cache_kept;

struct cache {
        const struct settings *settings;
        char *root;           /* absolute, without symbolic links */
        int root_fd, lock_fd; /* the lock is the file "lock" */
        int layers_fd, models_fd, staging_fd;
        struct cache_index *index;
        struct cache_promises promises;
        void (*changed)(void *userdata); /* cache_on_change(); NULL: nobody wants to know */
        void *changed_userdata;

        pthread_mutex_t lock; /* guards what follows */
        pthread_cond_t guard_left;
        struct cache_guard *guards;
        struct cache_hold *holds;
        struct cache_kept *kept;        /* unfinished layers that nobody is bringing (kept.c) */
        struct cache_staging *stagings; /* that have the name which people recognise, and may be kept */
        bool hold_all;                  /* there was no memory to remember a hold: collect nothing any more */
        uint64_t serial;                /* makes names in staging/ unique */
};

/* ---- guards (guard.c) ---- */

/* Waits until nobody has @name; it must stay as long as the guard. */
void cache_guard_enter(struct cache *c, struct cache_guard *g, enum cache_guard_kind kind, const char *name);
void cache_guard_leave(struct cache *c, struct cache_guard *g);

/* A guard to the end of the block. */
struct cache_guard_scope {
        struct cache *cache;
        struct cache_guard guard;
};
static inline void cache_guard_scope_end(struct cache_guard_scope *s) {
        cache_guard_leave(s->cache, &s->guard);
}
#define CACHE_GUARD_SCOPE(c, kind, name) \
        __attribute__((cleanup(cache_guard_scope_end))) struct cache_guard_scope guard_scope_ = { .cache = \
                                                                                                      (c) }; \
        cache_guard_enter((c), &guard_scope_.guard, (kind), (name))

/* ---- names on disk (store.c) ---- */

void cache_tell_change(const struct cache *c); /* with nothing locked */

const char *cache_layer_file(enum cache_form form);   /* "blob", "content", "tree" */
const char *cache_layer_record(enum cache_form form); /* "blob.json", … */
/* The directory of @digest below layers/; -ENOENT without a text if there is none. */
int cache_layer_open(struct cache *c, const struct digest *digest, struct error *e);
/* "<hex of the key>.json" */
void cache_model_record_name(char name[static DIGEST_HEX_SIZE + 5], const struct digest *key);
char *cache_model_path(const struct cache *c, const struct digest *key); /* NULL: out of memory */

/* Makes a directory in staging/ whose name begins with @name, and opens it. *ret_name is to be freed. */
int cache_staging_make(char **ret_name, struct cache *c, const char *name, struct error *e);
/* Makes @name below @dir_fd disappear in one step, then removes what it was. Missing is success. */
int cache_discard(struct cache *c, int dir_fd, const char *name, struct error *e);
/* fsync() of a directory; @what names it in the error. */
int cache_sync_dir(int fd, const char *what, struct error *e);

/* ---- at start (recover.c, lease.c) ---- */

/* Puts the disk in order and the index in line with it, see recover.c. Nobody else uses the cache yet. */
int cache_recover(struct cache *c, struct error *e);
/* Of a model that is not in the index: 1 if its whole tree is on disk all the same, 0 if not.
 * ERROR_PRECONDITION: a later version of this program made it; it is to be left alone. */
int cache_model_unlisted(struct cache *c, const struct digest *key, struct error *e);
/* Puts the leases in line with mountinfo, see lease.c. Likewise. */
int cache_leases_reconcile(struct cache *c, struct error *e);

/* ---- unfinished layers (kept.c) ---- */

void cache_staging_name(char name[static CACHE_STAGING_NAME_MAX], const struct cache_layer *l);
/* staging/@name, which nobody writes to any more, is kept. False: it is not worth it, remove it. */
bool cache_kept_add(struct cache *c, const char *name);
/* The layer's guard is the caller's, who writes to it from now on. There need not be one. */
void cache_kept_take(struct cache *c, const char *name);
/* Bytes of those whose layers are held by a job, or are not. */
uint64_t cache_kept_bytes(struct cache *c, bool held);
/* All of this layer, but the one called @but (may be NULL). The layer's guard is the caller's. */
int cache_kept_drop_layer(struct cache *c, const struct digest *digest, enum cache_form form, const char *but,
                          const char *why, struct error *e);
/* 1: one is gone; 0: there is none, or with @held false none that no job holds. */
int cache_kept_drop_oldest(struct cache *c, bool held, struct error *e);
void cache_kept_expire(struct cache *c); /* those that are too old; what cannot be removed is logged */
void cache_kept_free_list(struct cache *c);

/* ---- collection (collect.c) ---- */

bool cache_is_held(const struct cache *c, const struct digest *digest); /* c->lock held */

/* Removes layers that no model uses and nobody holds; *ret_freed (may be NULL) in bytes. */
int cache_collect_layers(struct cache *c, uint64_t *ret_freed, struct error *e);
