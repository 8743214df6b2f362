/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One turn: take what others have sent, let connections start, sleep in the ring until a write is done, a
 * socket is ready, a timer is due or somebody wakes us, then let curl work.
 *
 *   other threads  -- disk_submit ------------> ops ------+
 *                  -- reactor_attach, _detach -> requests -+-> one turn --> ring, connections
 *                  -- reactor_wake (the arena, too) -------+
 *
 * Operations are only queued; requests are waited for, so they lie on the asker's stack, and reactor_detach()
 * can promise that nobody touches the fetch any more.
 *
 * The ring and everything of curl is made and freed on the thread itself: a ring may insist on its one user.
 */
#include "stager/reactor.h"

#include "base/pulse.h"
#include "stager/conns.h"
#include "stager/sockets.h"

#include <assert.h>
#include <string.h>

enum request_kind { REQUEST_ATTACH, REQUEST_DETACH };

struct request { /* on the stack of the thread that waits for it */
        enum request_kind kind;
        struct fetch *fetch;
        bool done;
        struct request *next;
};

struct reactor {
        const struct settings *settings; /* during reactor_new() only */
        struct arena *arena;             /* the engine's, */
        struct hosts *hosts;             /* likewise */
        pthread_t thread;
        struct pulse pulse; /* the thread's; others read it */
        bool started;       /* the thread is to be joined */
        struct ring *ring;  /* these three are the thread's own, but for ring_wake() */
        struct sockets *sockets;
        struct conns *conns;

        pthread_mutex_t lock;           /* guards what follows */
        pthread_cond_t answered;        /* a request is done, or the thread is up */
        struct disk_op *ops, **ops_end; /* sent to us */
        struct request *requests;
        bool up, stopping;
        int result; /* of the start; negative: @error says why, and the thread has gone */
        struct error error;
};

/* On the reactor's thread. */
static void disk_begin(struct reactor *r, struct disk_op *op) {
        if (op->sync)
                ring_fsync(r->ring, &op->op, op->fd);
        else
                ring_write(r->ring, &op->op, op->fd, op->data, op->len, op->offset);
}

static void begin_all(struct reactor *r, struct disk_op *first) {
        struct disk_op *next;

        for (struct disk_op *op = first; op; op = next) {
                next = op->next; /* the operation is the ring's from here on */
                disk_begin(r, op);
        }
}

void disk_submit_all(struct reactor *r, struct disk_op *first) {
        struct disk_op *last = first;

        if (pthread_equal(pthread_self(), r->thread)) {
                begin_all(r, first);
                return;
        }
        while (last->next)
                last = last->next;
        {
                LOCK_SCOPE(&r->lock);
                *r->ops_end = first;
                r->ops_end = &last->next;
        }
        ring_wake(r->ring);
}

void disk_submit(struct reactor *r, struct disk_op *op) {
        op->next = NULL;
        disk_submit_all(r, op);
}

static struct disk_op *take_ops(struct reactor *r) {
        LOCK_SCOPE(&r->lock);
        struct disk_op *ops = r->ops;

        r->ops = NULL;
        r->ops_end = &r->ops;
        return ops;
}

static struct request *take_request(struct reactor *r) {
        LOCK_SCOPE(&r->lock);
        struct request *q = r->requests;

        if (q)
                r->requests = q->next;
        return q;
}

static void answer_requests(struct reactor *r) {
        struct request *q;

        while ((q = take_request(r))) {
                if (q->kind == REQUEST_ATTACH)
                        conns_attach(r->conns, q->fetch);
                else
                        conns_detach(r->conns, q->fetch);
                LOCK_SCOPE(&r->lock);
                q->done = true;
                pthread_cond_broadcast(&r->answered);
        }
}

static bool is_stopping(struct reactor *r) {
        LOCK_SCOPE(&r->lock);
        return r->stopping;
}

static void loop(struct reactor *r) {
        while (!is_stopping(r)) {
                pulse_beat(&r->pulse);
                begin_all(r, take_ops(r));
                answer_requests(r);
                int wait = conns_run(r->conns), timer = sockets_timeout_ms(r->sockets);

                if (timer >= 0 && timer < wait)
                        wait = timer;
                if (wait > PULSE_MS)
                        wait = PULSE_MS;
                int n = ring_wait(r->ring, wait);
                assert(n >= 0 || n == -EINTR); /* without its ring the engine can do nothing, not even end */
                sockets_run(r->sockets);
        }
        begin_all(r, take_ops(r));
}

