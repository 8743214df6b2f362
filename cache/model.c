/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model: finding, naming, pinning, listing and removing models. How one is made is in build.c.
 *
 * A model is here if the index has its row and its tree is on disk. A pin and an expiry are in the record, so
 * that they outlive the index; uses are counted in the index only.
 *
 * People name models by what they know (cache_model_match()): the reference, a tag that meant the same
 * manifest, a digest; and if nothing has that name, by the first digits of a digest, as long as they fit one
 * manifest.
 *
 *   remove   tree (one rename into staging/) -> record -> index -> layers that nobody uses any more
 *
 * Removing and pinning hold the model's guard, as building and publishing do, so none of them sees half of
 * another.
 */
#include "cache/store.h"
#include "cache/tree.h"

#include "base/metrics.h"
#include "base/path.h"
#include "base/text.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define PREFIX_MIN 6 /* hex digits that name a manifest */

void cache_model_free(struct cache_model *m) {
        if (!m)
                return;
        free(m->reference);
        free(m->path);
        free(m);
}

void cache_model_list_free(struct cache_model **list, size_t n) {
        for (size_t i = 0; i < n; i++)
                cache_model_free(list[i]);
        free(list);
}

int cache_model_find(struct cache *c, const struct digest *key, struct cache_model **ret) {
        _cleanup_(cache_model_freep) struct cache_model *m = NULL;
        int r;

        r = cache_index_model_find(c->index, key, &m);
        if (r < 0)
                return r;
        m->path = cache_model_path(c, key);
        if (!m->path)
                return -ENOMEM;
        if (access(m->path, F_OK) < 0) /* a removal that could not be written down, or somebody's rm -r */
                return -errno;
        *ret = take_ptr(m);
        return 0;
}

void cache_model_used(struct cache *c, const struct digest *key, bool hit) {
        /* Statistics: a use that could not be counted is no reason to fail a volume. */
        (void)cache_index_model_used(c->index, key, hit, time_now_ms(), NULL);
}

int cache_model_list(struct cache *c, struct cache_model ***ret, size_t *ret_n, struct error *e) {
        struct cache_model **list;
        size_t n;
        int r;

        r = cache_index_model_list(c->index, &list, &n, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) {
                list[i]->path = cache_model_path(c, &list[i]->key);
                if (!list[i]->path) {
                        cache_model_list_free(list, n);
                        return error_errno(e, ENOMEM, "list models");
                }
        }
        *ret = list;
        *ret_n = n;
        return 0;
}

/* ---- names that people give ---- */

/* What a text may mean. */
struct name {
        struct oci_reference *reference; /* NULL: it is none */
        struct digest *tags;             /* what it meant when it was last resolved; one a platform */
        size_t n_tags;                   /* 0: not known */
        const char *hex;                 /* prefix of a manifest digest; NULL: it is none */
};

static void name_clear(struct name *n) {
        oci_reference_free(n->reference);
        free(n->tags);
}

/* NULL: it cannot be the beginning of a digest. */
static const char *hex_prefix(const char *text) {
        const char *hex = text_starts_with(text, "sha256:") ? text + strlen("sha256:") : text;
        size_t n = strspn(hex, "0123456789abcdef");

        return !hex[n] && n >= PREFIX_MIN && n < DIGEST_HEX_SIZE ? hex : NULL;
}

static int name_parse(struct name *n, struct cache *c, const char *text, struct error *e) {
        int r = 0;

        n->hex = hex_prefix(text);
        if (!text_starts_with(text, "sha256:"))
                r = oci_reference_parse(&n->reference, text, n->hex ? NULL : e);
        if (r < 0)
                return n->hex ? 0 : r;
        return n->reference ? cache_index_tag_list(c->index, n->reference->text, &n->tags, &n->n_tags, e) : 0;
}

/* A tag moves: what a model was once asked for by counts only while it is not known what that means now. */
static bool is_named(const struct cache_model *m, const struct name *n) {
        const struct oci_reference *r = n->reference;

        if (!r)
                return false;
        for (size_t i = 0; i < n->n_tags; i++)
                if (digest_equal(&n->tags[i], &m->manifest))
                        return true;
        if (r->has_digest && digest_equal(&r->digest, &m->manifest))
                return true;
        return n->n_tags == 0 && strcmp(m->reference, r->text) == 0;
}

static bool has_prefix(const struct cache_model *m, const struct name *n) {
        char hex[DIGEST_HEX_SIZE];

        return n->hex && text_starts_with(digest_hex(&m->manifest, hex), n->hex);
}

