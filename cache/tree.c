/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree: names in memory, and laying one layer over another.
 *
 *   lower: a/x  a/y  b      upper: a/.wh.x  a/z  c      lay: a/y  a/z  b  c
 *
 * A directory finds its children by name in a tsearch() tree of its own, so a whole subtree of an upper layer
 * moves into the lower one by one link. The order of laying makes whiteouts right wherever they stood in the
 * tar: first links to lower files are resolved, against the tree as it was; then, directory by directory,
 * opaque marks and whiteouts remove what is lower; then the layer's own names are put in.
 *
 * Every node is paid for (charge()), so that an artifact of endless names ends in an error and not in the
 * daemon's memory.
 */
#include "cache/tree.h"

#include <search.h>
#include <string.h>
#include <sys/stat.h>

#define MEMORY_MAX ((size_t)96 << 20) /* of one tree: about 600,000 files with usual names */
#define NODE_OVERHEAD 48              /* of malloc and tsearch, for the accounting */
#define DIR_MODE (S_IFDIR | 0755)     /* of directories that no layer describes */
#define LIST_NAMES_MAX 12             /* in the text of an error */
#define LINKS_MAX 1024                /* links to links in one layer */

/* Takes @bytes off what one tree may have. */
static int charge(struct cache_tree *t, size_t bytes, struct error *e) {
        if (bytes > MEMORY_MAX - t->bytes)
                return error_set(e, ERROR_INVALID, "the artifact has too many files or too long names");
        t->bytes += bytes;
        return 0;
}

static int compare_names(const void *a, const void *b) {
        return strcmp(((const struct cache_tree_node *)a)->name, ((const struct cache_tree_node *)b)->name);
}

static int new_node(struct cache_tree_node **ret, struct cache_tree *t, const char *name, mode_t mode,
                    struct error *e) {
        size_t len = strlen(name) + 1;
        struct cache_tree_node *n;
        int r;

        r = charge(t, sizeof *n + len + NODE_OVERHEAD, e);
        if (r < 0)
                return r;
        n = calloc(1, sizeof *n + len);
        if (!n)
                return error_errno(e, ENOMEM, "lay out a model's tree");
        memcpy(n->name, name, len);
        n->mode = mode;
        *ret = n;
        return 0;
}

static void free_one(struct cache_tree *t, struct cache_tree_node *n) {
        t->bytes -= sizeof *n + strlen(n->name) + 1 + NODE_OVERHEAD + (n->source ? strlen(n->source) + 1 : 0);
        free(n->source);
        free(n);
}

static void keep_key(void *key) {
        (void)key;
}

static void free_subtree(struct cache_tree *t, struct cache_tree_node *n) {
        struct cache_tree_node *child;

        tdestroy(take_ptr(n->names), keep_key);
        while ((child = n->first)) {
                n->first = child->next;
                free_subtree(t, child);
        }
        while ((child = n->whiteouts)) {
                n->whiteouts = child->next;
                free_one(t, child);
        }
        free_one(t, n);
}

int cache_tree_new(struct cache_tree **ret, struct error *e) {
        _cleanup_(cache_tree_freep) struct cache_tree *t = calloc(1, sizeof *t);
        int r;

        if (!t)
                return error_errno(e, ENOMEM, "lay out a model's tree");
        r = new_node(&t->top, t, "", DIR_MODE, e);
        if (r < 0)
                return r;
        *ret = take_ptr(t);
        return 0;
}

void cache_tree_free(struct cache_tree *t) {
        if (!t)
                return;
        if (t->top)
                free_subtree(t, t->top);
        free(t);
}

/* ---- nodes ---- */

struct cache_tree_node *cache_tree_child(const struct cache_tree_node *dir, const char *name) {
        union {
                struct cache_tree_node node;
                char room[sizeof(struct cache_tree_node) + NAME_MAX + 1];
        } key;
        struct cache_tree_node **found;
        size_t len = strlen(name);

        if (len > NAME_MAX)
                return NULL;
        memcpy(key.room + offsetof(struct cache_tree_node, name), name, len + 1);
        found = tfind(&key.node, &dir->names, compare_names);
        return found ? *found : NULL;
}

struct cache_tree_node *cache_tree_lookup(struct cache_tree_node *from, const char *path) {
        struct cache_tree_node *n = from;
        char name[NAME_MAX + 1];