static enum ring_kind kind_of(const char *io) {
        if (io && strcmp(io, "uring") == 0)
                return RING_URING;
        return io && strcmp(io, "posix") == 0 ? RING_POSIX : RING_AUTO;
}

static int set_up(struct reactor *r, struct error *e) {
        int result = ring_open(&r->ring, kind_of(r->settings->engine.io), r->settings->engine.disk_queue, e);

        if (result < 0)
                return error_wrap(e, "engine.io");
        arena_register(r->arena, r->ring);
        result = sockets_new(&r->sockets, r->ring, r->settings->engine.connections, e);
        return result < 0 ? result : conns_new(&r->conns, r->settings, r->arena, r->sockets, r->hosts, e);
}

static void *reactor_main(void *userdata) {
        struct reactor *r = userdata;
        struct error e;

        (void)pthread_setname_np(pthread_self(), "reactor");
        int result = set_up(r, &e);

        {
                LOCK_SCOPE(&r->lock);
                r->result = result;
                if (result < 0)
                        r->error = e;
                r->up = true;
                pthread_cond_broadcast(&r->answered);
        }
        if (result == 0)
                loop(r);
        conns_free(r->conns);
        sockets_free(r->sockets);
        ring_close(r->ring);
        return NULL;
}

static void wake(void *userdata) {
        reactor_wake(userdata);
}

/* Waits until the thread has set up, or failed to. */
static int wait_up(struct reactor *r, struct error *e) {
        LOCK_SCOPE(&r->lock);

        while (!r->up)
                pthread_cond_wait(&r->answered, &r->lock);
        return r->result < 0 ? error_copy(e, &r->error) : 0;
}

int reactor_new(struct reactor **ret, const struct settings *s, struct arena *a, struct hosts *hosts,
                struct error *e) {
        _cleanup_(reactor_freep) struct reactor *r = calloc(1, sizeof *r);

        if (!r)
                return error_errno(e, ENOMEM, "start the engine");
        r->settings = s;
        r->arena = a;
        r->hosts = hosts;
        r->ops_end = &r->ops;
        pthread_mutex_init(&r->lock, NULL);
        pthread_cond_init(&r->answered, NULL);
        pulse_beat(&r->pulse);
        int result = pthread_create(&r->thread, NULL, reactor_main, r);
        if (result != 0)
                return error_errno(e, result, "start the engine's reactor");
        r->started = true;
        result = wait_up(r, e);
        if (result < 0)
                return result;
        r->settings = NULL;
        arena_on_return(a, wake, r);
        *ret = take_ptr(r);
        return 0;
}

void reactor_free(struct reactor *r) {
        if (!r)
                return;
        if (r->started) {
                bool up;
                {
                        LOCK_SCOPE(&r->lock);
                        r->stopping = true;
                        up = r->result == 0;
                }
                if (up)
                        ring_wake(r->ring);
                pthread_join(r->thread, NULL);
        }
        arena_on_return(r->arena, NULL, NULL);
        pthread_cond_destroy(&r->answered);
        pthread_mutex_destroy(&r->lock);
        free(r);
}

const char *reactor_io(const struct reactor *r) {
        return ring_backend(r->ring);
}

int64_t reactor_silent_ms(const struct reactor *r) {
        return pulse_age_ms(&r->pulse);
}

/* Waits on the lock's condition until the reactor has answered; must not be called on its own thread. */
static void ask(struct reactor *r, enum request_kind kind, struct fetch *f) {
        struct request q = { .kind = kind, .fetch = f };

        pthread_mutex_lock(&r->lock);
        q.next = r->requests;
        r->requests = &q;
        ring_wake(r->ring);
        while (!q.done)
                pthread_cond_wait(&r->answered, &r->lock);
        pthread_mutex_unlock(&r->lock);
}

void reactor_attach(struct reactor *r, struct fetch *f) {
        ask(r, REQUEST_ATTACH, f);
}

void reactor_detach(struct reactor *r, struct fetch *f) {
        ask(r, REQUEST_DETACH, f);
}

void reactor_wake(struct reactor *r) {
        ring_wake(r->ring);
}
