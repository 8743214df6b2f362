/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the content reader tells is a list of pieces, what the digest reader tells a few marks. The mark that
 * is farthest along and that the pieces reach cuts off the front of the list, which becomes a batch. Only one
 * write is under way; what comes meanwhile makes a longer batch next time.
 *
 * The reactor writes and flushes. Its callback, and whoever tells something, hold the lock for moments; the
 * batches themselves are made by those who tell.
 */
#include "stager/keeper.h"

#include "base/log.h"
#include "base/text.h"
#include "cache/cache.h"
#include "stager/arena.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#define MARK_STEP ((uint64_t)4 << 20) /* of the blob between two marks, at least */
#define WAITING_MAX 64u               /* marks that the content reader has not come to yet */
#define PENDING_MAX JOURNAL_ENTRIES_MAX
/* Headers and names of files of some 6 KiB, with PAX headers of some 10. It is about what a tar of such files
 * leaves unused of the space that was promised for it. */
#define FILE_MAX(size) (((uint64_t)1 << 20) + (size) / 16)
/* What a power cut costs at most, beside what is on its way: */
#define FLUSH_MS 5000
#define FLUSH_BYTES ((uint64_t)256 << 20)

struct piece {
        struct piece *next;
        uint64_t from, to; /* of the blob */
        uint64_t offset;   /* in the file */
        bool is_file;
        size_t used; /* of data, by earlier batches */
        char data[]; /* the file's name, or the bytes */
};

struct keeper {
        struct reactor *reactor;
        int dir_fd;
        struct journal_head head;
        uint64_t next_mark; /* the digest reader's own */

        pthread_mutex_t lock; /* guards what follows */
        pthread_cond_t idle;
        int fd;                             /* -1: nothing was written yet */
        bool ended;                         /* says no more */
        struct piece *pieces, **pieces_end; /* [written, covered) */
        size_t pending;                     /* bytes that they take in memory */
        uint64_t written, covered;          /* bytes of the blob: in batches, told by the content reader */
        struct sha256 waiting[WAITING_MAX]; /* marks, by position */
        size_t n_waiting;
        uint64_t len; /* of the journal */
        struct buf out;
        struct disk_op op; /* writes `out`, or flushes */
        bool busy;
        uint64_t flushed; /* bytes of the blob that the flushed journal tells of, and */
        int64_t flushed_ms;
};

int keeper_new(struct keeper **ret, struct reactor *r, int dir_fd, const struct journal_head *head,
               const struct keeper_start *start, struct error *e) {
        struct keeper *k = calloc(1, sizeof *k);

        if (!k)
                return error_errno(e, ENOMEM, "keep a journal");
        *k = (struct keeper){ .reactor = r,
                              .dir_fd = dir_fd,
                              .head = *head,
                              .fd = -1,
                              .written = start->pos,
                              .covered = start->pos,
                              .len = start->journal_len,
                              .flushed = start->pos,
                              .out = BUF_INIT(2 * JOURNAL_ENTRIES_MAX),
                              .flushed_ms = time_monotonic_ms() };
        k->next_mark = start->pos + MARK_STEP;
        k->pieces_end = &k->pieces;
        pthread_mutex_init(&k->lock, NULL);
        pthread_cond_init(&k->idle, NULL);
        *ret = k;
        return 0;
}

/* ---- pieces; lock held ---- */

static void drop_first(struct keeper *k) {
        struct piece *p = k->pieces;

        k->pieces = p->next;
        if (!k->pieces)
                k->pieces_end = &k->pieces;
        k->pending -= sizeof *p + (p->is_file ? strlen(p->data) + 1 : (size_t)(p->to - p->from) + p->used);
        free(p);
}

static void end(struct keeper *k, const char *why) {
        if (!k->ended)
                log_debug(FETCH, "the journal ends at %" PRIu64 " of %" PRIu64 ": %s", k->written,
                          k->head.size, why);
        k->ended = true;
        while (k->pieces)
                drop_first(k);
        k->n_waiting = 0;
}

static void add(struct keeper *k, const struct piece *as, const void *data, size_t len) {
        struct piece *p;

        if (k->ended || as->to <= k->covered)
                return;
        p = as->from == k->covered && k->pending + len <= PENDING_MAX ? malloc(sizeof *p + len) : NULL;
        if (!p) {
                end(k, as->from == k->covered ? "there is too much between two marks" : "there is a gap");
                return;
        }
        *p = *as;
        memcpy(p->data, data, len);
        *k->pieces_end = p;
        k->pieces_end = &p->next;
        k->pending += sizeof *p + len;
        k->covered = p->to;
}

/* Prints the part of the first piece that lies before @to, and takes it away. */
static int print_first(struct keeper *k, struct buf *out, uint64_t to) {
        struct piece *p = k->pieces;
        uint64_t len = (p->to < to ? p->to : to) - p->from;
        int r = journal_print_entry(out, &(struct journal_entry){
                                             .kind = p->is_file ? JOURNAL_FILE : JOURNAL_BYTES,
                                             .len = len,
                                             .offset = p->offset,
                                             .name = p->data,
                                             .data = p->data + p->used,
                                         });
        p->from += len;
        p->offset += len;
        if (!p->is_file)
                p->used += (size_t)len;
        if (p->from == p->to)
                drop_first(k);
        return r;
}

/* ---- batches; lock held ---- */

/* The last mark that lies in a file or at its end, of those that the pieces reach; all of these are
 * forgotten. Elsewhere, among headers, an archive could not be gone on with. */
