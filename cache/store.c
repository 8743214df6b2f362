/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: opening and closing the cache, its lock, its directories, and the moves that make things appear and
 * vanish.
 *
 * A thing appears by one rename out of staging/ and vanishes by one rename into it; what is in staging/ at a
 * start is removed, or waits to be gone on with and is no thing yet. So whatever instant the daemon is killed
 * at, a thing is here as a whole or not at all.
 */
#include "cache/store.h"

#include "base/metrics.h"
#include "base/path.h"
#include "base/text.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define NOT_THERE ".not-there"

/* ---- names ---- */

enum cache_form cache_form_of(const struct plan_blob *b) {
        if (b->packing == PLAN_TAR)
                return CACHE_TREE;
        return b->codec == PLAN_CODEC_NONE ? CACHE_BLOB : CACHE_CONTENT;
}

const char *cache_layer_file(enum cache_form form) {
        static const char *const names[_CACHE_FORM_MAX] = {
                [CACHE_BLOB] = "blob",
                [CACHE_CONTENT] = "content",
                [CACHE_TREE] = "tree",
        };

        return names[form];
}

const char *cache_layer_record(enum cache_form form) {
        static const char *const names[_CACHE_FORM_MAX] = {
                [CACHE_BLOB] = "blob.json",
                [CACHE_CONTENT] = "content.json",
                [CACHE_TREE] = "tree.json",
        };

        return names[form];
}

int cache_layer_open(struct cache *c, const struct digest *digest, struct error *e) {
        char hex[DIGEST_HEX_SIZE];
        int fd =
            openat(c->layers_fd, digest_hex(digest, hex), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd >= 0)
                return fd;
        return errno == ENOENT ? -ENOENT : error_errno(e, errno, "open layer %s", hex);
}

void cache_model_record_name(char name[static DIGEST_HEX_SIZE + 5], const struct digest *key) {
        char hex[DIGEST_HEX_SIZE];

        snprintf(name, DIGEST_HEX_SIZE + 5, "%s.json", digest_hex(key, hex));
}

char *cache_model_path(const struct cache *c, const struct digest *key) {
        char hex[DIGEST_HEX_SIZE], *path;

        return asprintf(&path, "%s/models/sha256/%s", c->root, digest_hex(key, hex)) < 0 ? NULL : path;
}

/* ---- moves ---- */

int cache_sync_dir(int fd, const char *what, struct error *e) {
        return fsync(fd) < 0 ? error_errno(e, errno, "sync %s", what) : 0;
}

