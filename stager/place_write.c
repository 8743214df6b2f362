/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place_write: bytes of a file into cells of SEGMENT_SIZE, and these to the disk.
 *
 *   file     |----- cell 0 -----|----- cell 1 -----|-- cell 2 --|   size
 *   writes    0 ........... fill  from .... fill     .... padded to a block, and the file is cut
 *
 * Bytes are collected in one segment, a cell or the part of one between two holes, which goes to the disk
 * when it is full or when a hole follows. O_DIRECT wants offsets and lengths in blocks, so the last write
 * runs over the end and the file is cut to its size when it is closed. Of a file in one segment the end is
 * written apart.
 *
 * Writes of files in one segment wait for each other (placer.queue) until the blob thread is about to wait:
 * one message to the reactor, one system call and one notification of the device for all of them.
 *
 * A file system that refuses O_DIRECT at the first write gets plain writes from then on.
 */
#include "stager/place_file.h"

#include "base/log.h"
#include "stager/copy.h"
#include "stager/window.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define BLOCK ((size_t)4096)

static size_t block_down(size_t n) {
        return n & ~(BLOCK - 1);
}

static size_t block_up(size_t n) {
        return block_down(n + BLOCK - 1);
}

/* The file system said no to O_DIRECT only now. True: the write is to be tried again. */
static bool drop_direct(struct place_file *f, int result) {
        LOCK_SCOPE(&f->placer->lock);

        if (result != -EINVAL && result != -EOPNOTSUPP)
                return false;
        int flags = fcntl(f->fd, F_GETFL);
        if (!(flags & O_DIRECT)) /* another write was told so while this one was under way */
                return true;
        if (fcntl(f->fd, F_SETFL, flags & ~O_DIRECT) < 0)
                return false;
        f->placer->direct = false; /* nor are later files tried */
        log_info("The file system refuses direct writes (%s); writing through the page cache",
                 strerror(-result));
        return true;
}

static void on_written(struct ring_op *op, int result) {
        struct segment *s = op->owner;
        struct place_file *f = s->file;
        struct placer *p = f->placer;
        struct error e = { .kind = ERROR_NONE };

        if (result < 0 && s->op.len > 0 && !s->retried && drop_direct(f, result)) {
                s->retried = true;
                disk_submit(p->reactor, &s->op);
                return;
        }
        if (result < 0)
                error_errno(&e, result, "write to the cache's disk");
        else
                placer_report(p, s->payload);
        arena_unref(p->arena, s);
        if (result < 0 && p->window)
                window_fail(p->window, &e);

        LOCK_SCOPE(&p->lock);
        if (result < 0 && p->error.kind == ERROR_NONE)
                p->error = e;
        if (--f->pending == 0)
                pthread_cond_signal(&p->changed);
}

void placer_submit(struct placer *p) {
        struct disk_op *first = take_ptr(p->queue);

        p->queue_end = &p->queue;
        if (first)
                disk_submit_all(p->reactor, first);
}

/* The write of [from, from + len) of @s, which takes over a reference. Lock not held. */
static struct disk_op *prepare(struct place_file *f, struct segment *s, size_t from, size_t len,
                               uint64_t offset) {
        size_t padded = block_up(len);

        memset(s->data + from + len, 0, padded - len);
        s->file = f;
        s->payload = len;
        s->retried = false;
        s->op = (struct disk_op){ .op = { .done = on_written, .owner = s },
                                  .fd = f->fd,
                                  .data = s->data + from,
                                  .len = padded,
                                  .offset = offset };
        LOCK_SCOPE(&f->placer->lock);
        f->pending++;
        if (f->extent < offset + padded)
                f->extent = offset + padded;
        return &s->op;
}

/* To cut a file to its size after a direct write makes the file system read the last block back. So the last
 * bytes of a file that is all in its segment go through the page cache, where no block has to be full.
 * Their number; 0: the direct write takes them. */
