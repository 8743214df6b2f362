/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring on io_uring. An operation's submission queue entry carries its address; entries go to the kernel
 * together, in wait(). The wake eventfd is polled through the ring, so there is one place to sleep in.
 *
 * The thread that opens the ring is the only one that uses it (SINGLE_ISSUER), so the kernel leaves what is
 * to be done on completion until that thread asks (DEFER_TASKRUN) and does not interrupt it. Between a socket
 * becoming ready and the answer of its poll there is therefore any amount of our own work, which may take the
 * readiness away again; see uring_poll_cancel().
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "base/ring_backend.h"

#include <assert.h>
#include <liburing.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define POLL_ENTRIES 64u     /* room for polls beside the writes; more are submitted earlier */
#define MAX_WORKERS 4u       /* kernel threads for what cannot be done asynchronously */
#define MAX_WRITE (1u << 30) /* bytes at once; the rest is continued */

struct uring {
        struct io_uring ring;
        bool wake_armed; /* the kernel polls the wake eventfd for us; one-shot, so it is armed again */
        int removal;     /* the kernel's answer to the last removal of a poll; -EINPROGRESS: none yet */
};

static const char wake_tag;    /* its address stands for the poll of the wake eventfd */
static const char removal_tag; /* and this one's for the removal of a poll */

/* DEFER_TASKRUN is of 6.1, COOP_TASKRUN, which does less for the same, of 5.19. TASKRUN_FLAG lets a peek see
 * what waits for it. */
static int uring_init(struct io_uring *ring, unsigned entries) {
        static const unsigned flags[] = {
                IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
                IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
                0,
        };
        int r = -EINVAL;

        for (size_t i = 0; i < sizeof flags / sizeof *flags && r == -EINVAL; i++)
                r = io_uring_queue_init(entries, ring, IORING_SETUP_CLAMP | flags[i]);
        return r;
}

/* NODROP: completions that find no room are kept by the kernel. */
static bool uring_is_able(struct io_uring *ring) {
        static const int needed[] = { IORING_OP_WRITE, IORING_OP_WRITE_FIXED, IORING_OP_FSYNC,
                                      IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE };
        struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
        bool able = probe && (ring->features & IORING_FEAT_NODROP);

        for (size_t i = 0; able && i < sizeof needed / sizeof *needed; i++)
                able = io_uring_opcode_supported(probe, needed[i]);
        io_uring_free_probe(probe);
        return able;
}

static int uring_open(struct ring *r, struct error *e) {
        _cleanup_free_ struct uring *u = calloc(1, sizeof *u);

        if (!u)
                return error_errno(e, ENOMEM, "cannot make a ring");
        int n = uring_init(&u->ring, r->depth + POLL_ENTRIES);
        if (n < 0)
                return error_errno(e, n, "io_uring is not available");
        if (!uring_is_able(&u->ring)) {
                io_uring_queue_exit(&u->ring);
                return error_errno(e, ENOSYS, "the kernel's io_uring is too old");
        }
        unsigned workers[] = { MAX_WORKERS, MAX_WORKERS };
        (void)io_uring_register_iowq_max_workers(&u->ring, workers); /* 5.15; else the default is larger */
        r->state = take_ptr(u);
        return 0;
}

static void uring_close(struct ring *r) {
        struct uring *u = r->state;

        io_uring_queue_exit(&u->ring);
        free(u);
}

static int uring_register(struct ring *r, const struct iovec *buffers, unsigned n) {
        struct uring *u = r->state;

        return io_uring_register_buffers(&u->ring, buffers, n);
}

static struct io_uring_sqe *uring_sqe(struct uring *u) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

        if (sqe)
                return sqe;
        (void)io_uring_submit(&u->ring); /* makes room, but for an overflow that wait() has to clear */
        return io_uring_get_sqe(&u->ring);
}