/* Moves those that @is_match names to the front, and returns how many. */
static size_t select_models(struct cache_model **list, size_t n, const struct name *name,
                            bool (*is_match)(const struct cache_model *, const struct name *)) {
        size_t found = 0;

        for (size_t i = 0; i < n; i++)
                if (is_match(list[i], name)) {
                        struct cache_model *m = list[i];

                        list[i] = list[found];
                        list[found++] = m;
                }
        return found;
}

/* Several models of one manifest are one name: they differ in their selection. */
static bool is_ambiguous(struct cache_model **list, size_t n) {
        for (size_t i = 1; i < n; i++)
                if (!digest_equal(&list[i]->manifest, &list[0]->manifest))
                        return true;
        return false;
}

int cache_model_match(struct cache *c, const char *text, struct cache_model ***ret, size_t *ret_n,
                      struct error *e) {
        _cleanup_(name_clear) struct name name = { 0 };
        struct cache_model **list = NULL;
        size_t n = 0, found;
        int r;

        if ((r = name_parse(&name, c, text, e)) < 0 || (r = cache_model_list(c, &list, &n, e)) < 0)
                return r;
        found = select_models(list, n, &name, is_named);
        if (found == 0) {
                found = select_models(list, n, &name, has_prefix);
                if (is_ambiguous(list, found))
                        r = error_set(e, ERROR_INVALID,
                                      "\"%s\" begins the digests of several models; give more of it", text);
        }
        if (r >= 0 && found == 0)
                r = error_set(e, ERROR_NOT_FOUND, "no model \"%s\" is here; see \"modelstage ls\"", text);
        if (r < 0) {
                cache_model_list_free(list, n);
                return r;
        }
        for (size_t i = found; i < n; i++)
                cache_model_free(list[i]);
        *ret = list;
        *ret_n = found;
        return 0;
}

/* ---- records and pins ---- */

int cache_model_record(struct cache *c, const struct digest *key, json_t **ret, struct error *e) {
        _cleanup_(cache_record_freep) struct cache_record *rec = NULL;
        _cleanup_free_ char *text = NULL;
        char name[DIGEST_HEX_SIZE + 5];
        size_t len;

        cache_model_record_name(name, key);
        if (path_read_file(&text, &len, c->models_fd, name, RECORD_MAX, e) < 0 ||
            cache_record_model_parse(&rec, ret, text, len, e) < 0)
                return error_wrap(e, "record of model %s", name);
        return 0;
}

/* What a failed look-up means to the caller. */
static int not_here(const char *hex, int r, struct error *e) {
        if (r == -ENOENT)
                return error_set(e, ERROR_NOT_FOUND, "model %s is not here", hex);
        return error_errno(e, r, "find model %s", hex);
}

int cache_model_pin(struct cache *c, const struct digest *key, bool pin, int64_t expires_ms,
                    struct error *e) {
        _cleanup_(cache_model_freep) struct cache_model *m = NULL;
        _cleanup_json_ json_t *record = NULL;
        _cleanup_free_ char *text = NULL;
        char hex[DIGEST_HEX_SIZE], name[DIGEST_HEX_SIZE + 5];
        int r;

        digest_hex(key, hex);
        cache_model_record_name(name, key);
        CACHE_GUARD_SCOPE(c, CACHE_GUARD_MODEL, hex);
        r = cache_model_find(c, key, &m);
        if (r < 0 || !m)
                return not_here(hex, r, e);
        if (m->pinned == pin && m->expires_ms == expires_ms)
                return 0;
        if (cache_model_record(c, key, &record, e) < 0 ||
            cache_record_model_pin(record, pin, expires_ms, e) < 0 ||
            cache_record_model_print(&text, record, e) < 0 ||
            path_write_file(c->models_fd, name, text, strlen(text), 0600, e) < 0 ||
            cache_index_model_pin(c->index, key, pin, expires_ms, e) < 0)
                return error_wrap(e, "pin model %s", hex);
        return 0;
}

/* ---- removing ---- */

/* Without its tree a model does not exist, so once that is gone the rest is done whatever fails on the way.
 */