        while (n && *path) {
                size_t len = strcspn(path, "/");

                if (len > NAME_MAX)
                        return NULL;
                memcpy(name, path, len);
                name[len] = '\0';
                n = cache_tree_child(n, name);
                path += len + (path[len] == '/');
        }
        return n;
}

/* Into the list of children and their tree of names. */
static int attach(struct cache_tree_node *dir, struct cache_tree_node *n, struct error *e) {
        if (!tsearch(n, &dir->names, compare_names))
                return error_errno(e, ENOMEM, "lay out a model's tree");
        n->parent = dir;
        n->prev = NULL;
        n->next = dir->first;
        if (dir->first)
                dir->first->prev = n;
        dir->first = n;
        return 0;
}

static void detach(struct cache_tree_node *n) {
        tdelete(n, &n->parent->names, compare_names);
        if (n->prev)
                n->prev->next = n->next;
        else
                n->parent->first = n->next;
        if (n->next)
                n->next->prev = n->prev;
        n->parent = n->prev = n->next = NULL;
}

int cache_tree_add(struct cache_tree_node **ret, struct cache_tree *t, struct cache_tree_node *dir,
                   const char *name, mode_t mode, struct error *e) {
        struct cache_tree_node *n;
        int r = new_node(&n, t, name, mode, e);

        if (r < 0)
                return r;
        r = attach(dir, n, e);
        if (r < 0) {
                free_one(t, n);
                return r;
        }
        *ret = n;
        return 0;
}

int cache_tree_add_whiteout(struct cache_tree *t, struct cache_tree_node *dir, const char *name,
                            struct error *e) {
        struct cache_tree_node *n;
        int r = new_node(&n, t, name, 0, e);

        if (r < 0)
                return r;
        n->next = dir->whiteouts;
        dir->whiteouts = n;
        return 0;
}

int cache_tree_set_source(struct cache_tree *t, struct cache_tree_node *n, const char *source,
                          struct error *e) {
        size_t old = n->source ? strlen(n->source) + 1 : 0;
        char *copy;
        int r;

        r = charge(t, strlen(source) + 1, e);
        if (r < 0)
                return r;
        copy = strdup(source);
        if (!copy) {
                t->bytes -= strlen(source) + 1;
                return error_errno(e, ENOMEM, "lay out a model's tree");
        }
        t->bytes -= old;
        free(n->source);
        n->source = copy;
        return 0;
}

void cache_tree_remove(struct cache_tree *t, struct cache_tree_node *n) {
        detach(n);
        free_subtree(t, n);
}

int cache_tree_path(const struct cache_tree_node *n, char path[static PATH_MAX]) {
        char reversed[PATH_MAX];
        size_t at = sizeof reversed - 1;

        reversed[at] = '\0';
        for (; n->parent; n = n->parent) {
                size_t len = strlen(n->name);

                if (len + 1 > at)
                        return -ENAMETOOLONG;
                if (reversed[at])
                        reversed[--at] = '/';
                at -= len;
                memcpy(reversed + at, n->name, len);
        }
        memcpy(path, reversed + at, sizeof reversed - at);
        return 0;
}

/* ---- laying ---- */

/* The marker, resolved or not, that @marker names in its own layer. A file of that layer is none: the link
 * was made before it, to the lower file in its place. */
static struct cache_tree_node *next_link(const struct cache_tree *upper,
                                         const struct cache_tree_node *marker) {
        struct cache_tree_node *n = cache_tree_lookup(upper->top, marker->source);

        return n && n != marker && (n->marker || n->linked) ? n : NULL;
}

/* @marker becomes the file @target. Not inlined: its buffer must not be in each frame of the recursion. */
__attribute__((noinline)) static int become(struct cache_tree *upper, struct cache_tree_node *marker,
                                            const struct cache_tree_node *target, struct error *e) {
        char path[PATH_MAX];
        int r;

        if (!target || S_ISDIR(target->mode))
                return error_set(e, ERROR_INVALID,
                                 "\"%s\" is a hard link to \"%s\", which is no file of a lower layer",
                                 marker->name, marker->source);
        if (!target->source && cache_tree_path(target, path) < 0)
                return error_set(e, ERROR_INVALID, "the path of \"%s\" is too long", target->name);
        r = cache_tree_set_source(upper, marker, target->source ? target->source : path, e);
        if (r < 0)
                return r;
        marker->mode = target->mode;
        marker->size = target->size;
        marker->made = target->made;
        marker->layer = target->layer;
        marker->raw = target->raw;
        marker->marker = false;
        marker->linked = true;
        return 0;
}

