/* SPDX-License-Identifier: Apache-2.0 */
/*
 * build: from layers to a model.
 *
 *   layers -> tree in memory -> staging/<key>.model
 *          -> models/sha256/<key>.json -> models/sha256/<key> -> index
 *
 * The record is there, durable, before the rename that makes the model exist. The layers are held meanwhile,
 * and used by the model's index row afterwards. Threads that build the same model wait for each other; the
 * second finds it.
 */
#include "cache/store.h"
#include "cache/tree.h"

#include "base/path.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct build {
        struct cache *cache;
        const struct digest *key;
        const struct model_plan *plan;
        const struct oci_selection *selection;
        bool is_private;
        char hex[DIGEST_HEX_SIZE]; /* of the key */
        int *layer_fds;            /* one a blob, as far as they are open and held */
        size_t n_layers;
        char *staging; /* name in staging/ */
        struct cache_tree_total total;
};

static void close_layers(struct build *b) {
        while (b->n_layers > 0) {
                close(b->layer_fds[--b->n_layers]);
                cache_layer_unhold(b->cache, &b->plan->blobs[b->n_layers].digest);
        }
        free(b->layer_fds);
}

static int open_layer(struct cache *c, const struct plan_blob *blob, struct error *e) {
        char text[DIGEST_TEXT_SIZE];
        int fd;

        if (!cache_layer_find(c, &blob->digest, cache_form_of(blob), NULL))
                return error_set(e, ERROR_NOT_FOUND, "layer %s is not here",
                                 digest_format(&blob->digest, text));
        fd = cache_layer_open(c, &blob->digest, e);
        if (fd == -ENOENT)
                return error_set(e, ERROR_INTERNAL, "layer %s has vanished from the disk",
                                 digest_format(&blob->digest, text));
        return fd;
}

/* Held first, then looked for: what is found stays. */
static int open_layers(struct build *b, struct error *e) {
        b->layer_fds = calloc(b->plan->n_blobs + 1, sizeof *b->layer_fds);
        if (!b->layer_fds)
                return error_errno(e, ENOMEM, "build a model");
        for (size_t i = 0; i < b->plan->n_blobs; i++) {
                const struct plan_blob *blob = &b->plan->blobs[i];
                int fd;

                cache_layer_hold(b->cache, &blob->digest);
                fd = open_layer(b->cache, blob, e);
                if (fd < 0) {
                        cache_layer_unhold(b->cache, &blob->digest);
                        return fd;
                }
                b->layer_fds[b->n_layers++] = fd;
        }
        return 0;
}

/* ---- the tree ---- */

/* The blob's unpacked layer, over what is there. */
static int lay_archive(struct cache_tree *t, const struct build *b, size_t i, struct error *e) {
        _cleanup_(cache_tree_freep) struct cache_tree *upper = NULL;
        const struct plan_blob *blob = &b->plan->blobs[i];
        const char *prefix = blob->path ? blob->path : "";
        _cleanup_close_ int fd = -1;
        int r;

        if (strlen(prefix) >= PATH_MAX / 2)
                return error_set(e, ERROR_INVALID, "the path of a layer is too long");
        fd = path_open(b->layer_fds[i], "tree", O_RDONLY | O_DIRECTORY, 0, e);
        if (fd < 0)
                return fd;
        /* Room for the prefix here, and for "tree/" where a file's source is named. */
        r = cache_tree_scan(&upper, fd, (unsigned)i,
                            blob->whiteouts ? CACHE_TREE_WHITEOUTS : CACHE_TREE_LINKS,
                            PATH_MAX - strlen(prefix) - strlen("/tree/"), e);
        return r < 0 ? r : cache_tree_lay(t, upper, prefix, e);
}

