/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stager: models are staged here, once per node however many ask.
 *
 * A request is first resolved (tag to digest, with the asker's own credentials), then keyed by what it
 * produces. A job belongs to the node, not to the request that started it: when the asker leaves, it goes on.
 * Thread-safe.
 */
#pragma once

#include "base/settings.h"
#include "cache/cache.h"
#include "oci/client.h"
#include "stager/engine.h"

#include <stdbool.h>
#include <stdint.h>

struct stager;

/* All three are kept by reference. Starts the engine's threads. */
int stager_new(struct stager **ret, const struct settings *s, struct cache *c, struct oci_client *client,
               struct error *e);
/* Stops the engine: running jobs end with ERROR_CANCELLED; what was complete stays. */
void stager_free(struct stager *s);
DEFINE_CLEANUP(struct stager *, stager_free);
const char *stager_io(const struct stager *s);    /* "uring" or "posix" */
int64_t stager_silent_ms(const struct stager *s); /* engine_silent_ms() */

/* Whether a registry is asked although the model may be here: Kubernetes' imagePullPolicy. DEFAULT: always
 * for the tag "latest", else if it is not present. */
enum stage_policy { STAGE_DEFAULT, STAGE_IF_NOT_PRESENT, STAGE_ALWAYS, STAGE_NEVER };
/* How a model came to be ready: it was here; this request caused the fetch; another one had caused it. */
enum stage_result { STAGE_HIT, STAGE_MISS, STAGE_JOINED };
/* "hit", "miss", "joined": in metrics, logs and answers. */
const char *stage_result_name(enum stage_result r);

struct stage_request {
        const struct oci_reference *reference;
        const struct oci_selection *selection; /* may be NULL */
        const struct oci_keyring *keyring;     /* may be NULL: the administrator's alone */
        enum stage_policy policy;
        bool urgent; /* somebody waits for it to use it: before what is only warmed */
};

/* A snapshot: a copy of what was true at one moment, with memory of its own. */
struct stage_blob_progress {
        struct digest digest;
        const char *path;    /* "" for an archive; belongs to the snapshot */
        uint64_t size, done; /* bytes on the wire; done: verified */
        const char *state;   /* "waiting", "fetching", "cached", "ready" */
};
struct stage_progress {
        char *reference; /* canonical, as it was asked for */
        bool resolved;
        struct digest digest; /* of the manifest; if resolved */
        const char *state;    /* "waiting", "resolving", "fetching", "assembling", "ready", "failed" */
        uint64_t done, size;  /* bytes on the wire; size 0 until planned */
        uint64_t fetched;     /* of done, what this job's transfers received */
        uint64_t rate;        /* bytes a second, smoothed */
        int64_t eta_ms;       /* -1: unknown */
        unsigned connections, waiting; /* in use for it now; handles on the job */
        uint64_t retries;              /* requests that were asked for again */
        char *host;     /* that most connections go to now, else the reference's; "": a layout */
        unsigned ahead; /* of a waiting one: models that are staged before it */
        bool queued;    /* fetches nothing, because other models' blobs are fetched */
        char trouble[TRANSFER_TROUBLE_SIZE]; /* why it waits for a registry; "": it does not */
        struct stage_blob_progress *blobs;
        size_t n_blobs;
        struct error error; /* of a failed one */
};
void stage_progress_clear(struct stage_progress *p);
/* "fetching, 41 %, 12.3 GiB of 30.0 GiB, 812 MiB/s, 23s left": for errors that a person reads. */
void stage_progress_describe(const struct stage_progress *p, char *text, size_t size);

struct stage_job; /* a request's handle on a job; each from stager_stage() is to be let go with
                     stage_job_leave() */

/* Starts or joins. Returns at once; a hit is a job that is ready. Fails only for what is known at once
 * (policy, arguments). */
int stager_stage(struct stage_job **ret, struct stager *s, const struct stage_request *r, struct error *e);
/* The job goes on without this handle. Frees it; NULL is fine. */
void stage_job_leave(struct stage_job *h);
DEFINE_CLEANUP(struct stage_job *, stage_job_leave);

struct stage_outcome {
        enum stage_result result;
        struct digest key, manifest;
        uint64_t bytes;   /* of the model on the wire */
        uint64_t fetched; /* received for it */
        int64_t elapsed_ms;
        uint64_t staged_bytes; /* what all the work for it has received, whoever asked for that; of a hit 0 */
        int64_t staged_ms;     /* how long that took */
};
/* Waits until ready, failed (its error), or @timeout_ms (-1: for ever) has passed or stage_job_interrupt()
 * was called: ERROR_IN_PROGRESS, the text tells the progress. */
int stage_job_wait(struct stage_job *h, int64_t timeout_ms, struct stage_outcome *ret, struct error *e);
void stage_job_interrupt(struct stage_job *h); /* from any thread */
/* The daemon stops: all who wait, and all who come, are told so (ERROR_UNAVAILABLE) unless their model is
 * here. */
void stager_end_waits(struct stager *s);
/* *ret is to be cleared with stage_progress_clear(). -ENOMEM. */
int stage_job_progress(struct stage_job *h, struct stage_progress *ret);

/* A volume has got the model @key: it is read into the page cache if there is room. Returns at once. */
void stager_read_ahead(struct stager *s, const struct digest *key);

/* Whether what @reference meant last is here, all of it. Asks nobody. */
bool stager_has(struct stager *s, const struct oci_reference *reference);

/* Equal for requests that ask for the same thing, whatever their credentials and pull policy; to be freed. */
char *stager_request_name(const struct oci_reference *reference, const struct oci_selection *selection);

/* What is known of the hosts that blobs come from, the one used last first; to be freed. -ENOMEM. */
int stager_hosts(struct stager *s, struct host_profile **ret, size_t *ret_n);

/* Jobs that run or ended in the last minutes with a failure; to be freed with stager_list_free(). */
int stager_list(struct stager *s, struct stage_progress **ret, size_t *ret_n);
void stager_list_free(struct stage_progress *list, size_t n);
