/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lease: publications. A lease says that a target shows a model, and keeps the model in the cache.
 *
 *   publish     lease (on disk) -> directory -> mount
 *   unpublish   mount away -> directory away -> lease away
 *
 * So whatever instant the daemon dies at, a mount has a lease or had one that the next start finds without
 * its mount. reconcile() then believes mountinfo: leases without their mount go, and mounts of our models
 * without a lease (the index was lost) get one whose volume is unknown, "", which every volume finds and may
 * unpublish. A mount that is taken away by hand while the daemon runs leaves a lease too, which is
 * overwritten by whoever publishes there next.
 *
 * Whose target is it? A volume that unpublishes where another volume has its lease has nothing there: that is
 * success (CSI wants it idempotent) and nothing is touched. The same without a lease and without a mount. A
 * mount that shows one of our models is ours also without a lease. Any other mount is somebody else's and
 * refused, also where a lease of ours is: it stays until the stranger has gone.
 */
#include "cache/store.h"

#include "base/log.h"
#include "base/mount.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define TARGET_MODE 0750
#define STACKED_MAX 1024 /* mounts on one target */

/* ---- targets ---- */

static bool is_clean(const char *path) {
        size_t len = strlen(path);

        if (path[0] != '/' || len < 2 || len >= PATH_MAX)
                return false;
        while (*path == '/') {
                size_t n = strcspn(++path, "/");

                if (n == 0 || n > NAME_MAX || (n == 1 && path[0] == '.') ||
                    (n == 2 && path[0] == '.' && path[1] == '.'))
                        return false;
                path += n;
        }
        return true;
}

