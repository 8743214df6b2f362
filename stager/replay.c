/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An entry of the journal is given out in pieces. The data of a file that was linked are passed over by
 * unpack_tar(), and so are given as zeros where it does not skip them; those of a file that it wants to have
 * written again, for whatever reason, are read.
 */
#include "stager/replay.h"

#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PIECE ((size_t)256 << 10)
#define BLOCK ((uint64_t)4096) /* what place_write.c writes at least */
#define OLD_TREE "tree"

struct replay {
        struct replay_order order;
        struct resume_reader *reader;
        uint64_t pos; /* of the stream: what comes next */
        struct journal_entry entry;
        uint64_t used;   /* of the entry */
        bool known;      /* there is an entry, not used up */
        uint64_t linked; /* data before it (of the stream) are those of a file that was linked */
        bool arrived;
        char data[PIECE];
};

int replay_new(struct replay **ret, const struct replay_order *order, struct error *e) {
        _cleanup_(replay_freep) struct replay *r = calloc(1, sizeof *r);

        if (!r)
                return error_errno(e, ENOMEM, "go on with an archive");
        r->order = *order;
        int result = resume_reader_new(&r->reader, order->dir_fd, order->upto, e);
        if (result == 0)
                *ret = take_ptr(r);
        return result;
}

void replay_free(struct replay *r) {
        if (!r)
                return;
        resume_reader_free(r->reader);
        free(r);
}

/* 1: r->entry is what comes next; 0: the end. */
static int look(struct replay *r, struct error *e) {
        if (r->known)
                return 1;
        int result = resume_reader_next(r->reader, &r->entry, e);
        r->known = result > 0;
        r->used = 0;
        return result;
}

static void use(struct replay *r, uint64_t len) {
        r->pos += len;
        r->used += len;
        r->known = r->used < r->entry.len;
}

static int arrive(struct replay *r, struct error *e) {
        int fd = r->order.dir_fd;

        if (r->arrived)
                return 0;
        int result = path_remove_tree(fd, REPLAY_OLD, e);
        if (result < 0)
                return result;
        if (renameat(fd, OLD_TREE, fd, REPLAY_OLD) < 0 || renameat(fd, REPLAY_TREE, fd, OLD_TREE) < 0)
                return error_errno(e, errno, "put what was kept in its place");
        result = path_remove_tree(fd, REPLAY_OLD, e);
        if (result < 0)
                return result;
        r->arrived = true;
        return r->order.arrive(r->order.userdata, e);
}

/* ---- bytes ---- */