/* @marker becomes the lower file that it names, from @base on (NULL: there is nothing), or what a link of its
 * own layer names. The end of a chain is resolved first, so each marker is visited once. */
__attribute__((noinline)) static int resolve_link(struct cache_tree_node *base, struct cache_tree *upper,
                                                  struct cache_tree_node *marker, struct error *e) {
        struct cache_tree_node *chain[LINKS_MAX], *next = marker;
        const struct cache_tree_node *target;
        size_t n = 0;
        int r = 0;

        do {
                if (n == LINKS_MAX)
                        return error_set(e, ERROR_INVALID,
                                         "\"%s\" is a hard link to more than %d others, one after another",
                                         marker->name, LINKS_MAX);
                chain[n++] = next;
                next = next_link(upper, next);
        } while (next && next->marker);
        target = next;
        if (!target && base)
                target = cache_tree_lookup(base, chain[n - 1]->source);
        for (; n > 0 && r >= 0; target = chain[n])
                r = become(upper, chain[--n], target, e);
        return r;
}

/* All markers of the layer, before any of its names lie over the lower ones. */
static int resolve_links(struct cache_tree_node *base, struct cache_tree *upper, struct cache_tree_node *dir,
                         struct error *e) {
        int r = 0;

        for (struct cache_tree_node *n = dir->first; n && r >= 0; n = n->next)
                if (n->marker)
                        r = resolve_link(base, upper, n, e);
                else if (S_ISDIR(n->mode))
                        r = resolve_links(base, upper, n, e);
        return r;
}

/* What @upper says of @lower with its opaque mark and its whiteouts. */
static void hide(struct cache_tree *t, struct cache_tree_node *lower, const struct cache_tree_node *upper) {
        struct cache_tree_node *n;

        while (upper->opaque && (n = lower->first))
                cache_tree_remove(t, n);
        for (const struct cache_tree_node *w = upper->whiteouts; w; w = w->next)
                if ((n = cache_tree_child(lower, w->name)))
                        cache_tree_remove(t, n);
}

/* Mode and time are the upper one's. Directories that both have are gone into; all else replaces what has
 * its name. */
static int lay_dir(struct cache_tree *t, struct cache_tree_node *lower, struct cache_tree_node *upper,
                   struct error *e) {
        struct cache_tree_node *n, *next, *old;
        int r = 0;

        lower->mode = upper->mode;
        lower->mtime = upper->mtime;
        lower->raw = false;
        hide(t, lower, upper);
        for (n = upper->first; n && r >= 0; n = next) {
                next = n->next;
                old = cache_tree_child(lower, n->name);
                if (old && S_ISDIR(old->mode) && S_ISDIR(n->mode)) {
                        r = lay_dir(t, old, n, e);
                        continue;
                }
                if (old)
                        cache_tree_remove(t, old);
                detach(n);
                r = attach(lower, n, e);
                if (r < 0)
                        free_subtree(t, n);
        }
        return r;
}

/* The directory @path in @t. What is missing is made; a file in the way is replaced, unless @raw and the file
 * is a raw blob's. */
static int make_dirs(struct cache_tree_node **ret, struct cache_tree *t, const char *path, bool raw,
                     struct error *e) {
        struct cache_tree_node *dir = t->top, *n;
        char name[NAME_MAX + 1];
        int r;

        while (*path) {
                size_t len = strcspn(path, "/");

                if (len > NAME_MAX)
                        return error_set(e, ERROR_INVALID, "\"%s\" has too long a name", path);
                memcpy(name, path, len);
                name[len] = '\0';
                path += len + (path[len] == '/');
                n = cache_tree_child(dir, name);
                if (n && !S_ISDIR(n->mode)) {
                        if (raw && n->raw)
                                return error_set(e, ERROR_INVALID, "\"%s\" is a file and a directory", name);
                        cache_tree_remove(t, n);
                        n = NULL;
                }
                if (!n) {
                        r = cache_tree_add(&n, t, dir, name, DIR_MODE, e);
                        if (r < 0)
                                return r;
                        n->raw = raw;
                }
                dir = n;
        }
        *ret = dir;
        return 0;
}

