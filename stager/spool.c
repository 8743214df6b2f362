/* SPDX-License-Identifier: Apache-2.0 */
#include "stager/spool.h"

#include "base/log.h"
#include "base/path.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define PIECE ((size_t)256 << 10)

bool spool_is_for(const struct transfer *t) {
        uint64_t window = (uint64_t)arena_segments(t->engine->arena, ARENA_WINDOW) * SEGMENT_SIZE;

        return t->order.codec != PLAN_CODEC_NONE && t->order.spare && !t->no_spool &&
               t->order.size > window && !oci_blob_is_layout(t->order.source);
}

/* A file, and cut to what is known of it: a kill leaves it as long as the blob. */
static int open_kept(struct spool *s, const struct resume *from, struct error *e) {
        struct stat st;

        s->fd = path_open(s->transfer->order.dir_fd, CACHE_PACKED, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0, NULL);
        if (s->fd < 0 || fstat(s->fd, &st) < 0 || !S_ISREG(st.st_mode) ||
            ftruncate(s->fd, (off_t)from->start.pos) < 0)
                return error_set(e, ERROR_DATA_LOSS, "what was kept of a blob cannot be used");
        s->data = malloc(PIECE);
        if (!s->data)
                return error_errno(e, ENOMEM, "go on with a blob");
        (void)posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        s->want = from->state;
        sha256_init(&s->hash);
        return 0;
}

static int open_rest(struct spool *s, uint64_t kept, struct error *e) {
        const struct transfer_order *o = &s->transfer->order;
        struct placer *p = &s->transfer->spooler;

        return kept > 0 ? place_open_kept(&s->file, p, o->dir_fd, CACHE_PACKED, o->size, kept, e)
                        : place_open_straight(&s->file, p, o->dir_fd, CACHE_PACKED, o->size, e);
}

static void give_back(struct spool *s) {
        const struct transfer_order *o = &s->transfer->order;

        if (s->spared > 0)
                o->spared(o->userdata, s->spared);
        s->spared = 0;
}

/* Nothing more is kept; what was stays. */
static void do_without(struct spool *s, uint64_t kept) {
        int dir_fd = s->transfer->order.dir_fd;
        _cleanup_close_ int fd = openat(dir_fd, CACHE_PACKED, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

        s->file = NULL;
        placer_restart(&s->transfer->spooler);
        if (kept == 0)
                (void)unlinkat(dir_fd, CACHE_PACKED, 0);
        if (fd >= 0 && ftruncate(fd, (off_t)kept) < 0) /* some of the rest may have been allocated */
                log_debug(FETCH, "what was kept of a blob cannot be cut: %s", strerror(errno));
        give_back(s);
}

int spool_begin(struct spool *s, struct transfer *t, const struct resume *from, struct error *e) {
        uint64_t kept = from->start.pos;
        char digest[DIGEST_TEXT_SIZE];
        struct error why;

        *s = (struct spool){ .transfer = t, .fd = -1 };
        int r = kept > 0 ? open_kept(s, from, e) : 0;
        if (r < 0)
                return r;
        r = t->order.spare(t->order.userdata, t->order.size);
        if (r < 0) {
                log_debug(FETCH, "blob %s is not kept while it comes: %s",
                          digest_format(&t->order.digest, digest), strerror(-r));
                return 0;
        }
        s->spared = t->order.size;
        if (open_rest(s, kept, &why) < 0) {
                log_info("Blob %s is not kept while it comes: %s", digest_format(&t->order.digest, digest),
                         why.text);
                do_without(s, kept);
        }
        return 0;
}

/* Of exactly that many bytes. */
static int read_piece(struct spool *s, size_t len, struct error *e) {
        for (size_t done = 0; done < len;) {
                ssize_t n = pread(s->fd, s->data + done, len - done, (off_t)(s->pos + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(e, errno, "read what was kept of a blob");
                if (n == 0)
                        return error_set(e, ERROR_DATA_LOSS, "what was kept of a blob became shorter");
                done += (size_t)n;
        }
        return 0;
}

/* The digest is told nothing of these bytes, since it begins behind them. So they have to be those that it
 * was told of. */
int spool_next(struct spool *s, const void **ret, size_t *ret_len, struct error *e) {
        uint64_t left = s->fd >= 0 ? s->want.len - s->pos : 0;
        size_t len = left < PIECE ? (size_t)left : PIECE;

        if (len == 0)
                return 0;
        int r = window_check(&s->transfer->window, e);
        if (r == 0)
                r = read_piece(s, len, e);
        if (r < 0)
                return r;
        sha256_update(&s->hash, s->data, len);
        s->pos += len;
        if (s->pos == s->want.len && !sha256_equal(&s->hash, &s->want))
                return error_set(e, ERROR_DATA_LOSS, "what was kept of a blob changed while it was read");
        *ret = s->data;
        *ret_len = len;
        return 1;
}

bool spool_is_in_use(const struct spool *s) {
        return s->file || s->fd >= 0;
}

void spool_end(struct spool *s, bool done) {
        char digest[DIGEST_TEXT_SIZE];
        struct error e;

        if (!s->transfer) /* it was never begun */
                return;
        if (s->file && placer_drain(&s->transfer->spooler, &e) < 0) /* whoever goes on finds out how far */
                log_info("Blob %s was not kept as a whole: %s",
                         digest_format(&s->transfer->order.digest, digest), e.text);
        placer_restart(&s->transfer->spooler);
        if (done)
                (void)unlinkat(s->transfer->order.dir_fd, CACHE_PACKED, 0);
        give_back(s);
        if (s->fd >= 0)
                close(s->fd);
        free(s->data);
        *s = (struct spool){ .fd = -1 };
}
