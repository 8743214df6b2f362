/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both backends have in common: the queue in front of them, continuing what was written in part, and
 * running callbacks.
 *
 *   submit -> [waiting, while `depth` are in flight] -> backend -> ring_finish() -> ready -> callback
 *                    ^------------ written in part, EINTR, EAGAIN ------'
 *
 * Callbacks run in ring_wait() only, from the ready list, so they may submit and cancel as they like.
 * Threads: the owner's, but for ring_wake().
 */
#include "base/ring.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/ring_backend.h"

#include <assert.h>
#include <limits.h>
#include <string.h>
#include <sys/eventfd.h>

void ring_list_init(struct ring_list *l) {
        l->first = NULL;
        l->end = &l->first;
}

void ring_list_push(struct ring_list *l, struct ring_op *op) {
        assert(!op->list);
        op->list = l;
        op->next = NULL;
        op->link = l->end;
        *l->end = op;
        l->end = &op->next;
}

void ring_list_remove(struct ring_op *op) {
        assert(op->list);
        *op->link = op->next;
        if (op->next)
                op->next->link = op->link;
        else
                op->list->end = op->link;
        op->list = NULL;
}

/* ---- from submit to ready ---- */

/* Its callback runs in this or the next ring_wait(). */
static void ring_ready(struct ring *r, struct ring_op *op, int result) {
        op->result = result;
        ring_list_push(&r->ready, op);
        r->n_ready++;
}

void ring_finish(struct ring *r, struct ring_op *op, int result) {
        assert(op->magic == RING_OP_MAGIC);
        if (op->kind == RING_OP_POLL) {
                if (r->closing)
                        op->magic = 0;
                else
                        ring_ready(r, op, result);
                return;
        }
        r->in_flight--;
        if (result == -EINTR || result == -EAGAIN) {
                ring_list_push(&r->waiting, op);
                return;
        }
        if (op->kind == RING_OP_FSYNC || result < 0) {
                ring_ready(r, op, result);
                return;
        }
        op->done_len += (size_t)result;
        if (op->done_len == op->len)
                ring_ready(r, op, (int)op->len);
        else if (result == 0)
                ring_ready(r, op, -EIO); /* it would make no progress for ever */
        else
                ring_list_push(&r->waiting, op);
}

/* Starts what waits, polls first, until the backend has no room or `depth` are in flight. */
static void ring_pump(struct ring *r) {
        struct ring_op *op;

        while ((op = r->polls_waiting.first) && r->backend->start(r, op))
                ;
        while ((op = r->waiting.first) && r->in_flight < r->depth) {
                if (!r->backend->start(r, op))
                        break;
                r->in_flight++;
        }
}

/* From now on the operation is the ring's. */
static void ring_take(struct ring_op *op, unsigned kind, int fd) {
        assert(op->magic != RING_OP_MAGIC); /* not while the ring has it */
        assert(op->done);
        op->magic = RING_OP_MAGIC;
        op->kind = kind;
        op->fd = fd;
        op->done_len = 0;
        op->buffer = -1;
        op->list = NULL;
}

/* The registered buffer that holds all of it, or -1. */
static int buffer_of(const struct ring *r, const char *data, size_t len) {
        for (unsigned i = 0; i < r->n_buffers; i++) {
                const char *base = r->buffers[i].iov_base;

                if (data >= base && data < base + r->buffers[i].iov_len &&
                    len <= r->buffers[i].iov_len - (size_t)(data - base))
                        return (int)i;
        }
        return -1;
}

void ring_write(struct ring *r, struct ring_op *op, int fd, const void *data, size_t len, uint64_t offset) {
        assert(len <= INT_MAX);
        ring_take(op, RING_OP_WRITE, fd);
        op->data = data;
        op->len = len;
        op->offset = offset;
        op->buffer = buffer_of(r, data, len);
        if (len == 0) {
                ring_ready(r, op, 0);
                return;
        }
        ring_list_push(&r->waiting, op);
        ring_pump(r);
}

void ring_fsync(struct ring *r, struct ring_op *op, int fd) {
        ring_take(op, RING_OP_FSYNC, fd);
        ring_list_push(&r->waiting, op);
        ring_pump(r);
}