static bool take_mark(struct keeper *k, struct sha256 *ret) {
        const struct piece *p = k->pieces;
        bool found = false;
        size_t n = 0;

        for (; n < k->n_waiting && k->waiting[n].len <= k->covered; n++) {
                while (p && p->to < k->waiting[n].len)
                        p = p->next;
                if (!p || !p->is_file)
                        continue;
                *ret = k->waiting[n];
                found = true;
        }
        k->n_waiting -= n;
        memmove(k->waiting, k->waiting + n, k->n_waiting * sizeof *k->waiting);
        return found;
}

/* The next batch, in k->out; the first time with the head. False: nothing to write. */
static bool make_batch(struct keeper *k) {
        _cleanup_buf_ struct buf entries = BUF_INIT(JOURNAL_ENTRIES_MAX);
        struct journal_batch b = { .from = k->written };
        char head[JOURNAL_HEAD_SIZE];
        int r = 0;

        if (k->ended || !take_mark(k, &b.state))
                return false;
        b.to = b.state.len;
        buf_clear(&k->out);
        if (k->len == 0) {
                journal_print_head(head, &k->head);
                r = buf_append(&k->out, head, sizeof head);
        }
        while (r == 0 && k->pieces && k->pieces->from < b.to)
                r = print_first(k, &entries, b.to);
        b.entries = entries.data;
        b.len = entries.len;
        if (r == 0)
                r = journal_print_batch(&k->out, &b);
        if (r < 0 || k->len + k->out.len > FILE_MAX(k->head.size)) {
                end(k, "it is too long");
                return false;
        }
        k->written = b.to;
        return true;
}

/* What was no journal, or is none any more, is cut off. */
static bool open_journal(struct keeper *k) {
        if (k->fd < 0) {
                k->fd = openat(k->dir_fd, CACHE_JOURNAL, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
                if (k->fd < 0 || ftruncate(k->fd, (off_t)k->len) < 0)
                        end(k, strerror(errno));
        }
        return !k->ended;
}

static bool wants_flush(const struct keeper *k) {
        return k->written - k->flushed >= FLUSH_BYTES || time_monotonic_ms() - k->flushed_ms >= FLUSH_MS;
}

static void on_done(struct ring_op *op, int result) {
        struct keeper *k = op->owner;
        LOCK_SCOPE(&k->lock);

        k->busy = false;
        if (result < 0) {
                end(k, strerror(-result)); /* what was written of it is a torn batch */
        } else if (!k->op.sync && wants_flush(k)) {
                k->flushed_ms = time_monotonic_ms();
                k->flushed = k->written;
                k->busy = true;
                k->op = (struct disk_op){ .op = { .done = on_done, .owner = k }, .sync = true, .fd = k->fd };
                disk_submit(k->reactor, &k->op);
        }
        pthread_cond_signal(&k->idle);
}

static void write_now(struct keeper *k) {
        for (size_t done = 0; done < k->out.len;) {
                ssize_t n = pwrite(k->fd, k->out.data + done, k->out.len - done, (off_t)(k->len + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) {
                        end(k, "it cannot be written");
                        return;
                }
                done += (size_t)n;
        }
        k->len += k->out.len;
}

static void go_on(struct keeper *k) {
        if (k->busy || !make_batch(k) || !open_journal(k))
                return;
        if (!k->reactor) {
                write_now(k);
                return;
        }
        k->busy = true;
        k->op = (struct disk_op){ .op = { .done = on_done, .owner = k },
                                  .fd = k->fd,
                                  .data = k->out.data,
                                  .len = k->out.len,
                                  .offset = k->len };
        k->len += k->out.len;
        disk_submit(k->reactor, &k->op);
}

/* ---- what is told ---- */

/* What the journal has from before is left out. */
void keeper_file(struct keeper *k, uint64_t from, uint64_t to, const char *name, uint64_t offset) {
        if (!k)
                return;
        LOCK_SCOPE(&k->lock);
        uint64_t known = from < k->covered ? k->covered - from : 0;
        add(k, &(struct piece){ .from = from + known, .to = to, .offset = offset + known, .is_file = true },
            name, strlen(name) + 1);
        go_on(k);
}

void keeper_bytes(struct keeper *k, uint64_t from, const void *data, size_t len) {
        if (!k)
                return;
        LOCK_SCOPE(&k->lock);
        uint64_t known = from < k->covered ? k->covered - from : 0;
        if (known < len)
                add(k, &(struct piece){ .from = from + known, .to = from + len }, (const char *)data + known,
                    len - (size_t)known);
        go_on(k);
}

static bool is_one_file(const struct journal_head *h) {
        return h->packing == PLAN_RAW || h->codec != PLAN_CODEC_NONE;
}

/* What is one file is gone on with a segment at a time. The last byte is never marked: nothing would be left
 * to ask the registry for, and who may have the blob is for the registry to say. */
void keeper_mark(struct keeper *k, const struct sha256 *state) {
        if (!k || state->len < k->next_mark || state->len >= k->head.size ||
            (is_one_file(&k->head) && state->len % SEGMENT_SIZE))
                return;
        k->next_mark = state->len + MARK_STEP;
        LOCK_SCOPE(&k->lock);
        if (k->ended || k->n_waiting == WAITING_MAX)
                return;
        k->waiting[k->n_waiting++] = *state;
        go_on(k);
}

uint64_t keeper_finish(struct keeper *k) {
        if (!k)
                return 0;
        LOCK_SCOPE(&k->lock);
        while (k->busy)
                pthread_cond_wait(&k->idle, &k->lock);
        if (make_batch(k) && open_journal(k))
                write_now(k);
        end(k, "nothing more comes");
        return k->len > 0 ? k->written : 0;
}

void keeper_free(struct keeper *k) {
        if (!k)
                return;
        (void)keeper_finish(k);
        if (k->fd >= 0)
                close(k->fd);
        buf_free(&k->out);
        pthread_cond_destroy(&k->idle);
        pthread_mutex_destroy(&k->lock);
        free(k);
}
