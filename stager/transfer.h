/* SPDX-License-Identifier: Apache-2.0 */
/* transfer: the life of one blob on a blob thread, and what the engine gives it to work with. Internal to the
 * engine. */
#pragma once

#include "stager/decode_pool.h"
#include "stager/digester.h"
#include "stager/engine.h"
#include "stager/fetch.h"
#include "stager/place.h"
#include "stager/reactor.h"

#define ENGINE_WARM_THREADS 4u
#define ENGINE_BLOB_THREADS (ENGINE_WARM_THREADS + 1) /* one is kept for volumes that wait */

typedef void transfer_done(void *userdata, int result, const struct transfer_result *r,
                           const struct error *e);

struct engine {
        struct arena *arena;
        struct reactor *reactor;
        struct digester *digester;
        struct hosts *hosts;
        struct decode_pool *decoders;
        bool direct;                                /* engine.write is not "buffered" */
        pthread_t threads[ENGINE_BLOB_THREADS + 1]; /* the last one buries what was cancelled in the queue */
        unsigned n_threads;

        pthread_mutex_t lock;  /* guards what follows */
        pthread_cond_t queued; /* a transfer was queued or cancelled, or stopping */
        struct transfer *queue, **queue_end;
        struct transfer *running[ENGINE_BLOB_THREADS]; /* one a blob thread; NULL: it is idle */
        bool stopping;
};

struct transfer {
        struct engine *engine;
        struct transfer *next;       /* in the queue */
        struct transfer_order order; /* a copy; what it points to is the caller's */
        transfer_done *done;
        struct window window;      /* between the reactor, which fills it, the digester and the blob thread */
        struct digest_task digest; /* the digester's share in it */
        struct regions regions;    /* likewise: what goes straight from the window to files */
        struct fetch fetch;        /* the reactor's while it is attached, else the blob thread's */
        struct placer placer;      /* the blob thread's; see place.h for what the reactor does */
        struct placer spooler;     /* likewise; spool.h's */
        atomic_bool started;       /* a blob thread has it */
        atomic_uint_fast64_t verified; /* bytes that went into the digest, in order */
        bool attached;                 /* the reactor has the fetch */
        bool no_spool;                 /* the blob thread's: there was no space for one */
};

/* Runs to the end and fills @e or @ret; does not call done(). Blob thread. */
int transfer_run(struct transfer *t, struct transfer_result *ret, struct error *e);