static bool is_inside(const char *path, const char *dir) {
        size_t n = strlen(dir);

        return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static int check_target(const char *target, struct error *e) {
        if (!target || !is_clean(target))
                return error_set(e, ERROR_INVALID, "target path \"%s\" is not an absolute, clean path",
                                 target ? target : "");
        return 0;
}

/* @target with its directory resolved, as mountinfo has it. -ENOENT without a text if the directory is
 * missing. */
static int resolve(char **ret, const char *target, struct error *e) {
        const char *slash = strrchr(target, '/');
        _cleanup_free_ char *parent =
            slash > target ? strndup(target, (size_t)(slash - target)) : strdup("/");
        _cleanup_free_ char *real = parent ? realpath(parent, NULL) : NULL;
        char *path;

        if (!real)
                return errno == ENOENT ? -ENOENT : error_errno(e, errno, "resolve target %s", target);
        if (asprintf(&path, "%s%s", strcmp(real, "/") == 0 ? "" : real, slash) < 0)
                return error_errno(e, ENOMEM, "resolve target %s", target);
        *ret = path;
        return 0;
}

static int resolve_for_mount(char **ret, const struct cache *c, const char *target, struct error *e) {
        _cleanup_free_ char *real = NULL;
        int r = resolve(&real, target, e);

        if (r == -ENOENT)
                return error_set(e, ERROR_INVALID, "the directory of target %s does not exist", target);
        if (r < 0)
                return r;
        if (is_inside(real, c->root) || is_inside(c->root, real))
                return error_set(e, ERROR_INVALID, "target %s and the cache %s lie in each other", target,
                                 c->root);
        *ret = take_ptr(real);
        return 0;
}

/* What is at a target now. */
enum place { PLACE_MISSING, PLACE_DIRECTORY, PLACE_MOUNT };

static int look(enum place *ret, const char *target, struct error *e) {
        bool mounted;
        struct stat st;
        int r;

        if (lstat(target, &st) < 0) {
                if (errno != ENOENT)
                        return error_errno(e, errno, "look at target %s", target);
                *ret = PLACE_MISSING;
                return 0;
        }
        if (!S_ISDIR(st.st_mode))
                return error_set(e, ERROR_INVALID, "target %s is not a directory", target);
        r = mount_is_mounted(&mounted, target, e);
        if (r < 0)
                return r;
        *ret = mounted ? PLACE_MOUNT : PLACE_DIRECTORY;
        return 0;
}

/* ---- which model a mount shows ---- */

static bool shows(const struct cache *c, const char *target, const struct digest *key) {
        _cleanup_free_ char *tree = cache_model_path(c, key);
        struct stat a, b;

        return tree && stat(target, &a) == 0 && stat(tree, &b) == 0 && a.st_dev == b.st_dev &&
               a.st_ino == b.st_ino;
}

/* The key at the end of the mount's root, ".../models/sha256/<key>", wherever the cache lies in its file
 * system. */
static bool root_key(struct digest *ret, const struct mount_entry *m) {
        static const char dir[] = "/models/sha256/";
        const char *at = NULL;
        char hex[DIGEST_HEX_SIZE];

        for (const char *p = m->root; (p = strstr(p, dir)); p++)
                at = p + strlen(dir);
        if (!at || strnlen(at, sizeof hex) < sizeof hex - 1)
                return false;
        memcpy(hex, at, sizeof hex - 1);
        hex[sizeof hex - 1] = '\0';
        return digest_parse_hex(ret, hex) >= 0;
}

/* ---- publish ---- */

/* Makes the target if it is missing, and takes it away again if the mount fails. */
static int mount_model(struct cache *c, const struct digest *key, const char *target, enum place place,
                       struct error *e) {
        _cleanup_free_ char *tree = cache_model_path(c, key);
        int r;

        if (!tree)
                return error_errno(e, ENOMEM, "publish at %s", target);
        if (place == PLACE_MISSING && mkdir(target, TARGET_MODE) < 0 && errno != EEXIST)
                return error_errno(e, errno, "make target %s", target);
        r = mount_bind_readonly(tree, target, e);
        if (r < 0 && place == PLACE_MISSING)
                (void)rmdir(target);
        return r;
}

static int something_else(const char *target, struct error *e) {
        return error_set(e, ERROR_EXISTS, "something else is mounted at target %s", target);
}

/* May @volume_id have @key at this target, which has a lease already? A lease without a volume is
 * anybody's. */
static int check_lease(const struct cache_lease *l, const char *volume_id, const struct digest *key,
                       struct error *e) {
        if (!digest_equal(&l->key, key))
                return error_set(e, ERROR_EXISTS, "target %s shows another model", l->target);
        if (*l->volume_id && strcmp(l->volume_id, volume_id) != 0)
                return error_set(e, ERROR_EXISTS, "target %s belongs to volume %s", l->target, l->volume_id);
        return 0;
}

/* What is mounted at @target: 1 if it is this volume already, 0 if it is the model without a lease that says
 * so. A lease counts only with its mount. */
static int check_mounted(const struct cache *c, const struct cache_lease *l, const char *volume_id,
                         const struct digest *key, const char *target, struct error *e) {
        int r;

        if (!l || !shows(c, target, &l->key))
                return shows(c, target, key) ? 0 : something_else(target, e);
        r = check_lease(l, volume_id, key, e);
        return r < 0 ? r : strcmp(l->volume_id, volume_id) == 0;
}

/* The target's guard is held. */
static int publish(struct cache *c, const char *volume_id, const struct digest *key, const char *made_for,
                   const char *target, struct error *e) {
        _cleanup_(cache_lease_freep) struct cache_lease *lease = NULL;
        _cleanup_(cache_model_freep) struct cache_model *model = NULL;
        char hex[DIGEST_HEX_SIZE];
        enum place place;
        int r;

        digest_hex(key, hex);
        CACHE_GUARD_SCOPE(c, CACHE_GUARD_MODEL, hex);
        r = cache_model_find(c, key, &model);
        if (r < 0)
                return error_set(e, ERROR_NOT_FOUND, "model %s is not here", hex);
        r = cache_index_lease_find(c->index, target, &lease);
        if (r < 0 && r != -ENOENT)
                return error_errno(e, r, "find the lease of %s", target);
        r = look(&place, target, e);
        if (r >= 0 && place == PLACE_MOUNT)
                r = check_mounted(c, lease, volume_id, key, target, e);
        if (r != 0)
                return r < 0 ? r : 0;
        r = cache_index_lease_put(c->index, volume_id, target, key, made_for, time_now_ms(), e);
        if (r < 0 || place == PLACE_MOUNT)
                return r;
        r = mount_model(c, key, target, place, e);
        if (r < 0)
                (void)cache_index_lease_delete(c->index, target, NULL);
        return r;
}

int cache_publish(struct cache *c, const char *volume_id, const struct digest *key, const char *made_for,
                  const char *target, struct error *e) {
        _cleanup_free_ char *real = NULL;
        int r;

        if ((r = check_target(target, e)) < 0 || (r = resolve_for_mount(&real, c, target, e)) < 0)
                return r;
        CACHE_GUARD_SCOPE(c, CACHE_GUARD_TARGET, target);
        return publish(c, volume_id, key, made_for, target, e);
}

/* ---- unpublish ---- */

static bool is_read_only(const char *target) {
        struct statvfs st;

        return statvfs(target, &st) == 0 && (st.f_flag & ST_RDONLY);
}

/*
 * Whether the topmost mount at @target is of a model. The lease (may be NULL) is believed without its tree,
 * which somebody may have deleted by hand. A model of another cache counts as well, known by its path and by
 * being read-only: an agent that was installed again with another cache.root takes down what the old one has
 * mounted.
 */
static int is_ours(bool *ret, const struct cache *c, const char *target, const struct cache_lease *lease,
                   struct error *e) {
        struct mount_table table = { 0 };
        const struct mount_entry *m;
        _cleanup_free_ char *real = NULL;
        struct digest key;
        int r;

        if (lease && shows(c, target, &lease->key)) {
                *ret = true;
                return 0;
        }
        if ((r = resolve(&real, target, e)) < 0 || (r = mount_table_read(&table, e)) < 0)
                return r;
        m = mount_table_find(&table, real);
        *ret = m && root_key(&key, m) &&
               ((lease && digest_equal(&key, &lease->key)) || shows(c, target, &key) || is_read_only(target));
        mount_table_free(&table);
        return 0;
}

/* All that are stacked: a crash may leave more than one. */
static int take_mounts(struct cache *c, const char *target, const struct cache_lease *lease,
                       struct error *e) {
        for (unsigned i = 0; i < STACKED_MAX; i++) {
                enum place place;
                bool ours;
                int r;

                r = look(&place, target, e);
                if (r < 0 || place != PLACE_MOUNT)
                        return r;
                r = is_ours(&ours, c, target, lease, e);
                if (r < 0)
                        return r;
                if (!ours)
                        return error_set(e, ERROR_PRECONDITION, "what is mounted at %s is not a model",
                                         target);
                r = mount_detach(target, e);
                if (r < 0)
                        return r;
        }
        return error_set(e, ERROR_INTERNAL, "more than %d mounts are stacked on %s", STACKED_MAX, target);
}

static int take_down(struct cache *c, const char *target, const struct cache_lease *lease, bool keep_target,
                     struct error *e) {
        int r = take_mounts(c, target, lease, e);

        if (r < 0)
                return r;
        /* After a reboot there is a directory without a lease. What lies in it is not ours. */
        if (!keep_target && rmdir(target) < 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EEXIST)
                return error_errno(e, errno, "remove target %s", target);
        return 0;
}

int cache_unpublish(struct cache *c, const char *volume_id, const char *target, bool keep_target,
                    struct error *e) {
        _cleanup_(cache_lease_freep) struct cache_lease *lease = NULL;
        int r;

        r = check_target(target, e);
        if (r < 0)
                return r;
        CACHE_GUARD_SCOPE(c, CACHE_GUARD_TARGET, target);
        r = cache_index_lease_find(c->index, target, &lease);
        if (r < 0 && r != -ENOENT)
                return error_errno(e, r, "find the lease of %s", target);
        if (lease && volume_id && *lease->volume_id && strcmp(lease->volume_id, volume_id) != 0)
                return 0;
        r = take_down(c, target, lease, keep_target, e);
        if (r < 0 || !lease)
                return r;
        return cache_index_lease_delete(c->index, target, e);
}

int cache_lease_find(struct cache *c, const char *volume_id, const char *target, struct cache_lease **ret) {
        _cleanup_(cache_lease_freep) struct cache_lease *l = NULL;
        int r;

        r = cache_index_lease_find(c->index, target, &l);
        if (r < 0)
                return r;
        if (volume_id && *l->volume_id && strcmp(l->volume_id, volume_id) != 0)
                return -ENOENT;
        *ret = take_ptr(l);
        return 0;
}

int cache_lease_is_mounted(bool *ret, struct cache *c, const struct cache_lease *l, struct error *e) {
        enum place place;
        int r;

        r = look(&place, l->target, e);
        if (r < 0)
                return r;
        if (place == PLACE_MOUNT && !shows(c, l->target, &l->key))
                return something_else(l->target, e);
        *ret = place == PLACE_MOUNT;
        return 0;
}

unsigned cache_lease_count(struct cache *c) {
        struct cache_index_sums sums;

        return cache_index_sums(c->index, &sums, NULL) < 0 ? 0 : (unsigned)sums.leases;
}

/* ---- reconcile ---- */

static bool is_mounted(const struct mount_table *table, const struct cache_lease *l) {
        _cleanup_free_ char *real = NULL;
        const struct mount_entry *m;
        struct digest key;

        if (resolve(&real, l->target, NULL) < 0)
                return false;
        m = mount_table_find(table, real);
        return m && root_key(&key, m) && digest_equal(&key, &l->key);
}

/* Whether both paths name one entry of one directory; a directory may be reachable by several mounts. */
static bool is_same_place(const char *a, const char *b) {
        const char *slash_a = strrchr(a, '/'), *slash_b = strrchr(b, '/');
        _cleanup_free_ char *dir_a = strndup(a, (size_t)(slash_a - a) + 1);
        _cleanup_free_ char *dir_b = strndup(b, (size_t)(slash_b - b) + 1);
        struct stat sa, sb;

        return strcmp(slash_a, slash_b) == 0 && dir_a && dir_b && stat(dir_a, &sa) == 0 &&
               stat(dir_b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* kubelet binds a volume's folder, maybe its root, once more for a subPath. The volume has its own lease, and
 * nobody would ever unpublish this one. */
static bool is_subpath(const struct mount_entry *m) {
        return strstr(m->target, "/volume-subpaths/") != NULL;
}

/* A mount of ours that no lease knows gets one for nobody in particular. */
static int adopt(struct cache *c, const struct mount_entry *m, struct error *e) {
        struct cache_lease **list;
        struct digest key;
        bool known = false;
        size_t n;
        int r;

        if (!root_key(&key, m) || is_subpath(m) || !shows(c, m->target, &key))
                return 0;
        r = cache_index_lease_list(c->index, &list, &n, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n && !known; i++)
                known = is_same_place(list[i]->target, m->target);
        cache_lease_list_free(list, n);
        if (known)
                return 0;
        log_warning("%s shows a model and had no lease; it gets one", m->target);
        return cache_index_lease_put(c->index, "", m->target, &key, "", time_now_ms(), e);
}

/* Leases whose mount has gone: after a reboot, all of them. */
static int drop_stale(struct cache *c, const struct mount_table *table, struct error *e) {
        struct cache_lease **list;
        size_t n;
        int r;

        r = cache_index_lease_list(c->index, &list, &n, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n && r >= 0; i++)
                if (!is_mounted(table, list[i]))
                        r = cache_index_lease_delete(c->index, list[i]->target, e);
        cache_lease_list_free(list, n);
        return r;
}

int cache_leases_reconcile(struct cache *c, struct error *e) {
        struct mount_table table = { 0 };
        int r;

        r = mount_table_read(&table, e);
        if (r < 0)
                return error_wrap(e, "compare leases with what is mounted");
        r = drop_stale(c, &table, e);
        for (size_t i = 0; r >= 0 && i < table.n; i++)
                r = adopt(c, &table.entries[i], e);
        mount_table_free(&table);
        return r < 0 ? error_wrap(e, "compare leases with what is mounted") : 0;
}