static int remove_guarded(struct cache *c, const struct digest *key, const char *hex, struct error *e) {
        _cleanup_(cache_model_freep) struct cache_model *m = NULL;
        char name[DIGEST_HEX_SIZE + 5];
        int r, result;

        r = cache_index_model_find(c->index, key, &m);
        if (r < 0)
                return not_here(hex, r, e);
        if (m->mounts > 0)
                return error_set(e, ERROR_PRECONDITION, "model %s is mounted %u times; unmount it first",
                                 m->reference, m->mounts);
        cache_model_record_name(name, key);
        result = cache_discard(c, c->models_fd, hex, e);
        if (result < 0 && faccessat(c->models_fd, hex, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return result;
        if (unlinkat(c->models_fd, name, 0) < 0 && errno != ENOENT && result >= 0)
                result = error_errno(e, errno, "remove the record %s", name);
        r = cache_sync_dir(c->models_fd, "models", result < 0 ? NULL : e);
        result = result < 0 ? result : r;
        r = cache_index_model_delete(c->index, key, result < 0 ? NULL : e);
        return result < 0 ? result : r;
}

int cache_model_remove(struct cache *c, const struct digest *key, uint64_t *ret_freed, struct error *e) {
        char hex[DIGEST_HEX_SIZE];
        uint64_t freed;
        int r;

        digest_hex(key, hex);
        {
                CACHE_GUARD_SCOPE(c, CACHE_GUARD_MODEL, hex);
                r = remove_guarded(c, key, hex, e);
        }
        cache_tell_change(c); /* its tree may have gone even if not all went well */
        if (r < 0 || (r = cache_collect_layers(c, &freed, e)) < 0)
                return r;
        metric_add(CACHE_EVICTIONS, 1, "removed");
        metric_add(CACHE_EVICTED_BYTES, (double)freed, "removed");
        if (ret_freed)
                *ret_freed = freed;
        return 0;
}

/* ---- files ---- */

struct file_list {
        struct cache_file *files;
        size_t n, size;
        bool all; /* not regular files alone */
};

void cache_file_list_free(struct cache_file *list, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(list[i].path);
        free(list);
}

/* Not inlined: its buffer must not be in each frame of the recursion. */
__attribute__((noinline)) static int add_file(struct file_list *l, const struct cache_tree_node *n,
                                              struct error *e) {
        char path[PATH_MAX];

        if (!l->files || l->n == l->size) {
                struct cache_file *more = reallocarray(l->files, l->size = 2 * l->size + 64, sizeof *more);

                if (!more)
                        return error_errno(e, ENOMEM, "list files");
                l->files = more;
        }
        if (cache_tree_path(n, path) < 0)
                return error_set(e, ERROR_INVALID, "the path of \"%s\" is too long", n->name);
        l->files[l->n] = (struct cache_file){ .path = strdup(path), .size = n->size, .mode = n->mode };
        return l->files[l->n++].path ? 0 : error_errno(e, ENOMEM, "list files");
}

static int add_files(struct file_list *l, const struct cache_tree_node *dir, struct error *e) {
        int r = 0;

        for (const struct cache_tree_node *n = dir->first; n && r >= 0; n = n->next) {
                if (l->all || S_ISREG(n->mode))
                        r = add_file(l, n, e);
                if (r >= 0 && S_ISDIR(n->mode))
                        r = add_files(l, n, e);
        }
        return r;
}

static int compare_paths(const void *a, const void *b) {
        return strcmp(((const struct cache_file *)a)->path, ((const struct cache_file *)b)->path);
}

static int list_tree(struct cache *c, const struct digest *key, bool all, struct cache_file **ret,
                     size_t *ret_n, struct error *e) {
        _cleanup_(cache_tree_freep) struct cache_tree *t = NULL;
        _cleanup_close_ int fd = -1;
        struct file_list l = { .all = all };
        char hex[DIGEST_HEX_SIZE];
        int r;

        fd = openat(c->models_fd, digest_hex(key, hex), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return error_set(e, ERROR_NOT_FOUND, "model %s is not here", hex);
        if (fd < 0)
                return error_errno(e, errno, "open model %s", hex);
        if ((r = cache_tree_scan(&t, fd, 0, CACHE_TREE_PLAIN, PATH_MAX, e)) < 0 ||
            (r = add_files(&l, t->top, e)) < 0) {
                cache_file_list_free(l.files, l.n);
                return error_wrap(e, "list the files of model %s", hex);
        }
        if (l.n > 0)
                qsort(l.files, l.n, sizeof *l.files, compare_paths);
        *ret = l.files;
        *ret_n = l.n;
        return 0;
}

int cache_model_files(struct cache *c, const struct digest *key, struct cache_file **ret, size_t *ret_n,
                      struct error *e) {
        return list_tree(c, key, false, ret, ret_n, e);
}

int cache_model_entries(struct cache *c, const struct digest *key, struct cache_file **ret, size_t *ret_n,
                        struct error *e) {
        return list_tree(c, key, true, ret, ret_n, e);
}
