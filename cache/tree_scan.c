/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree_scan: a layer on disk, read into a tree.
 *
 * Each directory is opened by its path from the layer's directory, read and closed before those in it, so one
 * descriptor is enough however deep it is. No symbolic link is followed.
 *
 * ".wh..wh.link.NAME" is NAME, a hard link to the lower file that its content names (the engine writes it for
 * a link to what is not in its archive). In a layer with whiteouts ".wh.NAME" hides NAME of lower layers and
 * ".wh..wh..opq" all of its directory; other names in ".wh..wh." are bookkeeping of old union file systems
 * and mean nothing.
 */
#include "base/path.h"
#include "base/text.h"
#include "cache/cache.h"
#include "cache/tree.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

struct scan {
        struct cache_tree *tree;
        int fd; /* of the layer's directory */
        unsigned layer;
        enum cache_tree_names names;
        size_t max_path;
        char path[PATH_MAX]; /* of the directory being read */
        size_t len;          /* of path */
        unsigned depth;      /* of the directory; 0: the top */
};

static int push(struct scan *s, const char *name, struct error *e) {
        size_t n = strlen(name), slash = s->len > 0;

        if (s->len + slash + n >= s->max_path)
                return error_set(e, ERROR_INVALID, "the path of \"%s\" is too long", name);
        if (slash)
                s->path[s->len] = '/';
        memcpy(s->path + s->len + slash, name, n + 1);
        s->len += slash + n;
        return 0;
}

static void pop(struct scan *s, size_t len) {
        s->path[len] = '\0';
        s->len = len;
}

/* A node that stands for the link until cache_tree_lay() knows what is below. */
static int add_link_marker(struct scan *s, int dir_fd, struct cache_tree_node *dir, const char *file,
                           const char *name, struct error *e) {
        _cleanup_free_ char *text = NULL, *target = NULL;
        struct cache_tree_node *n;
        size_t len;
        int r;

        if (cache_tree_child(dir, name)) /* the same layer has the file itself */
                return 0;
        if ((r = path_read_file(&text, &len, dir_fd, file, PATH_MAX, e)) < 0 ||
            (r = path_clean(&target, text, e)) < 0)
                return error_wrap(e, "hard link \"%s\"", name);
        r = cache_tree_add(&n, s->tree, dir, name, S_IFREG, e);
        if (r < 0)
                return r;
        n->marker = true;
        return cache_tree_set_source(s->tree, n, target, e);
}

static int scan_whiteout(struct scan *s, struct cache_tree_node *dir, const char *name, struct error *e) {
        if (strcmp(name, CACHE_WHITEOUT_OPAQUE) == 0) {
                dir->opaque = true;
                return 0;
        }
        if (text_starts_with(name, CACHE_WHITEOUT CACHE_WHITEOUT))
                return 0;
        return cache_tree_add_whiteout(s->tree, dir, name + strlen(CACHE_WHITEOUT), e);
}

/* One name of the directory at hand becomes a node, a whiteout, a marker, or nothing. */
static int scan_name(struct scan *s, int dir_fd, struct cache_tree_node *dir, const char *name,
                     struct error *e) {
        struct cache_tree_node *n;
        struct stat st;
        int r;

        if (s->names >= CACHE_TREE_LINKS && text_starts_with(name, CACHE_WHITEOUT_LINK))
                return add_link_marker(s, dir_fd, dir, name, name + strlen(CACHE_WHITEOUT_LINK), e);
        if (s->names == CACHE_TREE_WHITEOUTS && text_starts_with(name, CACHE_WHITEOUT))
                return scan_whiteout(s, dir, name, e);
        if (s->len + 1 + strlen(name) >= s->max_path)
                return error_set(e, ERROR_INVALID, "the path of \"%s\" is too long", name);
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(e, errno, "look at %s/%s", s->path, name);
        if (s->names == CACHE_TREE_DIRS && !S_ISDIR(st.st_mode))
                return 0;
        if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
                return error_set(e, ERROR_INVALID, "\"%s\" is neither file, directory nor symbolic link",
                                 name);
        n = cache_tree_child(dir, name);
        if (n) /* a link marker came first */
                cache_tree_remove(s->tree, n);
        r = cache_tree_add(&n, s->tree, dir, name, st.st_mode, e);
        if (r < 0)
                return r;
        n->layer = s->layer;
        n->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
        n->mtime = st.st_mtim.tv_sec;
        return 0;
}

static int open_dir(DIR **ret, struct scan *s, struct cache_tree_node *dir, struct error *e) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        fd = path_open(s->fd, s->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, e);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return error_errno(e, errno, "look at %s", s->path);
        dir->mode = st.st_mode;
        dir->mtime = st.st_mtim.tv_sec;
        *ret = fdopendir(fd);
        if (!*ret)
                return error_errno(e, errno, "read directory %s", s->path);
        (void)take_fd(fd);
        return 0;
}

/* False also where the file system does not tell with the name; scan_name() looks then. */
static bool is_other_than_dir(const struct dirent *entry) {
        return entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN;
}

static bool is_scanned(const struct scan *s, const struct dirent *entry) {
        return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
               !(s->names == CACHE_TREE_DIRS && is_other_than_dir(entry));
}

/* All names of one directory. It is closed again before those in it are read. */
static int read_names(struct scan *s, struct cache_tree_node *dir, struct error *e) {
        _cleanup_closedir_ DIR *d = NULL;
        const struct dirent *entry;
        int r;

        r = open_dir(&d, s, dir, e);
        while (r >= 0 && (errno = 0, entry = readdir(d)))
                if (is_scanned(s, entry))
                        r = scan_name(s, dirfd(d), dir, entry->d_name, e);
        if (r >= 0 && errno != 0)
                return error_errno(e, errno, "read directory %s", s->path);
        return r;
}

static int scan_dir(struct scan *s, struct cache_tree_node *dir, struct error *e) {
        size_t len = s->len;
        int r;

        if (++s->depth > CACHE_TREE_DEPTH_MAX)
                return error_set(e, ERROR_INVALID, "the artifact has more than %d directories in each other",
                                 CACHE_TREE_DEPTH_MAX);
        r = read_names(s, dir, e);
        for (struct cache_tree_node *n = dir->first; n && r >= 0; n = n->next) {
                if (!S_ISDIR(n->mode))
                        continue;
                r = push(s, n->name, e);
                if (r >= 0)
                        r = scan_dir(s, n, e);
                pop(s, len);
        }
        s->depth--;
        return r;
}

int cache_tree_scan(struct cache_tree **ret, int fd, unsigned layer, enum cache_tree_names names,
                    size_t max_path, struct error *e) {
        _cleanup_(cache_tree_freep) struct cache_tree *t = NULL;
        _cleanup_free_ struct scan *s = NULL;
        int r;

        r = cache_tree_new(&t, e);
        if (r < 0)
                return r;
        s = calloc(1, sizeof *s);
        if (!s)
                return error_errno(e, ENOMEM, "read a layer");
        *s = (struct scan){ .tree = t, .fd = fd, .layer = layer, .names = names, .max_path = max_path };
        r = scan_dir(s, t->top, e);
        if (r < 0)
                return r;
        *ret = take_ptr(t);
        return 0;
}
