/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory is the caller's and may hold anything, links included; names come from an artifact. So
 * directories are made and entered below a descriptor without following links (base/path), and only the last
 * component is linked or renamed. Links cost nothing and keep the data where the engine has put it, verified
 * and durable.
 */
#include "tools/modelstage/placing.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"

static int check_free(const struct placing *p, struct error *e) {
        for (size_t i = 0; i < p->n; i++) {
                struct stat st;
                if (fstatat(p->dir_fd, p->files[i].path, &st, AT_SYMLINK_NOFOLLOW) == 0)
                        return error_set(e, ERROR_EXISTS, "%s/%s exists already; --force replaces it", p->dir,
                                         p->files[i].path);
                if (errno != ENOENT && errno != ENOTDIR)
                        return error_errno(e, errno, "%s/%s", p->dir, p->files[i].path);
        }
        return 0;
}

/* With --force: a second name in the spare directory, then renamed over what is there. */
static int link_over(const struct placing *p, int tree_fd, const char *path, int parent_fd) {
        char spare[64];

        snprintf(spare, sizeof spare, "%s/placing", p->spare);
        if (linkat(tree_fd, path, p->dir_fd, spare, 0) < 0)
                return -errno;
        int r = renameat(p->dir_fd, spare, parent_fd, path_base(path)) < 0 ? -errno : 0;
        (void)unlinkat(p->dir_fd, spare, 0); /* still there if both were names of one file already */
        return r;
}

static int place_one(const struct placing *p, int tree_fd, const struct cache_file *f, struct error *e) {
        _cleanup_close_ int parent_fd = path_make_dirs(p->dir_fd, f->path, 0755, true, e);
        struct stat st;
        int r = 0;

        if (parent_fd < 0)
                return error_wrap(e, "%s", p->dir);
        if (fstatat(tree_fd, f->path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(e, errno, "look at %s in the model's tree", f->path);
        if (p->force)
                r = link_over(p, tree_fd, f->path, parent_fd);
        else if (linkat(tree_fd, f->path, parent_fd, path_base(f->path), 0) < 0)
                r = -errno;
        if (r == -EEXIST || r == -EISDIR)
                return error_set(e, ERROR_EXISTS, "%s/%s exists already%s", p->dir, f->path,
                                 p->force ? " and is not a file" : "");
        if (r < 0)
                return error_errno(e, r, "place %s/%s", p->dir, f->path);
        /* In the cache nobody may write; here they are the caller's plain files. */
        if (S_ISREG(st.st_mode) && fchmodat(parent_fd, path_base(f->path), (st.st_mode & 0777) | 0200, 0) < 0)
                return error_errno(e, errno, "set the mode of %s/%s", p->dir, f->path);
        return 0;
}

int placing_run(const struct placing *p, struct error *e) {
        _cleanup_close_ int tree_fd = open(p->tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        size_t done = 0;
        int r = 0;

        if (tree_fd < 0)
                return error_errno(e, errno, "open the model's tree");
        if (!p->force && (r = check_free(p, e)) < 0)
                return r;
        while (done < p->n && (r = place_one(p, tree_fd, &p->files[done], e)) == 0)
                done++;
        if (r < 0 && !p->force)
                while (done-- > 0)
                        (void)unlinkat(p->dir_fd, p->files[done].path, 0);
        return r;
}
