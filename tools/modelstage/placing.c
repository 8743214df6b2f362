/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory is the caller's and may hold anything, links included; names come from an artifact. So
 * directories are entered below a descriptor without following links (base/path), and only the last component
 * is made, linked or renamed. Links cost nothing and keep the data where the engine has put it, verified and
 * durable.
 *
 * First it is looked whether anything is in the way; nothing has been done then. What fails later (the disk,
 * or somebody who works in the directory at the same time) is undone backwards: what was made goes, and what
 * was replaced comes back from the spare directory, where it has had a second name until the end.
 */
#include "tools/modelstage/placing.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"

/* What became of an entry. */
enum fate { FATE_NOTHING, FATE_MADE, FATE_REPLACED };

struct spare_name {
        char text[64];
};

static struct spare_name spare_new(const struct placing *p) {
        struct spare_name name;

        snprintf(name.text, sizeof name.text, "%s/placing", p->spare);
        return name;
}

static struct spare_name spare_old(const struct placing *p, size_t i) {
        struct spare_name name;

        snprintf(name.text, sizeof name.text, "%s/old-%zu", p->spare, i);
        return name;
}

/* ---- before ---- */

static int check_one(const struct placing *p, const struct cache_file *f, struct error *e) {
        const char *why = NULL;
        struct stat st;

        if (fstatat(p->dir_fd, f->path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                if (errno == ENOENT || errno == ENOTDIR) /* the directory in between is an entry too */
                        return 0;
                return error_errno(e, errno, "%s/%s", p->dir, f->path);
        }
        if (S_ISDIR(f->mode))
                why = S_ISDIR(st.st_mode) ? NULL : " and is not a directory";
        else if (!p->force)
                why = "; --force replaces it";
        else if (S_ISDIR(st.st_mode))
                why = " and is not a file";
        return why ? error_set(e, ERROR_EXISTS, "%s/%s exists already%s", p->dir, f->path, why) : 0;
}

/* ---- one entry ---- */

static int make_directory(enum fate *ret, const struct cache_file *f, int parent_fd, const char *base) {
        mode_t mode = (f->mode & 0777) | 0700;

        if (mkdirat(parent_fd, base, mode) < 0)
                return errno == EEXIST ? 0
                                       : -errno; /* there before, or a stranger that is met further below */
        *ret = FATE_MADE;
        return fchmodat(parent_fd, base, mode, 0) < 0 ? -errno : 0; /* whatever the umask is */
}

/* Where one may not link to somebody else's file. */
static int move_old(const struct placing *p, size_t i, int parent_fd, const char *base) {
        struct stat st;

        if (fstatat(parent_fd, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        return renameat(parent_fd, base, p->dir_fd, spare_old(p, i).text) < 0 ? -errno : 0;
}

/* Gives what is at @base a second name, from which it can come back. */
static int keep_old(enum fate *ret, const struct placing *p, size_t i, int parent_fd, const char *base) {
        int r = linkat(parent_fd, base, p->dir_fd, spare_old(p, i).text, 0) < 0 ? -errno : 0;

        if (r == -EPERM)
                r = move_old(p, i, parent_fd, base);
        if (r < 0 && r != -ENOENT)
                return r;
        *ret = r == -ENOENT ? FATE_MADE : FATE_REPLACED;
        return 0;
}

/* With --force: a second name in the spare directory, then renamed over what is there. */
static int link_over(enum fate *ret, const struct placing *p, size_t i, int tree_fd, int parent_fd,
                     const char *base) {
        struct spare_name name = spare_new(p);
        enum fate fate = FATE_NOTHING;
        int r;

        if (linkat(tree_fd, p->files[i].path, p->dir_fd, name.text, 0) < 0)
                return -errno;
        r = keep_old(&fate, p, i, parent_fd, base);
        if (r == 0 && renameat(p->dir_fd, name.text, parent_fd, base) < 0)
                r = -errno;
        (void)unlinkat(p->dir_fd, name.text, 0); /* still there if both were names of one file already */
        if (r == 0 || fate == FATE_REPLACED)
                *ret = fate;
        return r;
}

static int link_file(enum fate *ret, const struct placing *p, size_t i, int tree_fd, int parent_fd,
                     const char *base) {
        const struct cache_file *f = &p->files[i];

        if (p->force) {
                int r = link_over(ret, p, i, tree_fd, parent_fd, base);
                if (r < 0)
                        return r;
        } else if (linkat(tree_fd, f->path, parent_fd, base, 0) < 0)
                return -errno;
        else
                *ret = FATE_MADE;
        /* In the cache nobody may write; here they are the caller's plain files. */
        if (S_ISREG(f->mode) && fchmodat(parent_fd, base, (f->mode & 0777) | 0200, 0) < 0)
                return -errno;
        return 0;
}

static int place_one(enum fate *ret, const struct placing *p, size_t i, int tree_fd, struct error *e) {
        const struct cache_file *f = &p->files[i];
        const char *base;
        _cleanup_close_ int parent_fd = path_open_parent(&base, p->dir_fd, f->path, e);
        int r;

        if (parent_fd < 0)
                return error_wrap(e, "%s", p->dir);
        r = S_ISDIR(f->mode) ? make_directory(ret, f, parent_fd, base)
                             : link_file(ret, p, i, tree_fd, parent_fd, base);
        if (r == -EEXIST || r == -EISDIR)
                return error_set(e, ERROR_EXISTS, "%s/%s exists already", p->dir, f->path);
        return r < 0 ? error_errno(e, r, "place %s/%s", p->dir, f->path) : 0;
}

static void undo_one(enum fate fate, const struct placing *p, size_t i) {
        const struct cache_file *f = &p->files[i];
        const char *base;
        _cleanup_close_ int parent_fd =
            fate == FATE_NOTHING ? -1 : path_open_parent(&base, p->dir_fd, f->path, NULL);

        if (parent_fd < 0)
                return;
        if (fate == FATE_MADE)
                (void)unlinkat(parent_fd, base, S_ISDIR(f->mode) ? AT_REMOVEDIR : 0);
        else
                (void)renameat(p->dir_fd, spare_old(p, i).text, parent_fd, base);
}

int placing_run(const struct placing *p, struct error *e) {
        _cleanup_close_ int tree_fd = open(p->tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_free_ enum fate *fates = calloc(p->n + 1, sizeof *fates);
        size_t i;
        int r = 0;

        if (tree_fd < 0)
                return error_errno(e, errno, "open the model's tree");
        if (!fates)
                return error_errno(e, ENOMEM, "place the files");
        for (i = 0; i < p->n; i++)
                if ((r = check_one(p, &p->files[i], e)) < 0)
                        return r;
        for (i = 0; i < p->n && r == 0; i++)
                r = place_one(&fates[i], p, i, tree_fd, e);
        while (r < 0 && i-- > 0)
                undo_one(fates[i], p, i);
        return r;
}
