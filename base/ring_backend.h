/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring_backend: what ring.c (queues, continuing, callbacks) asks of io_uring or of threads. Private to it.
 *
 *   ring.c                       backend
 *   start(op) ---------------->  in the kernel's hands, or a thread's
 *   wait(timeout) ------------>  sleeps; for each operation that is over:
 *   ring_finish(op, result) <--      callback later, or start(op) again for the rest of a write
 *
 * An operation is on one list at a time (op->list says which) or, started, in the backend's own keeping.
 * Everything runs on the ring's thread, so nothing here is locked.
 */
#pragma once

#include "base/ring.h"

#define RING_OP_MAGIC 0x72696e67u

enum { RING_OP_WRITE, RING_OP_FSYNC, RING_OP_POLL };

struct ring_list { /* by op->next and op->link; first in, first out */
        struct ring_op *first, **end;
};

/* Works on one operation at a time and never runs a callback: what is done goes to ring_finish(). */
struct ring_backend {
        const char *name;
        int (*open)(struct ring *r, struct error *e);
        void (*close)(struct ring *r); /* writes and syncs are over; polls may be left */
        /* 0, or a negative errno when the buffers stay unregistered; NULL: nothing to register */
        int (*register_buffers)(struct ring *r, const struct iovec *buffers, unsigned n);
        bool (*start)(struct ring *r, struct ring_op *op); /* false: no room now */
        void (*poll_cancel)(struct ring *r,
                            struct ring_op *op);     /* which was started; after it, it is on no list */
        int (*wait)(struct ring *r, int timeout_ms); /* for completions or the wake eventfd */
};

extern const struct ring_backend ring_uring, ring_posix;

struct ring {
        const struct ring_backend *backend;
        void *state;               /* of the backend */
        int wake_fd;               /* eventfd, non-blocking */
        unsigned depth, in_flight; /* writes and syncs */
        unsigned n_ready;
        bool closing;                   /* polls are dropped */
        struct ring_list waiting;       /* writes and syncs that found no room */
        struct ring_list polls_waiting; /* polls that found none, which is rare */
        struct ring_list ready;         /* done; their callbacks run next */
        struct iovec *buffers;          /* registered */
        unsigned n_buffers;
};

/* An operation is on no list when it is pushed, and on one when it is removed; asserted. */
void ring_list_init(struct ring_list *l);
void ring_list_push(struct ring_list *l, struct ring_op *op);
void ring_list_remove(struct ring_op *op); /* from the list that it is on */

/* @op is done with a result as the kernel gives it, or has to go on. */
void ring_finish(struct ring *r, struct ring_op *op, int result);
