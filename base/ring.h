/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring: asynchronous disk writes and socket readiness in one place, for one reactor thread.
 *
 * Two backends behind one interface, chosen at open: io_uring, and pwrite(2)/poll(2) where io_uring is
 * refused (seccomp, sysctl, old kernel). Everything but ring_wake() is called by the thread that owns the
 * ring. An operation is a struct that its owner keeps alive until its callback ran; callbacks run inside
 * ring_wait(), never inside a submit call.
 *
 *   ring_open -> ring_write / ring_poll … -> ring_wait (in a loop) -> ring_close (drains)
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum ring_kind { RING_AUTO, RING_URING, RING_POSIX };

struct ring;
struct ring_op;
typedef void ring_done(struct ring_op *op, int result);

struct ring_op {
        ring_done *done; /* @result: bytes written (all of them: short writes are continued inside),
                          * poll events, 0 for fsync, or a negative errno */
        void *owner;     /* for the callback */
        /* private to the ring; zero before the first use */
        unsigned magic; /* set while the ring has it */
        unsigned kind;
        int fd;
        const char *data;
        size_t len, done_len;
        uint64_t offset;
        int events;
        int buffer; /* index of the registered buffer that holds data, or -1 */
        int result;
        struct ring_list *list; /* that it is on, or NULL */
        struct ring_op *next, **link;
};

/* RING_AUTO: io_uring if the kernel lets us, else posix with one log line that says why. RING_URING fails
 * with the reason instead. @depth: operations in flight; more are queued. */
int ring_open(struct ring **ret, enum ring_kind kind, unsigned depth, struct error *e);
/* Waits for the writes and syncs in flight and runs their callbacks, then releases; polls are dropped without
 * a callback. NULL is fine. */
void ring_close(struct ring *r);
const char *ring_backend(const struct ring *r); /* "uring" or "posix" */

/* Registers the arena so that writes from it skip the page pinning. Counts against RLIMIT_MEMLOCK without
 * CAP_IPC_LOCK: where that is too small the ring goes on without and says so once. Never fails. */
void ring_register(struct ring *r, const struct iovec *buffers, unsigned n);

/* Writes all @len bytes (at most INT_MAX) at @offset. @data stays with the caller until the callback. */
void ring_write(struct ring *r, struct ring_op *op, int fd, const void *data, size_t len, uint64_t offset);
void ring_fsync(struct ring *r, struct ring_op *op, int fd); /* with mode and times */
/* One-shot readiness: POLLIN | POLLOUT. The callback gets the events. */
void ring_poll(struct ring *r, struct ring_op *op, int fd, int events);
/* Forgets a poll, before its descriptor is closed; its callback does not run any more and @op is free when
 * this returns. Nothing happens if it is not polling. */
void ring_poll_cancel(struct ring *r, struct ring_op *op);

/* Submits, waits up to @timeout_ms (-1: for ever) for at least one completion or a wake, runs callbacks.
 * Returns how many ran (it may be none before the time is over), or a negative errno. */
int ring_wait(struct ring *r, int timeout_ms);
void ring_wake(struct ring *r); /* from any thread: ring_wait() returns soon */
