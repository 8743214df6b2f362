/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job: one model being staged. Internal to stager/; the outside sees struct stage_job, a request's handle on
 * one.
 *
 *   WAITING -> RESOLVING -> FETCHING -> ASSEMBLING -> READY
 *                  |            |            |
 *                  +------------+------------+------> FAILED
 *
 * A job runs on a thread of its own (job_main) and belongs to the node: handles come and go. Requests that
 * are alike share a job from the start; a job that turns out to make what another one is making already
 * follows that one. Blobs that two jobs want are shared one level below (share.h); a job that has failed is
 * FAILED at once, while its thread may still have to wait for a transfer that it started and others want.
 * Everything here is guarded by stager.lock unless it says otherwise; job_set_state() is the only writer of
 * job.state.
 */
#pragma once

#include "stager/readahead.h"
#include "stager/share.h"
#include "stager/stager.h"

#include <pthread.h>

#define STAGER_MAX_JOBS 1024  /* known at once, finished ones included */
#define STAGER_MAX_RUNNING 32 /* and as many again for volumes; the others wait for their turn */
#define STAGER_KEEP_FAILED_MS (5 * 60 * 1000)

enum job_state {
        JOB_WAITING,
        JOB_RESOLVING,
        JOB_FETCHING,
        JOB_ASSEMBLING,
        JOB_READY,
        JOB_FAILED,
        _JOB_STATE_MAX
};

struct job_blob {            /* one distinct blob of the plan */
        size_t index;        /* in plan->blobs */
        struct share *share; /* ours or another job's transfer, while it runs */
        bool started;        /* @share is ours */
        bool reserved;       /* its size is in our reservation */
        bool cached;         /* was here before us */
        bool ready;
};

struct job {
        struct stager *stager;
        struct job *next; /* in stager.jobs */
        unsigned refs;    /* handles, the thread, the table, those who follow it */

        /* What was asked; immutable. */
        struct digest request_key; /* equal keys share a job; see request_key() */
        struct digest what;        /* the same whoever asks, and how */
        struct oci_reference *reference;
        struct oci_selection *selection; /* may be NULL */
        struct oci_keyring *keyring;     /* may be NULL */
        enum stage_policy policy;        /* never STAGE_DEFAULT */

        enum job_state state;
        struct error error;       /* of FAILED */
        enum stage_result result; /* of READY */
        bool has_key;             /* the two below are known */
        struct digest key, manifest;
        bool claimed;            /* we are the one who makes @key */
        struct job *follows;     /* the one who does; holds a reference */
        uint64_t bytes;          /* of the model: on the wire, or on disk for a hit */
        enum plan_format format; /* of READY */

        struct model_plan *plan;             /* set before FETCHING, then immutable */
        char trouble[TRANSFER_TROUBLE_SIZE]; /* why the registry is asked again; "": it is not */
        bool is_private;                     /* the registry gave it to credentials that not everybody has */
        struct cache_reservation *reservation; /* owned; shares that we started use it */
        struct job_blob *blobs;
        size_t n_blobs, n_held; /* the first n_held are held in the cache */

        int64_t started_ms, ended_ms; /* monotonic; ended_ms is 0 while it runs */
        uint64_t fetched;             /* by transfers that ended */
        uint64_t retries;
        uint64_t staged_bytes;        /* of READY and no hit: received by the job that did the work */
        int64_t staged_ms;            /* likewise: how long it took */
        unsigned handles;             /* that wait or may wait */
        bool urgent;                  /* a volume has asked for it; for good */
        int64_t sampled_ms;           /* for the rate (progress.c); 0: not yet */
        uint64_t sampled_moved, rate; /* bytes moved by then; bytes a second, smoothed */
};

struct stager {
        const struct settings *settings; /* these three are the caller's */
        struct cache *cache;
        struct oci_client *client;
        struct engine *engine;       /* ours */
        struct readahead *readahead; /* ours */

        pthread_mutex_t saving; /* so that no older state of the hosts is written last */
        pthread_mutex_t lock;   /* guards what follows, and every job and share but for what never changes */
        pthread_cond_t changed; /* any job or share changed, or stopping */
        struct hosts *hosts;    /* the engine's, too */
        int root_fd;            /* where what is known of hosts is kept; -1: nowhere */
        struct job *jobs;       /* those that run, and those that ended and were not pruned yet */
        size_t n_jobs;
        unsigned n_running, n_waiting, n_threads; /* at work, waiting for their turn; threads not yet gone */
        unsigned n_urgent;                        /* of those at work, volumes' */
        struct share *shares;                     /* transfers that are not done */
        bool stopping;
        bool no_waits; /* stager_end_waits() */
};

struct stage_job {        /* a request's handle; its own thread uses it, but for stage_job_interrupt() */
        struct job *job;  /* holds a reference */
        bool starter;     /* this request made the job */
        bool interrupted; /* stop waiting; the job goes on */
        bool counted;     /* in the metrics, once */
        int64_t since_ms; /* monotonic, when it was asked */
};

void *job_main(void *arg);                /* a struct job */
void stager_save_hosts(struct stager *s); /* lock not held */
/* FAILED, with the reason; nothing if it is already. Its thread may go on to clean up. Lock held. */
void job_failed(struct job *j, const struct error *e);
void job_set_state(struct job *j, enum job_state state); /* lock held */
/* The model is here: the job is ready. Lock held, or nobody else has the job yet. */
void job_is_hit(struct job *j, const struct cache_model *m);
/* As users see it. */
const char *job_state_name(enum job_state state);
struct job *job_ref(struct job *j); /* lock held */
void job_unref(struct job *j);      /* lock held */
/* A volume waits for it now, and for what it follows, and for their blobs. Lock held. */
void job_set_urgent(struct job *j);

/* The job's blobs (job_blobs.c), in this order; job_release_layers() at the end in any case. */
int job_list_blobs(struct job *j, struct error *e);
/* Holds all layers, sees which are here, promises the space for the rest. ERROR_NO_SPACE. */
int job_reserve(struct job *j, struct error *e);
/* Starts or joins what is missing and waits for all of it. On failure too nothing of ours is under way any
 * more. */
int job_fetch(struct job *j, struct error *e);
void job_release_layers(struct job *j);
/* Whether what @b brings is to be given only to those who read from the same repository. */
bool job_blob_is_private(const struct job *j, const struct plan_blob *b);

/* "REF" or "REF#platform": under which name the manifest that a reference meant is remembered. */
char *job_tag_name(const char *reference_text, const struct oci_selection *selection);
/* Is what @reference meant last time still here? -ENOENT without text if not. No network, no lock. */
int job_find_cached(struct stager *s, const char *reference_text, const struct oci_selection *selection,
                    struct cache_model **ret);

/* Fills @ret from a job; the caller holds the lock. */
int job_snapshot(struct job *j, struct stage_progress *ret);