static size_t write_tail(struct place_file *f) {
        size_t tail = f->fill % BLOCK, head = f->fill - tail;

        if (tail == 0 || head == 0 || f->from > 0 || f->cur->pos > 0 || f->fill != f->size)
                return 0;
        int flags = fcntl(f->fd, F_GETFL);
        if (flags < 0 || fcntl(f->fd, F_SETFL, flags & ~O_DIRECT) < 0)
                return 0;
        ssize_t n = pwrite(f->fd, f->cur->data + head, tail, (off_t)head);
        (void)fcntl(f->fd, F_SETFL, flags);
        if (n != (ssize_t)tail)
                return 0;
        {
                LOCK_SCOPE(&f->placer->lock);
                f->extent = f->size;
        }
        placer_report(f->placer, tail);
        return tail;
}

void place_flush(struct place_file *f) {
        size_t tail = write_tail(f);
        struct segment *s = take_ptr(f->cur);
        struct placer *p = f->placer;
        struct disk_op *op = prepare(f, s, f->from, f->fill - tail - f->from, s->pos + f->from);

        if (f->size > SEGMENT_SIZE) {
                disk_submit(p->reactor, op);
                return;
        }
        op->next = NULL;
        *p->queue_end = op;
        p->queue_end = &op->next;
}

/* At once, by this thread. */
static int write_small(struct place_file *f, const char *data, size_t len, uint64_t offset, struct error *e) {
        for (size_t done = 0; done < len;) {
                ssize_t n = pwrite(f->fd, data + done, len - done, (off_t)(offset + done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return error_errno(e, n < 0 ? errno : EIO, "write to the cache's disk");
                done += (size_t)n;
        }
        f->extent = offset + len;
        placer_report(f->placer, len);
        return 0;
}

/* One for output. Nobody who waits for one keeps others from the disk. */
static struct segment *wait_segment(struct placer *p) {
        struct segment *s = arena_try(p->arena);

        if (s)
                return s;
        placer_submit(p);
        return arena_wait(p->arena);
}

/* Makes f->cur a segment that has bytes up to @at in its cell, or zeros before it if it is new. */
static void make_room(struct place_file *f, uint64_t cell, size_t at) {
        if (f->cur && (f->cur->pos != cell || block_down(at) > block_up(f->fill)))
                place_flush(f);
        if (!f->cur) {
                f->cur = wait_segment(f->placer);
                f->cur->pos = cell;
                f->from = f->fill = block_down(at);
        }
        if (at > f->fill)
                memset(f->cur->data + f->fill, 0, at - f->fill);
}

/* Into segments; full ones go to the disk by themselves. */
static int write_large(struct place_file *f, const char *data, size_t len, uint64_t offset, struct error *e) {
        int r = place_allocate(f, offset + len, e);

        if (r < 0)
                return r;
        while (len > 0) {
                size_t at = (size_t)(offset % SEGMENT_SIZE), n = SEGMENT_SIZE - at;

                if (n > len)
                        n = len;
                make_room(f, offset - at, at);
                copy_streaming(f->cur->data + at, data, n);
                f->fill = at + n;
                if (f->fill == SEGMENT_SIZE)
                        place_flush(f);
                data += n;
                offset += n;
                len -= n;
        }
        return placer_failed(f->placer, e);
}

int place_write(struct place_file *f, const void *data, size_t len, uint64_t offset, struct error *e) {
        if (offset < f->reached || offset > INT64_MAX - len)
                return error_set(e, ERROR_INVALID, "the archive's data goes backwards at byte %" PRIu64,
                                 offset);
        if (offset > f->reached && !f->claimed)
                f->allocate = false; /* a hole, whatever the header says */
        int r = place_claim_to(f, offset, offset + len, e);
        if (r < 0)
                return r;
        f->reached = offset + len;
        return f->large ? write_large(f, data, len, offset, e) : write_small(f, data, len, offset, e);
}

void place_segment(struct segment *s) {
        struct place_file *f = s->file;

        arena_ref(f->placer->arena, s);
        disk_submit(f->placer->reactor, prepare(f, s, 0, s->len, s->file_offset));
        LOCK_SCOPE(&f->placer->lock);
        f->awaited -= s->len;
}