static void uring_prepare(struct io_uring_sqe *sqe, const struct ring_op *op) {
        size_t left = op->len - op->done_len;
        unsigned len = left < MAX_WRITE ? (unsigned)left : MAX_WRITE;

        if (op->kind == RING_OP_POLL)
                io_uring_prep_poll_add(sqe, op->fd, (unsigned)op->events);
        else if (op->kind == RING_OP_FSYNC)
                io_uring_prep_fsync(sqe, op->fd, 0);
        else if (op->buffer >= 0)
                io_uring_prep_write_fixed(sqe, op->fd, op->data + op->done_len, len,
                                          op->offset + op->done_len, op->buffer);
        else
                io_uring_prep_write(sqe, op->fd, op->data + op->done_len, len, op->offset + op->done_len);
}

static bool uring_start(struct ring *r, struct ring_op *op) {
        struct io_uring_sqe *sqe = uring_sqe(r->state);

        if (!sqe)
                return false;
        ring_list_remove(op);
        uring_prepare(sqe, op);
        io_uring_sqe_set_data(sqe, op);
        return true;
}

static void uring_arm_wake(struct ring *r) {
        struct uring *u = r->state;
        struct io_uring_sqe *sqe = u->wake_armed ? NULL : uring_sqe(u);

        if (!sqe)
                return;
        io_uring_prep_poll_add(sqe, r->wake_fd, POLLIN);
        io_uring_sqe_set_data(sqe, (void *)&wake_tag);
        u->wake_armed = true;
}

static void uring_on_wake(struct ring *r) {
        struct uring *u = r->state;
        eventfd_t count;

        (void)eventfd_read(r->wake_fd, &count); /* only to clear it */
        u->wake_armed = false;
}

/* Takes what is there now; callbacks run later, so this may be called from anywhere. */
static void uring_reap(struct ring *r) {
        struct uring *u = r->state;
        struct io_uring_cqe *cqe;

        while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
                void *data = io_uring_cqe_get_data(cqe);
                int result = cqe->res;

                io_uring_cqe_seen(&u->ring, cqe);
                if (data == &wake_tag)
                        uring_on_wake(r);
                else if (data == &removal_tag)
                        u->removal = result;
                else
                        ring_finish(r, data, result);
        }
}

static int uring_wait(struct ring *r, int timeout_ms) {
        struct uring *u = r->state;
        struct __kernel_timespec ts = { .tv_sec = timeout_ms / 1000,
                                        .tv_nsec = (timeout_ms % 1000) * 1000000LL };
        struct io_uring_cqe *cqe;

        uring_arm_wake(r);
        int n = io_uring_submit_and_wait_timeout(&u->ring, &cqe, timeout_ms != 0, timeout_ms > 0 ? &ts : NULL,
                                                 NULL);
        uring_reap(r);
        if (n == -ETIME || n == -EINTR || n == -EAGAIN || n == -EBUSY)
                return 0;
        return n < 0 ? n : 0;
}

static void uring_ask_removal(struct uring *u, const struct ring_op *op) {
        struct io_uring_sqe *sqe = uring_sqe(u);

        if (!sqe)
                return;
        io_uring_prep_poll_remove(sqe, (uint64_t)(uintptr_t)op);
        io_uring_sqe_set_data(sqe, (void *)&removal_tag);
        u->removal = -EINPROGRESS;
}

/*
 * The kernel answers every poll, a removed one too, and until then it knows the address of @op.
 *
 * While it is about to answer the poll it refuses the removal (EALREADY). Then it looks at the socket once
 * more and, if what made it ready is gone by now, polls on: io_poll_check_events(), IOU_POLL_REISSUE. So a
 * refused removal is asked for again.
 */
static void uring_poll_cancel(struct ring *r, struct ring_op *op) {
        struct uring *u = r->state;

        u->removal = -EALREADY;
        while (op->list != &r->ready) {
                if (u->removal < 0 && u->removal != -EINPROGRESS)
                        uring_ask_removal(u, op);
                (void)io_uring_submit_and_wait(&u->ring, 1);
                uring_reap(r);
        }
}

const struct ring_backend ring_uring = {
        .name = "uring",
        .open = uring_open,
        .close = uring_close,
        .register_buffers = uring_register,
        .start = uring_start,
        .poll_cancel = uring_poll_cancel,
        .wait = uring_wait,
};
