/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc_workers: threads made when there is work and no one is free, gone when they were idle for a while.
 * Private to rpc_*.
 *
 *   rpc_workers_init -> rpc_workers_add (any thread) … -> rpc_workers_stop
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

struct rpc_work { /* lives inside what is worked on */
        void (*run)(struct rpc_work *work);
        struct rpc_work *next;
};

struct rpc_worker;
struct rpc_workers {
        pthread_mutex_t lock; /* guards all of it */
        pthread_cond_t changed;
        struct rpc_work *head, **tail; /* first in, first out */
        unsigned n_queued;
        unsigned n_idle;            /* threads that run nothing, those that are just starting too */
        unsigned n_threads;         /* not retired */
        struct rpc_worker *retired; /* have left; to be joined */
        bool stopping;
};

void rpc_workers_init(struct rpc_workers *w);
/* Runs @work on a thread of its own as soon as it can be scheduled: work never waits for other work. The
 * caller bounds how much there is. -EAGAIN: the system gives no more threads, and @work was not taken. */
int rpc_workers_add(struct rpc_workers *w, struct rpc_work *work);
/* Finishes what was added, joins every thread. Nothing may be added any more. */
void rpc_workers_stop(struct rpc_workers *w);
