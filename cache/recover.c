/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recover: what a cache looks like at start, whatever instant it was left at.
 *
 * staging/ is emptied, but for unfinished layers that somebody may go on with (kept.c). A layer or model is
 * what has both its final name and a record that describes it. What has goes into the index, and the index
 * forgets what has not. Layers that no model uses stay: they are verified, and a job that a crash has cut off
 * will want them.
 *
 *   its record               a layer     a model      a model that a mount or a lease shows
 *   is sound                 listed      listed       listed
 *   is of a later version    left        left         left
 *   is broken or missing     removed     removed      record made again from the index, and listed; or left
 *   cannot be read (EIO, no memory)      the start fails
 *
 * "Left" is there and not listed: pods that see it go on, others do not get it, unless a build takes it
 * (build.c). A broken record that is replaced is kept as <key>.json.bad. All else is removed.
 */
#include "cache/store.h"

#include "base/log.h"
#include "base/mount.h"
#include "base/path.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define HEX_LEN (DIGEST_HEX_SIZE - 1)

/* Calls @visit for the names in @dir_fd, but "." and "..". It may remove the name that it is called with. */
static int for_names(int dir_fd, int (*visit)(struct cache *c, int dir_fd, const char *name, struct error *e),
                     struct cache *c, struct error *e) {
        _cleanup_closedir_ DIR *d = NULL;
        _cleanup_close_ int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const struct dirent *entry;
        int r = 0;

        if (fd < 0 || !(d = fdopendir(fd)))
                return error_errno(e, errno, "read a directory of the cache");
        (void)take_fd(fd);
        while (r >= 0 && (errno = 0, entry = readdir(d)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        r = visit(c, dir_fd, entry->d_name, e);
        if (r >= 0 && errno != 0)
                return error_errno(e, errno, "read a directory of the cache");
        return r;
}

static int recover_staging(struct cache *c, int dir_fd, const char *name, struct error *e) {
        return cache_kept_add(c, name) ? 0 : path_remove_tree(dir_fd, name, e);
}

static bool exists(int dir_fd, const char *name, mode_t type) {
        struct stat st;

        return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & S_IFMT) == type;
}

/* Whether a failure to read a record means that the record is no good, and not that we are out of something
 * or that the disk does not answer. */
static bool is_broken(int r) {
        return r == -ENOENT || r == -EINVAL;
}

static bool is_later(int r) {
        return r == -EOPNOTSUPP;
}

/* ---- layers ---- */

static int read_layer(struct cache_layer *ret, int dir_fd, const struct digest *digest, enum cache_form form,
                      struct error *e) {
        _cleanup_free_ char *text = NULL;
        struct cache_layer l;
        struct stat st;
        size_t len;
        int r;

        if (fstatat(dir_fd, cache_layer_file(form), &st, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(e, errno, "look at a layer");
        if ((r = path_read_file(&text, &len, dir_fd, cache_layer_record(form), RECORD_MAX, e)) < 0 ||
            (r = cache_record_layer_parse(&l, text, len, e)) < 0)
                return r;
        if (l.form != form || !digest_equal(&l.digest, digest) ||
            (form == CACHE_TREE ? !S_ISDIR(st.st_mode)
                                : !S_ISREG(st.st_mode) || (uint64_t)st.st_size != l.bytes))
                return error_set(e, ERROR_INVALID, "the record does not describe what is beside it");
        *ret = l;
        return 0;
}

/* A layer in one of its forms: into the index, left, or removed. */
static int recover_form(struct cache *c, int dir_fd, const struct digest *digest, enum cache_form form,
                        struct error *e) {
        char text[DIGEST_TEXT_SIZE];
        struct cache_layer l;
        struct error why;
        int r;

        r = read_layer(&l, dir_fd, digest, form, &why);
        if (r >= 0)
                return cache_index_repair_layer(c->index, &l, e);
        if (is_later(r)) {
                log_warning("layer %s is left alone and not used: %s", digest_format(digest, text), why.text);
                return 0;
        }
        if (!is_broken(r))
                return error_copy(e, &why);
        if (exists(dir_fd, cache_layer_file(form), form == CACHE_TREE ? S_IFDIR : S_IFREG))
                log_warning("layer %s is removed from the cache: %s", digest_format(digest, text), why.text);
        r = path_remove_tree(dir_fd, cache_layer_file(form), e);
        return r < 0 ? r : path_remove_tree(dir_fd, cache_layer_record(form), e);
}

/* What is beside a layer and is neither it nor its record. */
static int remove_stray(struct cache *c, int dir_fd, const char *name, struct error *e) {
        (void)c;
        for (enum cache_form form = 0; form < _CACHE_FORM_MAX; form++)
                if (strcmp(name, cache_layer_file(form)) == 0 || strcmp(name, cache_layer_record(form)) == 0)
                        return 0;
        return path_remove_tree(dir_fd, name, e);
}

static int recover_layer(struct cache *c, int dir_fd, const char *name, struct error *e) {
        _cleanup_close_ int fd = -1;
        struct digest digest;
        int r;

        if (digest_parse_hex(&digest, name) < 0 || !exists(dir_fd, name, S_IFDIR))
                return path_remove_tree(dir_fd, name, e);
        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return error_errno(e, errno, "open layer %s", name);
        for (enum cache_form form = 0; form < _CACHE_FORM_MAX; form++)
                if ((r = recover_form(c, fd, &digest, form, e)) < 0)
                        return r;
        r = for_names(fd, remove_stray, c, e);
        if (r < 0)
                return r;
        if (unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != EEXIST)
                return error_errno(e, errno, "remove layer %s", name);
        return 0;
}

/* ---- models ---- */

static int read_model(struct cache_record **ret, int dir_fd, const struct digest *key, struct error *e) {
        _cleanup_(cache_record_freep) struct cache_record *rec = NULL;
        _cleanup_free_ char *text = NULL;
        char name[DIGEST_HEX_SIZE + 5];
        size_t len;
        int r;

        cache_model_record_name(name, key);
        if ((r = path_read_file(&text, &len, dir_fd, name, RECORD_MAX, e)) < 0 ||
            (r = cache_record_model_parse(&rec, NULL, text, len, e)) < 0)
                return r;
        if (!digest_equal(&rec->model.key, key))
                return error_set(e, ERROR_INVALID, "the record is another model's");
        *ret = take_ptr(rec);
        return 0;
}

/* Also by a mount of something in the model, and by one that another cache's model of the same key made: that
 * errs on the safe side. */
static int is_mounted(bool *ret, const char *hex, struct error *e) {
        struct mount_table table = { 0 };
        char tree[sizeof "/models/sha256/" + DIGEST_HEX_SIZE];
        bool found = false;
        int r;

        r = mount_table_read(&table, e);
        if (r < 0)
                return r;
        snprintf(tree, sizeof tree, "/models/sha256/%s", hex);
        for (size_t i = 0; i < table.n && !found; i++)
                found = strstr(table.entries[i].root, tree);
        mount_table_free(&table);
        *ret = found;
        return 0;
}

static int is_leased(bool *ret, struct cache *c, const struct digest *key, struct error *e) {
        struct cache_lease **list;
        bool found = false;
        size_t n;
        int r;

        r = cache_index_lease_list(c->index, &list, &n, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n && !found; i++)
                found = digest_equal(&list[i]->key, key);
        cache_lease_list_free(list, n);
        *ret = found;
        return 0;
}

static int remove_model(struct cache *c, const char *hex, const char *record, struct error *e) {
        char bad[NAME_MAX + 1];
        int r;

        snprintf(bad, sizeof bad, "%s.bad", record);
        if ((r = path_remove_tree(c->models_fd, hex, e)) < 0 ||
            (r = path_remove_tree(c->models_fd, record, e)) < 0)
                return r;
        return path_remove_tree(c->models_fd, bad, e);
}

/* The model is in use and has no sound record: from the index, where it can be had. */
static int salvage_model(struct cache *c, const struct digest *key, const char *record, struct error *e) {
        _cleanup_(cache_record_freep) struct cache_record *rec = NULL;
        _cleanup_json_ json_t *json = NULL;
        _cleanup_free_ char *text = NULL;
        char bad[NAME_MAX + 1];
        int r;

        snprintf(bad, sizeof bad, "%s.bad", record);
        if (renameat(c->models_fd, record, c->models_fd, bad) < 0 && errno != ENOENT)
                return error_errno(e, errno, "move the broken record %s away", record);
        r = cache_index_repair_keep(c->index, key, &rec, e);
        if (r == -ENOENT) {
                log_warning("model %.64s stays for the pods that see it, and is not used for others", record);
                return 0;
        }
        if (r < 0 || (r = cache_record_model_again(&json, rec, e)) < 0 ||
            (r = cache_record_model_print(&text, json, e)) < 0 ||
            (r = path_write_file(c->models_fd, record, text, strlen(text), 0600, e)) < 0)
                return r;
        log_warning("the record of model %.64s was made again from the index", record);
        return 0;
}

/* One directory in models/: see the table in the head. */
static int recover_tree(struct cache *c, int dir_fd, const char *name, const struct digest *key,
                        struct error *e) {
        _cleanup_(cache_record_freep) struct cache_record *rec = NULL;
        char record[DIGEST_HEX_SIZE + 5];
        bool leased, mounted;
        struct error why;
        int r;

        r = read_model(&rec, dir_fd, key, &why);
        if (r >= 0)
                return cache_index_repair_model(c->index, rec, e);
        if (is_later(r)) {
                log_warning("model %s is left alone and not used: %s", name, why.text);
                return 0;
        }
        if (!is_broken(r))
                return error_copy(e, &why);
        if ((r = is_leased(&leased, c, key, e)) < 0 || (r = is_mounted(&mounted, name, e)) < 0)
                return r;
        cache_model_record_name(record, key);
        log_warning("model %s %s: %s", name,
                    leased || mounted ? "is in use and has no sound record" : "is removed from the cache",
                    why.text);
        if (leased || mounted)
                return salvage_model(c, key, record, e);
        return remove_model(c, name, record, e);
}

int cache_model_unlisted(struct cache *c, const struct digest *key, struct error *e) {
        _cleanup_(cache_record_freep) struct cache_record *rec = NULL;
        char hex[DIGEST_HEX_SIZE];
        struct error why;

        if (!exists(c->models_fd, digest_hex(key, hex), S_IFDIR))
                return 0;
        if (is_later(read_model(&rec, c->models_fd, key, &why)))
                return error_set(
                    e, ERROR_PRECONDITION,
                    "a later version of Modelstage left the model in %s/models/sha256/%s: %s; run "
                    "that version, or remove the directory and its .json while no pod uses it",
                    c->root, hex, why.text);
        return 1;
}

/* A tree, or a record, broken or not, whose tree tells whether it stays. */
static int recover_model(struct cache *c, int dir_fd, const char *name, struct error *e) {
        char tree[DIGEST_HEX_SIZE];
        struct digest key;

        if (digest_parse_hex(&key, name) >= 0 && exists(dir_fd, name, S_IFDIR))
                return recover_tree(c, dir_fd, name, &key, e);
        if (strlen(name) > HEX_LEN &&
            (strcmp(name + HEX_LEN, ".json") == 0 || strcmp(name + HEX_LEN, ".json.bad") == 0)) {
                memcpy(tree, name, HEX_LEN);
                tree[HEX_LEN] = '\0';
                if (digest_parse_hex(&key, tree) >= 0 && exists(dir_fd, tree, S_IFDIR))
                        return 0;
        }
        return path_remove_tree(dir_fd, name, e);
}

int cache_recover(struct cache *c, struct error *e) {
        cache_kept_free_list(c); /* of a first try */
        if (for_names(c->staging_fd, recover_staging, c, e) < 0 || cache_index_repair_begin(c->index, e) < 0)
                return error_wrap(e, "clean up %s", c->root);
        if (for_names(c->layers_fd, recover_layer, c, e) < 0 ||
            for_names(c->models_fd, recover_model, c, e) < 0 || cache_index_repair_end(c->index, e) < 0) {
                cache_index_repair_abort(c->index);
                return error_wrap(e, "clean up %s", c->root);
        }
        return 0;
}
