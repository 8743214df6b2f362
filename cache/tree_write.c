/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_write: a merged tree becomes directories and hard links.
 *
 * First a pass marks what the selection wants and counts it; then directories are made, each with its files,
 * then those in it; on the way back a directory gets its mode and time and is synced. Files are linked from
 * the directory that holds them in the store, which stays open while the next file is from there too. A
 * file that has too many links already, or a store on several file systems, is copied; one that no layer has
 * is written.
 */
#include "base/path.h"
#include "cache/store.h"
#include "cache/tree.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define COPY_CHUNK (1u << 30)

struct writer {
        const struct oci_selection *selection;
        const struct plan_blob *blobs;
        const int *layer_fds; /* by blob, as cache_tree_write() got them */
        int out_fd;           /* the tree's top */
        struct cache_tree_total total;
        struct { /* the directory of the last file's source */
                unsigned layer;
                int fd; /* -1: none */
                char path[PATH_MAX];
        } from;
        char source[PATH_MAX]; /* of the file at hand */
        char path[PATH_MAX];   /* of the directory being written, below the top */
        size_t len;
};

static void push(struct writer *w, const char *name) {
        /* Paths below the top are part of paths that the scan has measured. */
        w->len +=
            (size_t)snprintf(w->path + w->len, sizeof w->path - w->len, "%s%s", w->len ? "/" : "", name);
}

static void pop(struct writer *w, size_t len) {
        w->path[len] = '\0';
        w->len = len;
}

/* ---- selection ---- */

/* Marks what is wanted and returns if anything below is; an empty directory counts by its own name. */
static bool mark(struct writer *w, struct cache_tree_node *n) {
        size_t len = w->len;

        push(w, n->name);
        if (!S_ISDIR(n->mode)) {
                n->kept = oci_selection_wants(w->selection, w->path);
        } else {
                n->kept = !n->first && oci_selection_wants(w->selection, w->path);
                for (struct cache_tree_node *c = n->first; c; c = c->next)
                        n->kept |= mark(w, c);
        }
        if (n->kept && S_ISREG(n->mode)) {
                w->total.files++;
                w->total.size += n->size;
        }
        pop(w, len);
        return n->kept;
}

/* ---- files ---- */

/* Where the file lies below its layer's directory in the store: w->source, "tree/dir/name", or "blob" and the
 * like. */
static int find_source(struct writer *w, const struct cache_tree_node *n, struct error *e) {
        const struct plan_blob *b = &w->blobs[n->layer];
        char path[PATH_MAX];
        const char *p = n->source;
        size_t prefix = b->path ? strlen(b->path) : 0;
        int len;

        if (n->raw) {
                snprintf(w->source, sizeof w->source, "%s", cache_layer_file(cache_form_of(b)));
                return 0;
        }
        if (!p && cache_tree_path(n, path) == 0)
                p = path;
        if (!p)
                return error_set(e, ERROR_INVALID, "the path of \"%s\" is too long", n->name);
        if (prefix > 0)
                p += prefix + 1;
        len = snprintf(w->source, sizeof w->source, "tree/%s", p);
        if (len < 0 || (size_t)len >= sizeof w->source)
                return error_set(e, ERROR_INVALID, "the path of \"%s\" is too long", n->name);
        return 0;
}

/* Opens the directory of w->source, if it is not the open one; *ret_base is the name in it. */
static int open_source(struct writer *w, const struct cache_tree_node *n, const char **ret_base,
                       struct error *e) {
        char *slash;
        int r;

        r = find_source(w, n, e);
        if (r < 0)
                return r;
        slash = strrchr(w->source, '/');
        *ret_base = slash ? slash + 1 : w->source;
        if (slash)
                *slash = '\0';
        if (w->from.fd >= 0 && w->from.layer == n->layer && slash && strcmp(w->from.path, w->source) == 0)
                return 0;
        if (w->from.fd >= 0)
                close(take_fd(w->from.fd));
        w->from.fd = path_open(w->layer_fds[n->layer], slash ? w->source : "", O_RDONLY | O_DIRECTORY, 0, e);
        if (w->from.fd < 0)
                return w->from.fd;
        w->from.layer = n->layer;
        snprintf(w->from.path, sizeof w->from.path, "%s", slash ? w->source : "");
        return 0;
}

static int copy_data(int from, int to, const char *name, struct error *e) {
        for (;;) {
                ssize_t n = copy_file_range(from, NULL, to, NULL, COPY_CHUNK, 0);

                if (n == 0)
                        return 0;
                if (n < 0 && errno != EINTR)
                        return error_errno(e, errno, "copy %s", name);
        }
}

static int make_file(int dir_fd, const char *name, struct error *e) {
        int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

        return fd < 0 ? error_errno(e, errno, "make %s", name) : fd;
}

static int finish_file(int fd, mode_t mode, const struct timespec times[2], const char *name,
                       struct error *e) {
        if (fchmod(fd, mode & 0777) < 0 || futimens(fd, times) < 0 || fsync(fd) < 0)
                return error_errno(e, errno, "finish %s", name);
        return 0;
}