static int read_file(struct replay *r, size_t len, struct error *e) {
        _cleanup_close_ int fd = path_open(r->order.dir_fd, r->entry.name, O_RDONLY | O_NOFOLLOW, 0, e);
        uint64_t offset = r->entry.offset + r->used;

        if (fd < 0)
                return fd;
        for (size_t done = 0; done < len;) {
                ssize_t n = pread(fd, r->data + done, len - done, (off_t)(offset + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return error_errno(e, n < 0 ? errno : EIO, "read what was kept of an archive");
                done += (size_t)n;
        }
        return 0;
}

/* The next piece of the entry. */
static int give(struct replay *r, const void **ret, size_t *ret_len, struct error *e) {
        uint64_t left = r->entry.len - r->used;
        size_t len = left < PIECE ? (size_t)left : PIECE;
        int result = 0;

        *ret = r->data;
        switch (r->entry.kind) {
        case JOURNAL_BYTES:
                *ret = r->entry.data + r->used;
                len = (size_t)left;
                break;
        case JOURNAL_FILE:
                if (r->pos < r->linked && len > r->linked - r->pos)
                        len = (size_t)(r->linked - r->pos);
                if (r->pos >= r->linked) {
                        result = read_file(r, len, e);
                        break;
                } /* fall through */
        case JOURNAL_ZEROS:
                memset(r->data, 0, len);
                break;
        }
        *ret_len = len;
        use(r, len);
        return result < 0 ? result : 1;
}

static int next(void *userdata, const void **ret, size_t *ret_len, struct error *e) {
        struct replay *r = userdata;
        const struct unpack_source *after = r->order.after;
        int result = r->arrived ? 0 : look(r, e);

        if (result > 0)
                return give(r, ret, ret_len, e);
        if (result == 0)
                result = arrive(r, e);
        return result < 0 ? result : after->next(after->userdata, ret, ret_len, e);
}

static int64_t skip(void *userdata, uint64_t len, struct error *e) {
        struct replay *r = userdata;
        const struct unpack_source *after = r->order.after;
        uint64_t done = 0;
        int result = 0;

        while (!r->arrived && done < len && (result = look(r, e)) > 0) {
                uint64_t left = r->entry.len - r->used, n = left < len - done ? left : len - done;

                use(r, n);
                done += n;
        }
        if (result < 0 || done > 0)
                return result < 0 ? result : (int64_t)done;
        result = arrive(r, e);
        return result < 0 ? result : after->skip(after->userdata, len, e);
}

/* ---- files ---- */

static bool is_last(const struct replay *r, const struct replay_last *l) {
        return l->data + l->size >= r->order.upto;
}

/* Is the file that both trees have now, @st, this member's and nobody else's? Its bytes are right, but the
 * name may have come again since for a longer file that begins alike, or for a link to another one. What
 * follows the last one is not kept, so that one may have been left longer than it is going to be. */
static bool is_members_alone(const struct replay *r, const struct replay_last *l, const struct stat *st) {
        return st->st_nlink <= 2 && ((uint64_t)st->st_size <= l->size || is_last(r, l));
}

static int cut(const struct replay_last *l, struct error *e) {
        _cleanup_close_ int fd = openat(l->parent_fd, l->name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0 || ftruncate(fd, (off_t)l->size) < 0)
                return error_errno(e, errno, "set the size of %s", l->name);
        return 0;
}

/* 0, or why the name could not be taken back. */
static int leave(const struct replay *r, const struct replay_last *l, struct error *e) {
        placer_again(r->order.placer, l->kept);
        return unlinkat(l->parent_fd, l->name, 0) < 0 ? error_errno(e, errno, "replace %s", l->name) : 0;
}

/* A new name for the old file: 1; 0: it has to be read, and its bytes written anew. */
static int link_file(const struct replay *r, const struct replay_last *l, struct error *e) {
        const char *base;
        _cleanup_close_ int old = path_open_parent(&base, r->order.dir_fd, r->entry.name, e);
        struct stat st;

        if (old < 0)
                return old;
        if (linkat(old, base, l->parent_fd, l->name, 0) < 0)
                return error_errno(e, errno, "keep %s", l->name);
        if (fstatat(l->parent_fd, l->name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                return error_set(e, ERROR_INVALID, "what was kept of %s is no file", l->name);
        if (!is_members_alone(r, l, &st))
                return leave(r, l, e);
        int result = (uint64_t)st.st_size > l->size ? cut(l, e) : 0;
        return result < 0 ? result : 1;
}

static int adopt_kept(struct replay *r, struct unpack_adopted *ret, const struct replay_last *l,
                      struct error *e) {
        bool complete = l->kept == l->size;
        int result = link_file(r, l, e);

        if (result <= 0)
                return result;
        r->linked = l->data + l->kept;
        *ret = (struct unpack_adopted){ .kept = l->kept, .from = UINT64_MAX };
        if (complete)
                result = placer_keep(r->order.placer, l->size, e);
        if (result >= 0 && is_last(r, l))
                result = r->order.last(r->order.userdata, ret, l, e);
        return result < 0 ? result : 1;
}

static int adopt(void *userdata, struct unpack_adopted *ret, uint64_t data, uint64_t size, int parent_fd,
                 const char *name, struct error *e) {
        struct replay *r = userdata;
        const struct unpack_source *after = r->order.after;
        struct replay_last l = { .data = r->pos, .size = size, .parent_fd = parent_fd, .name = name };
        int result = r->arrived ? 0 : look(r, e);

        if (r->arrived || result == 0)
                return after->adopt ? after->adopt(after->userdata, ret, data, size, parent_fd, name, e) : 0;
        if (result < 0 || r->entry.kind != JOURNAL_FILE || r->used > 0 || r->entry.offset > 0 || size == 0 ||
            r->pos != data)
                return result < 0 ? result : 0;
        l.kept = r->order.upto - r->pos;
        l.kept = l.kept < size ? l.kept / BLOCK * BLOCK : size;
        return adopt_kept(r, ret, &l, e);
}

bool replay_has_arrived(const struct replay *r) {
        return r->arrived;
}

struct unpack_source replay_source(struct replay *r) {
        return (struct unpack_source){ .next = next, .skip = skip, .adopt = adopt, .userdata = r };
}
