/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer: a layer's way into the store.
 *
 *   begin    staging/<hex>.tree/            the engine writes "tree" in it (or "blob", decoded or not)
 *   seal     layers/sha256/<hex>/tree.json  the record, durable
 *            layers/sha256/<hex>/tree       one rename: now the layer exists
 *            index                          now it is found
 *
 * Threads may write the same layer at once, each in a staging directory of its own; seals of one digest wait
 * for each other, and the second finds the first one's and throws its own away. The first of them has the
 * directory of the plain name, and only that one may be left for later (kept.c).
 */
#include "cache/store.h"
#include "cache/tree.h"

#include "base/path.h"
#include "base/text.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

struct cache_staging {
        struct cache *cache;
        struct digest digest;
        enum cache_form form;
        int fd;      /* of its directory in staging/; the engine borrows it */
        char *name;  /* in staging/ */
        bool listed; /* in cache.stagings */
        struct cache_staging *next;
};

bool cache_layer_find(struct cache *c, const struct digest *digest, enum cache_form form,
                      struct cache_layer *ret) {
        return cache_index_layer_find(c->index, digest, form, ret);
}

/* ---- staging ---- */

static void staging_free(struct cache_staging *s) {
        if (s->listed) {
                LOCK_SCOPE(&s->cache->lock);
                struct cache_staging **at = &s->cache->stagings;

                while (*at != s)
                        at = &(*at)->next;
                *at = s->next;
        }
        if (s->fd >= 0)
                close(s->fd);
        free(s->name);
        free(s);
}
DEFINE_CLEANUP(struct cache_staging *, staging_free);

/* Nobody else has the name: from now on it is ours. */
static bool claim_name(struct cache_staging *s, const char *name) {
        LOCK_SCOPE(&s->cache->lock);

        for (const struct cache_staging *x = s->cache->stagings; x; x = x->next)
                if (strcmp(x->name, name) == 0)
                        return false;
        s->name = strdup(name);
        if (!s->name)
                return false;
        s->next = s->cache->stagings;
        s->cache->stagings = s;
        s->listed = true;
        return true;
}