/* With mode and times of the original; only where a link is not possible. */
static int copy_file(int from_dir, const char *from_name, int dir_fd, const char *name, struct error *e) {
        _cleanup_close_ int from = openat(from_dir, from_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        _cleanup_close_ int to = -1;
        struct stat st;
        int r;

        if (from < 0 || fstat(from, &st) < 0)
                return error_errno(e, errno, "open %s", name);
        to = make_file(dir_fd, name, e);
        if (to < 0)
                return to;
        r = copy_data(from, to, name, e);
        if (r < 0)
                return r;
        return finish_file(to, st.st_mode, (struct timespec[]){ st.st_atim, st.st_mtim }, name, e);
}

static int put_symlink(struct writer *w, const char *base, int dir_fd, const char *name, struct error *e) {
        char target[PATH_MAX];
        ssize_t n = readlinkat(w->from.fd, base, target, sizeof target);

        if (n < 0)
                return error_errno(e, errno, "read the symbolic link %s", name);
        if ((size_t)n >= sizeof target)
                return error_set(e, ERROR_INVALID, "the symbolic link \"%s\" is too long", name);
        target[n] = '\0';
        return symlinkat(target, dir_fd, name) < 0 ? error_errno(e, errno, "make the symbolic link %s", name)
                                                   : 0;
}

static int put_made(const struct cache_tree_node *n, int dir_fd, struct error *e) {
        _cleanup_close_ int fd = make_file(dir_fd, n->name, e);
        const struct timespec same_on_all_nodes[2] = { { 0 } };
        size_t done = 0;

        if (fd < 0)
                return fd;
        while (done < n->made->len) {
                ssize_t k = write(fd, n->made->data + done, n->made->len - done);

                if (k < 0 && errno != EINTR)
                        return error_errno(e, errno, "write %s", n->name);
                if (k > 0)
                        done += (size_t)k;
        }
        return finish_file(fd, n->made->mode, same_on_all_nodes, n->name, e);
}

/* One name of the tree, as a link, a symbolic link or a file of its own. */
static int put_file(struct writer *w, const struct cache_tree_node *n, int dir_fd, struct error *e) {
        const char *base;
        int r;

        if (n->made)
                return put_made(n, dir_fd, e);
        r = open_source(w, n, &base, e);
        if (r < 0)
                return r;
        if (S_ISLNK(n->mode))
                return put_symlink(w, base, dir_fd, n->name, e);
        if (linkat(w->from.fd, base, dir_fd, n->name, 0) == 0)
                return 0;
        if (errno == EMLINK || errno == EXDEV)
                return copy_file(w->from.fd, base, dir_fd, n->name, e);
        return error_errno(e, errno, "link %s", n->name);
}

/* ---- directories ---- */

/* Not inlined, as finish_dir(): only small frames in the recursion. */
__attribute__((noinline)) static int fill_dir(struct writer *w, const struct cache_tree_node *dir,
                                              struct error *e) {
        _cleanup_close_ int fd = path_open(w->out_fd, w->path, O_RDONLY | O_DIRECTORY, 0, e);
        int r = fd < 0 ? fd : 0;

        for (const struct cache_tree_node *n = dir->first; n && r >= 0; n = n->next) {
                if (!n->kept)
                        continue;
                if (!S_ISDIR(n->mode))
                        r = put_file(w, n, fd, e);
                else if (mkdirat(fd, n->name, 0700) < 0)
                        r = error_errno(e, errno, "make directory %s", n->name);
        }
        return r;
}

__attribute__((noinline)) static int finish_dir(struct writer *w, const struct cache_tree_node *dir,
                                                bool is_top, struct error *e) {
        struct timespec times[2] = { { .tv_sec = dir->mtime }, { .tv_sec = dir->mtime } };
        /* Whoever the pod runs as can enter its volume; and its owner, who may not be root, can rename it. */
        mode_t mode = (dir->mode & 0777) | (is_top ? 0755 : 0);
        _cleanup_close_ int fd = path_open(w->out_fd, w->path, O_RDONLY | O_DIRECTORY, 0, e);

        if (fd < 0)
                return fd;
        if (fchmod(fd, mode) < 0 || futimens(fd, times) < 0 || fsync(fd) < 0)
                return error_errno(e, errno, "finish directory %s", w->path);
        return 0;
}

/* What is in it before itself: its mode may forbid writing, and its time changes with each name. */
static int write_dir(struct writer *w, const struct cache_tree_node *dir, bool is_top, struct error *e) {
        size_t len = w->len;
        int r;

        r = fill_dir(w, dir, e);
        for (const struct cache_tree_node *n = dir->first; n && r >= 0; n = n->next)
                if (n->kept && S_ISDIR(n->mode)) {
                        push(w, n->name);
                        r = write_dir(w, n, false, e);
                        pop(w, len);
                }
        return r < 0 ? r : finish_dir(w, dir, is_top, e);
}

static int nothing_selected(const struct cache_tree_node *top, struct error *e) {
        _cleanup_buf_ struct buf names = BUF_INIT(512);
        char path[PATH_MAX];

        cache_tree_list(&names, top);
        if (cache_tree_path(top, path) < 0)
                path[0] = '\0';
        return error_set(
            e, ERROR_INVALID,
            "no file below root \"%s\" is selected; change include or exclude: it has %s at its top", path,
            buf_text(&names));
}

int cache_tree_write(struct cache_tree_total *ret, struct cache_tree_node *top,
                     const struct oci_selection *selection, const struct plan_blob *blobs,
                     const int *layer_fds, int out_fd, struct error *e) {
        _cleanup_free_ struct writer *w = malloc(sizeof *w);
        int r;

        if (!w)
                return error_errno(e, ENOMEM, "write a model's tree");
        *w = (struct writer){
                .selection = selection, .blobs = blobs, .layer_fds = layer_fds, .out_fd = out_fd
        };
        w->from.fd = -1;
        for (struct cache_tree_node *n = top->first; n; n = n->next)
                (void)mark(w, n);
        if (w->total.files == 0)
                return nothing_selected(top, e);
        r = write_dir(w, top, true, e);
        if (w->from.fd >= 0)
                close(w->from.fd);
        if (r < 0)
                return r;
        *ret = w->total;
        return 0;
}
