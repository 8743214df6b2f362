/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool without a fixed size. Its promise is that work never waits behind other work that blocks, so a
 * thread is made whenever more is queued than threads are idle; the server's admission limits bound how many
 * that can be.
 *
 * A thread that was idle for IDLE_S leaves. On its way out it joins whoever left before it, so at most one
 * thread that has ended waits to be joined, whatever burst there was.
 */
#include "base/rpc_workers.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define IDLE_S 10
#define STACK_SIZE (512u * 1024) /* handlers reach into SQLite, curl and libarchive */

struct rpc_worker {
        pthread_t thread;
        struct rpc_workers *pool;
        struct rpc_worker *next; /* retired list */
};

void rpc_workers_init(struct rpc_workers *w) {
        pthread_condattr_t attr;

        *w = (struct rpc_workers){ .tail = &w->head };
        pthread_mutex_init(&w->lock, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&w->changed, &attr);
        pthread_condattr_destroy(&attr);
}

/* The next work, or NULL when this thread shall leave. With the lock held. */
static struct rpc_work *workers_take(struct rpc_workers *w) {
        struct timespec until;
        int r = 0;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += IDLE_S;
        while (!w->head && !w->stopping && r != ETIMEDOUT)
                r = pthread_cond_timedwait(&w->changed, &w->lock, &until);

        struct rpc_work *work = w->head;
        w->n_idle--;
        if (!work)
                return NULL;
        w->head = work->next;
        if (!w->head)
                w->tail = &w->head;
        w->n_queued--;
        return work;
}

static void workers_join(struct rpc_worker *list) {
        while (list) {
                struct rpc_worker *next = list->next;

                pthread_join(list->thread, NULL);
                free(list);
                list = next;
        }
}

static struct rpc_worker *workers_retire(struct rpc_workers *w, struct rpc_worker *self) {
        struct rpc_worker *before = w->retired;

        self->next = NULL;
        w->retired = self;
        w->n_threads--;
        pthread_cond_broadcast(&w->changed); /* rpc_workers_stop() may wait for the last one */
        return before;
}

static void *worker_main(void *arg) {
        struct rpc_worker *self = arg;
        struct rpc_workers *w = self->pool;
        struct rpc_work *work;

        pthread_mutex_lock(&w->lock);
        while ((work = workers_take(w))) {
                pthread_mutex_unlock(&w->lock);
                work->run(work);
                pthread_mutex_lock(&w->lock);
                w->n_idle++;
        }
        struct rpc_worker *before = workers_retire(w, self);
        pthread_mutex_unlock(&w->lock);
        workers_join(before);
        return NULL;
}

/* With the lock held: the new thread does not look at anything before we let go of it. */
static int workers_spawn(struct rpc_workers *w) {
        pthread_attr_t attr;
        struct rpc_worker *worker = calloc(1, sizeof *worker);

        if (!worker)
                return -EAGAIN;
        worker->pool = w;
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, STACK_SIZE);
        int r = pthread_create(&worker->thread, &attr, worker_main, worker);
        pthread_attr_destroy(&attr);
        if (r) {
                free(worker);
                return -EAGAIN;
        }
        w->n_threads++;
        w->n_idle++;
        return 0;
}

int rpc_workers_add(struct rpc_workers *w, struct rpc_work *work) {
        LOCK_SCOPE(&w->lock);

        assert(!w->stopping);
        if (w->n_queued >= w->n_idle && workers_spawn(w) < 0)
                return -EAGAIN;
        work->next = NULL;
        *w->tail = work;
        w->tail = &work->next;
        w->n_queued++;
        pthread_cond_signal(&w->changed);
        return 0;
}

void rpc_workers_stop(struct rpc_workers *w) {
        pthread_mutex_lock(&w->lock);
        w->stopping = true;
        pthread_cond_broadcast(&w->changed);
        while (w->n_threads > 0)
                pthread_cond_wait(&w->changed, &w->lock);
        struct rpc_worker *last = w->retired;
        w->retired = NULL;
        pthread_mutex_unlock(&w->lock);

        workers_join(last); /* which has joined all others */
        pthread_cond_destroy(&w->changed);
        pthread_mutex_destroy(&w->lock);
}