/* The blob's one file, at its path. */
static int lay_raw(struct cache_tree *t, const struct build *b, size_t i, struct error *e) {
        const struct plan_blob *blob = &b->plan->blobs[i];
        struct stat st;

        if (!blob->path)
                return error_set(e, ERROR_INVALID, "a blob has no path");
        if (fstatat(b->layer_fds[i], cache_layer_file(cache_form_of(blob)), &st, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(e, errno, "look at a blob");
        return cache_tree_put_raw(t, b->plan->blobs, (unsigned)i, (uint64_t)st.st_size, e);
}

/* Made files lie below all blobs, blobs in the plan's order on top of each other; then the root is chosen. */
static int assemble(struct build *b, int out_fd, struct error *e) {
        _cleanup_(cache_tree_freep) struct cache_tree *t = NULL;
        const struct model_plan *p = b->plan;
        bool is_default = !b->selection || !b->selection->root;
        const char *root = is_default ? p->root ? p->root : "" : b->selection->root;
        struct cache_tree_node *top;
        char text[DIGEST_TEXT_SIZE];
        int r;

        r = cache_tree_new(&t, e);
        if (r < 0)
                return r;
        for (size_t i = 0; i < p->n_files; i++) {
                r = cache_tree_put_made(t, &p->files[i], e);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < p->n_blobs; i++) {
                r = p->blobs[i].packing == PLAN_TAR ? lay_archive(t, b, i, e) : lay_raw(t, b, i, e);
                if (r < 0)
                        return error_wrap(e, "layer %s", digest_format(&p->blobs[i].digest, text));
        }
        r = cache_tree_choose(&top, t, root, is_default && p->root_if_present, e);
        if (r < 0)
                return r;
        return cache_tree_write(&b->total, top, b->selection, p->blobs, b->layer_fds, out_fd, e);
}

/* ---- entering ---- */

/* The record as text, and as the index wants it, parsed from this text. */
static int make_record(struct cache_record **ret, char **ret_text, const struct build *b, struct error *e) {
        const struct cache_record_facts facts = { .key = b->key,
                                                  .selection = b->selection,
                                                  .size = b->total.size,
                                                  .files = b->total.files,
                                                  .is_private = b->is_private,
                                                  .created_ms = time_now_ms() };
        _cleanup_json_ json_t *record = NULL;
        _cleanup_free_ char *text = NULL;
        int r;

        if ((r = cache_record_model_new(&record, b->plan, &facts, e)) < 0 ||
            (r = cache_record_model_print(&text, record, e)) < 0 ||
            (r = cache_record_model_parse(ret, NULL, text, strlen(text), e)) < 0)
                return r;
        *ret_text = take_ptr(text);
        return 0;
}

/* Record, rename, index. If one of them fails none is left, unless the tree was there before. */
static int enter(struct build *b, struct error *e) {
        _cleanup_(cache_record_freep) struct cache_record *rec = NULL;
        _cleanup_free_ char *text = NULL;
        struct cache *c = b->cache;
        char name[DIGEST_HEX_SIZE + 5];
        int unlisted, r;

        cache_model_record_name(name, b->key);
        if ((unlisted = cache_model_unlisted(c, b->key, e)) < 0)
                return unlisted;
        if ((r = make_record(&rec, &text, b, e)) < 0 ||
            (r = path_write_file(c->models_fd, name, text, strlen(text), 0600, e)) < 0)
                return r;
        /* A tree that is there already is as good, and pods may see it. */
        if (!unlisted && renameat(c->staging_fd, b->staging, c->models_fd, b->hex) < 0)
                r = error_errno(e, errno, "move the model into the store");
        else
                r = cache_sync_dir(c->models_fd, "models", e);
        if (r >= 0)
                r = cache_index_model_put(c->index, rec, e);
        if (r < 0 && !unlisted) {
                (void)cache_discard(c, c->models_fd, b->hex, NULL);
                (void)unlinkat(c->models_fd, name, 0);
        }
        return r;
}

static int build(struct build *b, struct error *e) {
        char name[DIGEST_HEX_SIZE + sizeof ".model"];
        _cleanup_close_ int fd = -1;
        int r;

        r = open_layers(b, e);
        if (r < 0)
                return r;
        snprintf(name, sizeof name, "%s.model", b->hex);
        fd = cache_staging_make(&b->staging, b->cache, name, e);
        if (fd < 0)
                return fd;
        if ((r = assemble(b, fd, e)) >= 0)
                r = enter(b, e);
        (void)path_remove_tree(b->cache->staging_fd, b->staging, NULL); /* it has moved, if all went well */
        free(b->staging);
        return r;
}

int cache_model_build(struct cache *c, const struct digest *key, const struct model_plan *plan,
                      const struct oci_selection *selection, bool is_private, struct error *e) {
        struct build b = {
                .cache = c, .key = key, .plan = plan, .selection = selection, .is_private = is_private
        };
        _cleanup_(cache_model_freep) struct cache_model *here = NULL;
        int r;

        digest_hex(key, b.hex);
        CACHE_GUARD_SCOPE(c, CACHE_GUARD_MODEL, b.hex);
        if (cache_model_find(c, key, &here) >= 0)
                return 0;
        r = build(&b, e);
        close_layers(&b);
        return r < 0 ? error_wrap(e, "build the model") : 0;
}
