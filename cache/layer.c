/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer: a layer's way into the store.
 *
 *   begin    staging/<hex>.tree/            the engine writes "tree" in it (or "blob", decoded or not)
 *   seal     layers/sha256/<hex>/tree.json  the record, durable
 *            layers/sha256/<hex>/tree       one rename: now the layer exists
 *            index                          now it is found
 *
 * Threads may write the same layer at once, each in a staging directory of its own; seals of one digest
 * wait for each other, and the second finds the first one's and throws its own away.
 */
#include "cache/store.h"
#include "cache/tree.h"

#include "base/path.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct cache_staging {
        struct cache *cache;
        struct digest digest;
        enum cache_form form;
        int fd;     /* of its directory in staging/; the engine borrows it */
        char *name; /* in staging/ */
};

bool cache_layer_find(struct cache *c, const struct digest *digest, enum cache_form form,
                      struct cache_layer *ret) {
        return cache_index_layer_find(c->index, digest, form, ret);
}

/* ---- staging ---- */

static void staging_free(struct cache_staging *s) {
        if (s->fd >= 0)
                close(s->fd);
        free(s->name);
        free(s);
}
DEFINE_CLEANUP(struct cache_staging *, staging_free);

int cache_staging_begin(struct cache_staging **ret, struct cache *c, const struct digest *digest,
                        enum cache_form form, struct error *e) {
        _cleanup_(staging_freep) struct cache_staging *s = malloc(sizeof *s);
        char hex[DIGEST_HEX_SIZE], name[DIGEST_HEX_SIZE + 8];

        if (!s)
                return error_errno(e, ENOMEM, "stage a layer");
        *s = (struct cache_staging){ .cache = c, .digest = *digest, .form = form, .fd = -1 };
        snprintf(name, sizeof name, "%s.%s", digest_hex(digest, hex), cache_layer_file(form));
        s->fd = cache_staging_make(&s->name, c, name, e);
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
        /* What cannot be removed now is removed at the next start. */
        (void)path_remove_tree(s->cache->staging_fd, s->name, NULL);
        staging_free(s);
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
        r = cache_tree_scan(&t, fd, 0, CACHE_TREE_PLAIN, PATH_MAX, e);
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
static int move_in(struct cache_staging *s, const struct cache_layer *layer, const char *hex,
                   struct error *e) {
        const char *file = cache_layer_file(s->form), *staged = s->form == CACHE_TREE ? "tree" : "blob";
        _cleanup_free_ char *record = NULL;
        _cleanup_close_ int fd = -1;
        int r;

        r = cache_record_layer_print(&record, layer, e);
        if (r < 0)
                return r;
        fd = make_layer_dir(s->cache, hex, e);
        if (fd < 0)
                return fd;
        r = path_write_file(fd, cache_layer_record(s->form), record, strlen(record), 0600, e);
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
        if (cache_layer_find(s->cache, &s->digest, s->form, NULL))
                return 0;
        if (move_in(s, &l, hex, e) < 0 || cache_index_layer_put(s->cache->index, &l, e) < 0)
                return error_wrap(e, "seal layer %s", hex);
        return 0;
}