int cache_staging_make(char **ret_name, struct cache *c, const char *name, struct error *e) {
        _cleanup_free_ char *unique = NULL;
        uint64_t serial = 0;
        int fd;

        /* The plain name, which people recognise, unless somebody is writing the same. */
        while (asprintf(&unique, serial ? "%s.%llu" : "%s", name, (unsigned long long)serial) >= 0) {
                if (mkdirat(c->staging_fd, unique, CACHE_DIR_MODE) == 0) {
                        fd = openat(c->staging_fd, unique, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                        if (fd < 0)
                                return error_errno(e, errno, "open staging/%s", unique);
                        *ret_name = take_ptr(unique);
                        return fd;
                }
                if (errno != EEXIST)
                        return path_make_failed(c->staging_fd, errno, e, "make staging/%s in %s", unique,
                                                c->root);
                free(take_ptr(unique));
                LOCK_SCOPE(&c->lock);
                serial = ++c->serial;
        }
        unique = NULL; /* undefined after a failed asprintf() */
        return error_errno(e, ENOMEM, "make staging/%s", name);
}

int cache_discard(struct cache *c, int dir_fd, const char *name, struct error *e) {
        char gone[sizeof "gone." + 20];

        pthread_mutex_lock(&c->lock);
        snprintf(gone, sizeof gone, "gone.%llu", (unsigned long long)++c->serial);
        pthread_mutex_unlock(&c->lock);
        if (renameat(dir_fd, name, c->staging_fd, gone) < 0)
                return errno == ENOENT ? 0 : error_errno(e, errno, "take %s out of the cache", name);
        return path_remove_tree(c->staging_fd, gone, e);
}

/* ---- life cycle ---- */

/* Held until cache_close(); a process that dies loses it. */
static int lock_root(struct cache *c, struct error *e) {
        c->lock_fd = openat(c->root_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (c->lock_fd < 0)
                return error_errno(e, errno, "open %s/lock", c->root);
        if (flock(c->lock_fd, LOCK_EX | LOCK_NB) == 0)
                return 0;
        if (errno == EWOULDBLOCK)
                return error_set(e, ERROR_PRECONDITION,
                                 "the cache %s is used by another process; stop it or set cache.root",
                                 c->root);
        return error_errno(e, errno, "lock %s/lock", c->root);
}

/*
 * A thing gets to its place by a rename. That a mount is in the way, of another disk or of a part of this
 * one, has to be found before the first model is downloaded: the kernel looks at the mounts before it looks
 * for the name, which is not there.
 */
static int check_same_disk(const struct cache *c, int fd, const char *name, struct error *e) {
        struct stat root, dir;

        if (fstat(c->root_fd, &root) < 0 || fstat(fd, &dir) < 0)
                return error_errno(e, errno, "look at %s/%s", c->root, name);
        if (root.st_dev != dir.st_dev ||
            (renameat(c->root_fd, NOT_THERE, fd, NOT_THERE) < 0 && errno == EXDEV))
                return error_set(
                    e, ERROR_PRECONDITION,
                    "%s/%s is not on the file system of %s, and all of a cache has to be on one: unmount "
                    "it, or let cache.root be a directory on the disk that is meant",
                    c->root, name, c->root);
        return 0;
}

/* The directories that everything is in; made if they are missing. */
/*
 * ext4 places the directories of such a one far from each other, and files near their directory. Otherwise
 * the inodes of all layers come from the same few groups, where those of a layer that has just been removed
 * are of no use for minutes and are passed over one by one for each new file. Other file systems have no such
 * thing.
 */
static void spread_out(int fd) {
        int flags;

        if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0 || (flags & FS_TOPDIR_FL))
                return;
        flags |= FS_TOPDIR_FL;
        (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

static int open_dirs(struct cache *c, struct error *e) {
        const struct {
                const char *name;
                int *fd;
        } dirs[] = {
                { "layers/sha256", &c->layers_fd },
                { "models/sha256", &c->models_fd },
                { "staging", &c->staging_fd },
        };

        for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
                *dirs[i].fd = path_make_dirs(c->root_fd, dirs[i].name, CACHE_DIR_MODE, false, e);
                if (*dirs[i].fd < 0)
                        return error_wrap(e, "cache %s", c->root);
                int r = check_same_disk(c, *dirs[i].fd, dirs[i].name, e);
                if (r < 0)
                        return r;
        }
        spread_out(c->staging_fd);
        return cache_sync_dir(c->root_fd, c->root, e);
}

/* Symbolic links in cache.root are followed here, once: c->root is the real path. */
static int open_root(struct cache *c, struct error *e) {
        const char *root = c->settings->cache.root;
        int r;

        r = path_make_dirs_absolute(root, CACHE_DIR_MODE, e);
        if (r < 0)
                return error_wrap(e, "make the cache");
        c->root = realpath(root, NULL);
        if (!c->root)
                return error_errno(e, errno, "open the cache %s", root);
        c->root_fd = open(c->root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (c->root_fd < 0)
                return error_errno(e, errno, "open the cache %s", c->root);
        r = lock_root(c, e);
        return r < 0 ? r : open_dirs(c, e);
}

/* Before each scrape, on the HTTP thread. */
static void collect_metrics(void *userdata) {
        struct cache *c = userdata;
        struct cache_space space;

        metric_set(VOLUMES, cache_lease_count(c));
        if (cache_space(c, &space, NULL) < 0)
                return;
        metric_set(CACHE_MODELS, (double)space.models);
        metric_set(CACHE_LAYERS, (double)space.layers);
        metric_set(CACHE_USED_BYTES, (double)space.used);
        metric_set(CACHE_CAPACITY_BYTES, (double)space.capacity);
        metric_set(CACHE_RESERVED_BYTES, (double)space.reserved);
        metric_set(CACHE_PARTIAL_BYTES, (double)space.partial);
}

int cache_open(struct cache **ret, const struct settings *s, struct error *e) {
        _cleanup_(cache_closep) struct cache *c = calloc(1, sizeof *c);
        _cleanup_free_ char *index = NULL;
        int r;

        if (!c)
                return error_errno(e, ENOMEM, "open the cache");
        *c = (struct cache){ .settings = s,
                             .root_fd = -1,
                             .lock_fd = -1,
                             .layers_fd = -1,
                             .models_fd = -1,
                             .staging_fd = -1 };
        pthread_mutex_init(&c->promises.lock, NULL);
        pthread_mutex_init(&c->lock, NULL);
        pthread_cond_init(&c->guard_left, NULL);
        r = open_root(c, e);
        if (r < 0)
                return r;
        if (asprintf(&index, "%s/index.db", c->root) < 0) {
                index = NULL;
                return error_errno(e, ENOMEM, "open the cache");
        }
        r = cache_index_open(&c->index, index, e);
        if (r < 0)
                return r;
        r = cache_recover(c, e);
        if (r == -ENOSPC) /* the index has given its reserve away by now */
                r = cache_recover(c, e);
        if (r < 0 || (r = cache_leases_reconcile(c, e)) < 0)
                return r;
        metrics_on_scrape(collect_metrics, c);
        *ret = take_ptr(c);
        return 0;
}

void cache_close(struct cache *c) {
        const int fds[] = { c ? c->staging_fd : -1, c ? c->models_fd : -1, c ? c->layers_fd : -1,
                            c ? c->lock_fd : -1, c ? c->root_fd : -1 };

        if (!c)
                return;
        metrics_forget_scrape(c);
        cache_index_close(c->index);
        cache_kept_free_list(c);
        for (struct cache_hold *h = c->holds, *next; h; h = next) {
                next = h->next;
                free(h);
        }
        for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
                if (fds[i] >= 0)
                        close(fds[i]);
        pthread_cond_destroy(&c->guard_left);
        pthread_mutex_destroy(&c->lock);
        pthread_mutex_destroy(&c->promises.lock);
        free(c->root);
        free(c);
}

/* ---- tags ---- */

int cache_tag_get(struct cache *c, const char *reference, struct digest *ret, int64_t *ret_resolved_ms) {
        return cache_index_tag_get(c->index, reference, ret, ret_resolved_ms);
}

int cache_tag_put(struct cache *c, const char *reference, const struct digest *digest, struct error *e) {
        int r = cache_index_tag_put(c->index, reference, digest, time_now_ms(), e);

        if (r >= 0)
                cache_tell_change(c);
        return r;
}

void cache_on_change(struct cache *c, void (*changed)(void *userdata), void *userdata) {
        c->changed = changed;
        c->changed_userdata = userdata;
}

void cache_tell_change(const struct cache *c) {
        if (c->changed)
                c->changed(c->changed_userdata);
}