void ring_poll(struct ring *r, struct ring_op *op, int fd, int events) {
        ring_take(op, RING_OP_POLL, fd);
        op->events = events;
        ring_list_push(&r->polls_waiting, op);
        ring_pump(r);
}

void ring_poll_cancel(struct ring *r, struct ring_op *op) {
        if (op->magic != RING_OP_MAGIC)
                return;
        assert(op->kind == RING_OP_POLL);
        if (op->list != &r->ready && op->list != &r->polls_waiting)
                r->backend->poll_cancel(r, op);
        if (op->list == &r->ready)
                r->n_ready--;
        if (op->list)
                ring_list_remove(op);
        op->magic = 0;
}

/* ---- waiting ---- */

/* Those that are ready now; what callbacks make ready comes next time, so that they cannot keep us here. */
static int ring_run_ready(struct ring *r) {
        unsigned limit = r->n_ready;
        int ran = 0;

        for (; limit > 0 && r->ready.first; limit--) {
                struct ring_op *op = r->ready.first;

                ring_list_remove(op);
                r->n_ready--;
                op->magic = 0; /* it is its owner's again, who may submit it anew or free it */
                op->done(op, op->result);
                ran++;
        }
        return ran;
}

int ring_wait(struct ring *r, int timeout_ms) {
        ring_pump(r);
        int n = r->backend->wait(r, r->n_ready ? 0 : timeout_ms);
        if (n < 0)
                return n;
        ring_pump(r);
        return ring_run_ready(r);
}

void ring_wake(struct ring *r) {
        if (eventfd_write(r->wake_fd, 1) < 0)
                assert(errno == EAGAIN); /* the counter is full: it wakes as well */
}

/* ---- life cycle ---- */

static int ring_new(struct ring **ret, const struct ring_backend *backend, unsigned depth, struct error *e) {
        struct ring *r = calloc(1, sizeof *r);

        if (!r)
                return error_errno(e, ENOMEM, "cannot make a ring");
        r->backend = backend;
        r->depth = depth ? depth : 1;
        ring_list_init(&r->waiting);
        ring_list_init(&r->polls_waiting);
        ring_list_init(&r->ready);
        r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int n = r->wake_fd < 0 ? error_errno(e, errno, "cannot make an eventfd") : backend->open(r, e);
        if (n < 0) {
                cleanup_close(&r->wake_fd);
                free(r);
                return n;
        }
        *ret = r;
        return 0;
}

int ring_open(struct ring **ret, enum ring_kind kind, unsigned depth, struct error *e) {
        struct error why = { 0 };

        if (kind == RING_POSIX)
                return ring_new(ret, &ring_posix, depth, e);
        int n = ring_new(ret, &ring_uring, depth, &why);
        if (n >= 0)
                return 0;
        if (kind == RING_URING)
                return error_copy(e, &why);
        log_info("%s: writing with threads instead", why.text);
        return ring_new(ret, &ring_posix, depth, e);
}

static void ring_drop_ready_polls(struct ring *r) {
        struct ring_op *next;

        for (struct ring_op *op = r->ready.first; op; op = next) {
                next = op->next;
                if (op->kind == RING_OP_POLL)
                        ring_poll_cancel(r, op);
        }
}

void ring_close(struct ring *r) {
        if (!r)
                return;
        r->closing = true;
        ring_drop_ready_polls(r);
        while (r->in_flight || r->waiting.first || r->ready.first)
                if (ring_wait(r, -1) < 0)
                        break; /* the backend is broken; its close() is all that is left */
        r->backend->close(r);
        close(r->wake_fd);
        free(r->buffers);
        free(r);
}

const char *ring_backend(const struct ring *r) {
        return r->backend->name;
}

void ring_register(struct ring *r, const struct iovec *buffers, unsigned n) {
        if (!r->backend->register_buffers || r->buffers)
                return;
        struct iovec *copy = calloc(n, sizeof *copy);
        int k = copy ? r->backend->register_buffers(r, buffers, n) : -ENOMEM;
        if (k < 0) {
                log_info("the kernel does not register the memory of the engine (%s): writes pin their pages "
                         "one by "
                         "one; CAP_IPC_LOCK or a larger RLIMIT_MEMLOCK helps",
                         strerror(-k));
                free(copy);
                return;
        }
        memcpy(copy, buffers, n * sizeof *copy);
        r->buffers = copy;
        r->n_buffers = n;
}
