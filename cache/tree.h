/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree: what an artifact's layers look like when they lie on top of each other.
 *
 *   scan (tree_scan.c)      a layer on disk      -> a tree in memory, whiteouts and link markers noted
 *   lay (tree.c)            upper over lower     -> one merged tree; no disk
 *   write (tree_write.c)    merged, root, globs  -> directories and hard links on disk
 *
 * One thread owns a tree. Its memory is capped: an artifact with too many names is ERROR_INVALID. Names come
 * from layers, whose paths are shorter than PATH_MAX; that bounds the depth of the recursions.
 */
#pragma once

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "oci/plan.h"
#include "oci/selection.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cache_tree_node {
        struct cache_tree_node *parent;
        struct cache_tree_node *first;       /* children */
        struct cache_tree_node *next, *prev; /* siblings */
        struct cache_tree_node *whiteouts;   /* of a directory in an upper layer: names, by next */
        void *names;                         /* tsearch() over the children's names */
        uint64_t size;
        int64_t mtime;
        /* A file that no layer has: what is in it. The plan's. */
        const struct plan_file *made;
        char *source;   /* path in the artifact of the layer's own file; NULL: the node's own path.
                         * Of a link marker: the path it names */
        unsigned layer; /* whose file it is: index into the plan's blobs */
        mode_t mode;    /* with the type: directory, file or symbolic link */
        bool opaque;    /* directory: hides what lower layers have in it */
        bool raw;       /* made by a raw blob, or on the way to one */
        bool marker;    /* stands for a link that is not resolved yet */
        bool linked;    /* was such a marker; while the layer is laid */
        bool kept;      /* wanted by the selection; set by the writer */
        char name[];
};

struct cache_tree {
        struct cache_tree_node *top;
        size_t bytes; /* of memory */
};

int cache_tree_new(struct cache_tree **ret, struct error *e);
void cache_tree_free(struct cache_tree *t);
DEFINE_CLEANUP(struct cache_tree *, cache_tree_free);

/* ---- nodes ---- */

struct cache_tree_node *cache_tree_child(const struct cache_tree_node *dir, const char *name);
/* Clean @path, from @from on; "" is @from. */
struct cache_tree_node *cache_tree_lookup(struct cache_tree_node *from, const char *path);
/* A child of @dir whose name it does not have yet; *ret belongs to the tree. ERROR_INVALID: the tree has
 * grown too large. */
int cache_tree_add(struct cache_tree_node **ret, struct cache_tree *t, struct cache_tree_node *dir,
                   const char *name, mode_t mode, struct error *e);
/* @dir hides @name of lower layers. */
int cache_tree_add_whiteout(struct cache_tree *t, struct cache_tree_node *dir, const char *name,
                            struct error *e);
/* Where the file's data are if not at the node's own path; for a marker, what it links to. */
int cache_tree_set_source(struct cache_tree *t, struct cache_tree_node *n, const char *source,
                          struct error *e);
void cache_tree_remove(struct cache_tree *t, struct cache_tree_node *n); /* with all below */
/* The node's path from the top; -ENAMETOOLONG. */
int cache_tree_path(const struct cache_tree_node *n, char path[static PATH_MAX]);

/* ---- layers ---- */

/* What names in ".wh." mean, and which names count; each adds to the one before. */
enum cache_tree_names {
        CACHE_TREE_DIRS,      /* nothing, and only directories become nodes */
        CACHE_TREE_PLAIN,     /* nothing: a finished tree, or one that is only measured */
        CACHE_TREE_LINKS,     /* link markers, which the engine writes in every format */
        CACHE_TREE_WHITEOUTS, /* these, and whiteouts */
};

/* What is below @fd becomes a tree. @layer marks the nodes; paths of @max_path and more are refused. */
int cache_tree_scan(struct cache_tree **ret, int fd, unsigned layer, enum cache_tree_names names,
                    size_t max_path, struct error *e);

/* Lays @upper over what is below @prefix (made if missing); @upper gives away its nodes. */
int cache_tree_lay(struct cache_tree *t, struct cache_tree *upper, const char *prefix, struct error *e);

/* Puts a file that no layer has at its path. Before all layers: whatever they have there replaces it. */
int cache_tree_put_made(struct cache_tree *t, const struct plan_file *file, struct error *e);

/* Puts the file of blobs[layer], a raw blob, at its path. */
int cache_tree_put_raw(struct cache_tree *t, const struct plan_blob *blobs, unsigned layer, uint64_t size,
                       struct error *e);

/* ---- the result ---- */

struct cache_tree_total {
        uint64_t size, files;
};

/* The first names in @dir, for the text of an error. */
void cache_tree_list(struct buf *out, const struct cache_tree_node *dir);

/* The directory that becomes the volume's root. With @if_present the whole when there is no such directory.
 */
int cache_tree_choose(struct cache_tree_node **ret, const struct cache_tree *t, const char *root,
                      bool if_present, struct error *e);

/* Links what @selection wants below @top into the empty directory @out_fd, durably. layer_fds[i] is the
 * directory of blobs[i] in the store: its files are below "tree", or it is the file of its form. */
int cache_tree_write(struct cache_tree_total *ret, struct cache_tree_node *top,
                     const struct oci_selection *selection, const struct plan_blob *blobs,
                     const int *layer_fds, int out_fd, struct error *e);