/* By its first name the file system decides where the layer's files will lie: each time somewhere else. */
static int make_dir(struct cache *c, const char *name, struct error *e) {
        char first[32];
        uint64_t random;

        if (faccessat(c->staging_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return 0;
        if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
                random = time_monotonic_ns();
        snprintf(first, sizeof first, "new.%016" PRIx64, random);
        if (mkdirat(c->staging_fd, first, CACHE_DIR_MODE) < 0)
                return path_make_failed(c->staging_fd, errno, e, "make staging/%s in %s", name, c->root);
        if (renameat(c->staging_fd, first, c->staging_fd, name) == 0)
                return 0;
        int r = error_errno(e, errno, "make staging/%s in %s", name, c->root);
        (void)unlinkat(c->staging_fd, first, AT_REMOVEDIR);
        return r;
}

/* The directory of that name, new or as an earlier one has left it. */
static int open_claimed(const struct cache_staging *s, struct error *e) {
        struct cache *c = s->cache;
        int fd, r;

        cache_kept_take(c, s->name);
        r = cache_kept_drop_layer(c, &s->digest, s->form, s->name, "somebody else fetches it", e);
        if (r < 0)
                return r;
        r = make_dir(c, s->name, e);
        if (r < 0)
                return r;
        fd = openat(c->staging_fd, s->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? error_errno(e, errno, "open staging/%s", s->name) : fd;
}

int cache_staging_begin(struct cache_staging **ret, struct cache *c, const struct cache_layer *as,
                        struct error *e) {
        _cleanup_(staging_freep) struct cache_staging *s = malloc(sizeof *s);
        char hex[DIGEST_HEX_SIZE], name[CACHE_STAGING_NAME_MAX], second[sizeof name + sizeof ".too"];

        if (!s)
                return error_errno(e, ENOMEM, "stage a layer");
        *s = (struct cache_staging){ .cache = c, .digest = as->digest, .form = as->form, .fd = -1 };
        cache_staging_name(name, as);
        digest_hex(&as->digest, hex);
        CACHE_GUARD_SCOPE(c, CACHE_GUARD_LAYER, hex);
        snprintf(second, sizeof second, "%s.too", name);
        s->fd = claim_name(s, name) ? open_claimed(s, e) : cache_staging_make(&s->name, c, second, e);
        if (s->fd < 0)
                return s->fd;
        *ret = take_ptr(s);
        return 0;
}

int cache_staging_dir(const struct cache_staging *s) {
        return s->fd;
}

void cache_staging_abort(struct cache_staging *s) {
        if (!s)
                return;
        /* What cannot be removed now is removed by the next one of its name, or at the next start. */
        (void)path_remove_tree(s->cache->staging_fd, s->name, NULL);
        staging_free(s);
}

void cache_staging_leave(struct cache_staging *s) {
        char hex[DIGEST_HEX_SIZE];

        if (!s)
                return;
        digest_hex(&s->digest, hex);
        CACHE_GUARD_SCOPE(s->cache, CACHE_GUARD_LAYER, hex);
        if (s->listed && cache_kept_add(s->cache, s->name))
                staging_free(s);
        else
                cache_staging_abort(s);
}
DEFINE_CLEANUP(struct cache_staging *, cache_staging_abort);

/* ---- sealing ---- */

__attribute__((noinline)) static int sync_one(int tree_fd, const struct cache_tree_node *dir,
                                              struct error *e) {
        char path[PATH_MAX];
        _cleanup_close_ int fd = -1;

        if (cache_tree_path(dir, path) < 0)
                return error_set(e, ERROR_INVALID, "the path of \"%s\" is too long", dir->name);
        fd = path_open(tree_fd, path, O_RDONLY | O_DIRECTORY, 0, e);
        return fd < 0 ? fd : cache_sync_dir(fd, path, e);
}

static int sync_dirs(int tree_fd, const struct cache_tree_node *dir, struct error *e) {
        int r = sync_one(tree_fd, dir, e);

        for (const struct cache_tree_node *n = dir->first; n && r >= 0; n = n->next)
                if (S_ISDIR(n->mode))
                        r = sync_dirs(tree_fd, n, e);
        return r;
}

/* Directories are synced here; the engine has synced the files. */
static int finish_tree(int staging_fd, struct error *e) {
        _cleanup_(cache_tree_freep) struct cache_tree *t = NULL;
        _cleanup_close_ int fd = path_open(staging_fd, "tree", O_RDONLY | O_DIRECTORY, 0, e);
        int r;

        if (fd < 0)
                return fd;
        r = cache_tree_scan(&t, fd, 0, CACHE_TREE_DIRS, PATH_MAX, e);
        if (r < 0)
                return r;
        /* Who moves a directory without being root must be able to write it. */
        if ((t->top->mode & 0700) != 0700 && fchmod(fd, (t->top->mode & 0777) | 0700) < 0)
                return error_errno(e, errno, "set the mode of a layer");
        return sync_dirs(fd, t->top, e);
}

/* A check of the engine's word; its data are durable already. */
static int finish_blob(int staging_fd, const struct cache_layer *layer, struct error *e) {
        struct stat st;

        if (fstatat(staging_fd, "blob", &st, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(e, errno, "look at a staged blob");
        if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != layer->bytes ||
            (layer->form == CACHE_BLOB && layer->bytes != layer->size))
                return error_set(e, ERROR_INTERNAL, "a staged blob is not the file that was announced");
        return 0;
}

/* layers/sha256/<hex>, made if missing. */
static int make_layer_dir(struct cache *c, const char *hex, struct error *e) {
        int fd;

        if (mkdirat(c->layers_fd, hex, CACHE_DIR_MODE) < 0 && errno != EEXIST)
                return error_errno(e, errno, "make layer %s", hex);
        fd = openat(c->layers_fd, hex, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? error_errno(e, errno, "open layer %s", hex) : fd;
}

/* The record first, then the one rename that makes the layer exist. */
static int write_record(const struct cache_layer *layer, int layer_fd, struct error *e) {
        _cleanup_free_ char *record = NULL;
        int r = cache_record_layer_print(&record, layer, e);

        return r < 0 ? r
                     : path_write_file(layer_fd, cache_layer_record(layer->form), record, strlen(record),
                                       0600, e);
}

static int move_in(struct cache_staging *s, const struct cache_layer *layer, const char *hex,
                   struct error *e) {
        const char *file = cache_layer_file(s->form), *staged = s->form == CACHE_TREE ? "tree" : "blob";
        _cleanup_close_ int fd = make_layer_dir(s->cache, hex, e);
        int r;

        if (fd < 0)
                return fd;
        r = write_record(layer, fd, e);
        if (r < 0)
                return r;
        /* One that is there already is not in the index, so nobody uses it; who knows who made it. */
        r = cache_discard(s->cache, fd, file, e);
        if (r < 0)
                return r;
        if (renameat(s->fd, staged, fd, file) < 0)
                return error_errno(e, errno, "move layer %s into the store", hex);
        r = cache_sync_dir(fd, hex, e);
        return r < 0 ? r : cache_sync_dir(s->cache->layers_fd, "layers", e);
}

/* 1: it is here already. Whoever has brought it again without credentials has shown that it is nobody's
 * secret. */
static int find_sealed(struct cache *c, const struct cache_layer *layer, struct error *e) {
        _cleanup_close_ int fd = -1;
        struct cache_layer old;
        int r;

        if (!cache_layer_find(c, &layer->digest, layer->form, &old))
                return 0;
        if (!old.is_private || layer->is_private)
                return 1;
        fd = cache_layer_open(c, &layer->digest, e);
        if (fd < 0)
                return fd;
        r = write_record(layer, fd, e);
        if (r >= 0)
                r = cache_index_layer_put(c->index, layer, e);
        return r < 0 ? r : 1;
}

int cache_staging_seal(struct cache_staging *staging, const struct cache_layer *layer, struct error *e) {
        _cleanup_(cache_staging_abortp) struct cache_staging *s = staging;
        char hex[DIGEST_HEX_SIZE];
        struct cache_layer l = *layer;
        int r;

        l.digest = s->digest;
        l.form = s->form;
        digest_hex(&s->digest, hex);
        r = s->form == CACHE_TREE ? finish_tree(s->fd, e) : finish_blob(s->fd, &l, e);
        if (r < 0)
                return error_wrap(e, "seal layer %s", hex);
        CACHE_GUARD_SCOPE(s->cache, CACHE_GUARD_LAYER, hex);
        r = find_sealed(s->cache, &l, e);
        if (r == 0 && (r = move_in(s, &l, hex, e)) >= 0)
                r = cache_index_layer_put(s->cache->index, &l, e);
        if (r >= 0) /* if not, it goes when it is old */
                (void)cache_kept_drop_layer(s->cache, &s->digest, s->form, NULL, "the layer is here", NULL);
        return r < 0 ? error_wrap(e, "seal layer %s", hex) : 0;
}