int cache_tree_lay(struct cache_tree *t, struct cache_tree *upper, const char *prefix, struct error *e) {
        struct cache_tree_node *dir;
        int r;

        r = resolve_links(cache_tree_lookup(t->top, prefix), upper, upper->top, e);
        if (r < 0)
                return r;
        r = make_dirs(&dir, t, prefix, false, e);
        if (r < 0)
                return r;
        /* Directories that both have stay behind in @upper; that they are counted in both is on the safe
         * side. */
        r = charge(t, upper->bytes, e);
        return r < 0 ? r : lay_dir(t, dir, upper->top, e);
}

/* The directory that the file @path goes to, and its name there. */
static int make_parent(struct cache_tree_node **ret, const char **ret_base, struct cache_tree *t,
                       const char *path, bool raw, struct error *e) {
        const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
        _cleanup_free_ char *parent = strndup(path, slash ? (size_t)(slash - path) : 0);

        if (!parent)
                return error_errno(e, ENOMEM, "lay out a model's tree");
        if (!*base || strlen(base) > NAME_MAX || strlen(path) >= PATH_MAX)
                return error_set(e, ERROR_INVALID, "a blob has no usable path: \"%s\"", path);
        *ret_base = base;
        return make_dirs(ret, t, parent, raw, e);
}

int cache_tree_put_made(struct cache_tree *t, const struct plan_file *file, struct error *e) {
        struct cache_tree_node *dir, *n;
        const char *base;
        int r;

        r = make_parent(&dir, &base, t, file->path, false, e);
        if (r < 0)
                return r;
        if (cache_tree_child(dir, base))
                return error_set(e, ERROR_INVALID, "two files have the same place: \"%s\"", file->path);
        r = cache_tree_add(&n, t, dir, base, S_IFREG | file->mode, e);
        if (r < 0)
                return r;
        n->made = file;
        n->size = file->len;
        return 0;
}

int cache_tree_put_raw(struct cache_tree *t, const struct plan_blob *blobs, unsigned layer, uint64_t size,
                       struct error *e) {
        const struct plan_blob *b = &blobs[layer];
        struct cache_tree_node *dir, *n;
        const char *base;
        int r;

        r = make_parent(&dir, &base, t, b->path, true, e);
        if (r < 0)
                return r;
        n = cache_tree_child(dir, base);
        if (n && n->raw && (S_ISDIR(n->mode) || !digest_equal(&blobs[n->layer].digest, &b->digest)))
                return error_set(e, ERROR_INVALID, "two blobs have the same place: \"%s\"", b->path);
        if (n)
                cache_tree_remove(t, n);
        r = cache_tree_add(&n, t, dir, base, S_IFREG | 0444, e);
        if (r < 0)
                return r;
        n->layer = layer;
        n->size = size;
        n->raw = true;
        return 0;
}

/* ---- the result ---- */

void cache_tree_list(struct buf *out, const struct cache_tree_node *dir) {
        unsigned n = 0;

        for (const struct cache_tree_node *c = dir->first; c; c = c->next)
                if (++n <= LIST_NAMES_MAX)
                        (void)buf_printf(out, "%s%s%s", n > 1 ? ", " : "", c->name,
                                         S_ISDIR(c->mode) ? "/" : "");
        if (n > LIST_NAMES_MAX)
                (void)buf_printf(out, " and %u more", n - LIST_NAMES_MAX);
        if (n == 0)
                (void)buf_printf(out, "nothing");
}

int cache_tree_choose(struct cache_tree_node **ret, const struct cache_tree *t, const char *root,
                      bool if_present, struct error *e) {
        _cleanup_buf_ struct buf names = BUF_INIT(512);
        struct cache_tree_node *n = cache_tree_lookup(t->top, root);

        if (n && S_ISDIR(n->mode)) {
                *ret = n;
                return 0;
        }
        if (if_present) {
                *ret = t->top;
                return 0;
        }
        cache_tree_list(&names, t->top);
        return error_set(e, ERROR_INVALID, "root \"%s\" is %s in the artifact, which has %s at its top", root,
                         n ? "not a directory" : "not", buf_text(&names));
}
