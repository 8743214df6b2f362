/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring on plain system calls, for where io_uring is refused. Two threads write and sync, so that the
 * reactor does not block on the disk; it sleeps in poll(2) on its sockets and on the wake eventfd, which the
 * threads ring as well.
 *
 *   write, fsync   start -> todo -> a thread's hands -> done, eventfd -> wait: ring_finish()
 *   poll           start -> polls -> poll(2) in wait: ring_finish(), or poll_cancel
 *
 * An operation is on exactly one list: `todo`, a thread's hands (none), `done`; polls are on `polls`. A poll
 * that gets no memory stays with ring.c and is tried again every STARVED_MS.
 */
#include "base/cleanup.h"
#include "base/ring_backend.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define N_WRITERS 2
#define FIRST_POLLS 15u
#define STARVED_MS 10 /* until a poll that got no memory is tried again */

struct posix {
        pthread_mutex_t lock; /* guards todo, done and stopping */
        pthread_cond_t changed;
        struct ring_list todo, done; /* writes and syncs, before and after a thread had them */
        bool stopping;
        pthread_t threads[N_WRITERS];
        unsigned n_threads;
        struct ring *ring; /* for ring_wake() */

        struct ring_list polls; /* the owner's thread only, as is what follows */
        unsigned n_polls;
        struct pollfd *fds; /* the eventfd, then the polls in their order */
        unsigned n_fds;     /* allocated */
};

static int posix_execute(const struct ring_op *op) {
        ssize_t n;

        if (op->kind == RING_OP_FSYNC)
                return fsync(op->fd) < 0 ? -errno : 0;
        n = pwrite(op->fd, op->data + op->done_len, op->len - op->done_len,
                   (off_t)(op->offset + op->done_len));
        return n < 0 ? -errno : (int)n;
}

/* A writer: one operation at a time, with the lock let go of meanwhile. */
static void *posix_main(void *arg) {
        struct posix *p = arg;

        (void)pthread_setname_np(pthread_self(), "disk");
        pthread_mutex_lock(&p->lock);
        for (;;) {
                while (!p->todo.first && !p->stopping)
                        pthread_cond_wait(&p->changed, &p->lock);
                struct ring_op *op = p->todo.first;
                if (!op)
                        break;
                ring_list_remove(op);
                pthread_mutex_unlock(&p->lock);
                int result = posix_execute(op);
                pthread_mutex_lock(&p->lock);
                op->result = result;
                ring_list_push(&p->done, op);
                ring_wake(p->ring);
        }
        pthread_mutex_unlock(&p->lock);
        return NULL;
}

/* Room for @n polls beside the eventfd? */
static bool posix_reserve(struct posix *p, unsigned n) {
        if (n < p->n_fds)
                return true;
        struct pollfd *fds = realloc(p->fds, 2 * (n + 1) * sizeof *fds);
        if (!fds)
                return false;
        p->fds = fds;
        p->n_fds = 2 * (n + 1);
        return true;
}

static void posix_close(struct ring *r) {
        struct posix *p = r->state;

        pthread_mutex_lock(&p->lock);
        p->stopping = true;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->lock);
        for (unsigned i = 0; i < p->n_threads; i++)
                pthread_join(p->threads[i], NULL);
        pthread_cond_destroy(&p->changed);
        pthread_mutex_destroy(&p->lock);
        free(p->fds);
        free(p);
}

static int posix_open(struct ring *r, struct error *e) {
        struct posix *p = calloc(1, sizeof *p);

        if (!p)
                return error_errno(e, ENOMEM, "cannot make a ring");
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->changed, NULL);
        ring_list_init(&p->todo);
        ring_list_init(&p->done);
        ring_list_init(&p->polls);
        p->ring = r;
        r->state = p;
        if (!posix_reserve(p, FIRST_POLLS)) {
                posix_close(r);
                return error_errno(e, ENOMEM, "cannot make a ring");
        }
        for (; p->n_threads < N_WRITERS; p->n_threads++) {
                int n = pthread_create(&p->threads[p->n_threads], NULL, posix_main, p);
                if (n) {
                        posix_close(r);
                        return error_errno(e, n, "cannot start a thread that writes");
                }
        }
        return 0;
}

static bool posix_start(struct ring *r, struct ring_op *op) {
        struct posix *p = r->state;

        if (op->kind == RING_OP_POLL) {
                if (!posix_reserve(p, p->n_polls + 1))
                        return false;
                ring_list_remove(op);
                ring_list_push(&p->polls, op);
                p->n_polls++;
                return true;
        }
        ring_list_remove(op);
        LOCK_SCOPE(&p->lock);
        ring_list_push(&p->todo, op);
        pthread_cond_signal(&p->changed);
        return true;
}

static void posix_poll_cancel(struct ring *r, struct ring_op *op) {
        struct posix *p = r->state;

        ring_list_remove(op);
        p->n_polls--;
}

/* The array that poll(2) wants: it is made anew each time, which is cheap beside the call. */
static void posix_fill(struct ring *r) {
        struct posix *p = r->state;
        unsigned n = 0;

        p->fds[n++] = (struct pollfd){ .fd = r->wake_fd, .events = POLLIN };
        for (const struct ring_op *op = p->polls.first; op; op = op->next)
                p->fds[n++] = (struct pollfd){ .fd = op->fd, .events = (short)op->events };
}

static void posix_take_polls(struct ring *r) {
        struct posix *p = r->state;
        struct ring_op *next;
        unsigned i = 1;

        for (struct ring_op *op = p->polls.first; op; op = next, i++) {
                short events = p->fds[i].revents;

                next = op->next;
                if (!events)
                        continue;
                ring_list_remove(op);
                p->n_polls--;
                ring_finish(r, op, events & POLLNVAL ? -EBADF : events);
        }
}

static void posix_take_done(struct ring *r) {
        struct posix *p = r->state;
        eventfd_t count;

        (void)eventfd_read(r->wake_fd, &count); /* before the list: what comes after it rings again */
        for (;;) {
                pthread_mutex_lock(&p->lock);
                struct ring_op *op = p->done.first;
                if (op)
                        ring_list_remove(op);
                pthread_mutex_unlock(&p->lock);
                if (!op)
                        return;
                ring_finish(r, op, op->result);
        }
}

static int posix_wait(struct ring *r, int timeout_ms) {
        struct posix *p = r->state;
        bool starved = r->polls_waiting.first;

        posix_fill(r);
        if (starved && (timeout_ms < 0 || timeout_ms > STARVED_MS))
                timeout_ms = STARVED_MS;
        if (poll(p->fds, p->n_polls + 1, timeout_ms) < 0)
                return errno == EINTR || errno == EAGAIN || errno == ENOMEM ? 0 : -errno;
        posix_take_polls(r);
        if (p->fds[0].revents)
                posix_take_done(r);
        return 0;
}

const struct ring_backend ring_posix = {
        .name = "posix",
        .open = posix_open,
        .close = posix_close,
        .start = posix_start,
        .poll_cancel = posix_poll_cancel,
        .wait = posix_wait,
};
