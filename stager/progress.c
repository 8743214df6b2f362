/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a job looks like from outside, at one moment. Everything here runs with stager.lock held.
 *
 * A job that follows another one shows the other one's work under its own reference. Two ways to count:
 *
 *   done    bytes that are here for good: verified in order, or in the cache before; not what lies in the
 *           window
 *   moved   bytes that came over the wire for blobs that were not here. The rate and the time left are made
 *           of it, because `done` stands still while a gap at the digest's frontier is filled, and then jumps
 *
 * The rate is an average over AVERAGE_MS. It is measured when somebody looks, at most every SAMPLE_MS, and
 * only while the job fetches. The first look gives the average since then.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "stager/job.h"

#define SAMPLE_MS 200   /* between two looks at the counters */
#define AVERAGE_MS 2000 /* time constant of the average */

static const char *blob_state(const struct job_blob *b) {
        if (b->cached)
                return "cached";
        if (b->ready)
                return "ready";
        return b->share ? "fetching" : "waiting";
}

/* Where the bytes of a blob come from becomes the job's host if no other blob has more connections. */
static int take_host(struct stage_progress *ret, const struct transfer_progress *t, unsigned *most) {
        char *host;

        if (!*t->host || (ret->host && t->connections <= *most))
                return 0;
        if (!(host = strdup(t->host)))
                return -ENOMEM;
        free(ret->host);
        ret->host = host;
        *most = t->connections;
        return 0;
}

/* One transfer of several: what it has, and what keeps it. */
static int add_transfer(struct stage_progress *ret, struct stage_blob_progress *blob, const struct share *x,
                        unsigned *most) {
        struct transfer_progress t = { 0 };

        share_progress(x, &t);
        blob->done = t.done;
        ret->connections += t.connections;
        ret->retries += t.retries;
        ret->fetched += t.received;
        ret->queued = ret->queued && t.queued;
        if (*t.trouble && !*ret->trouble)
                memcpy(ret->trouble, t.trouble, sizeof ret->trouble);
        return take_host(ret, &t, most);
}

static int snapshot_blobs(const struct job *j, struct stage_progress *ret) {
        unsigned most = 0;
        size_t n_shares = 0;

        ret->queued = true;
        ret->blobs = calloc(j->n_blobs ? j->n_blobs : 1, sizeof *ret->blobs);
        if (!ret->blobs)
                return -ENOMEM;
        for (size_t i = 0; i < j->n_blobs; i++) {
                const struct job_blob *b = &j->blobs[i];
                const struct plan_blob *p = &j->plan->blobs[b->index];
                struct stage_blob_progress *out = &ret->blobs[i];

                /* The plan goes when the job goes; a snapshot may live longer. */
                char *path = strdup(p->packing == PLAN_RAW ? p->path : "");
                if (!path)
                        return -ENOMEM;
                *out = (struct stage_blob_progress){
                        .digest = p->digest, .path = path, .size = p->size, .state = blob_state(b)
                };
                ret->n_blobs = i + 1;
                if (b->share) {
                        if (add_transfer(ret, out, b->share, &most) < 0)
                                return -ENOMEM;
                        n_shares++;
                } else if (b->ready)
                        out->done = p->size;
                ret->done += out->done;
        }
        ret->queued = ret->queued && n_shares > 0;
        return 0;
}

/* An exponential average over some seconds, however often someone looks. @moved: what came over the wire; the
 * digest's frontier would creep and jump. */
static void sample_rate(struct job *j, uint64_t moved) {
        int64_t now = time_monotonic_ms(), since = now - j->sampled_ms;

        if (j->sampled_ms && since < SAMPLE_MS)
                return;
        if (j->sampled_ms && moved >= j->sampled_moved) {
                double rate = (double)(moved - j->sampled_moved) * 1000 / (double)since;
                double weight = (double)since / (double)(since + AVERAGE_MS);
                j->rate =
                    j->rate ? (uint64_t)(weight * rate + (1 - weight) * (double)j->rate) : (uint64_t)rate;
        }
        j->sampled_ms = now;
        j->sampled_moved = moved;
}

/* What this job, or those it waits for, have received of the blobs that were not here. */
static uint64_t bytes_moved(const struct job *j) {
        uint64_t moved = 0;

        assert(j->plan || j->n_blobs == 0);
        for (size_t i = 0; i < j->n_blobs; i++) {
                const struct job_blob *b = &j->blobs[i];
                if (b->share) {
                        struct transfer_progress t = { 0 };
                        share_progress(b->share, &t);
                        moved +=
                            t.received > t.done ? t.received : t.done; /* a layout's file is not received */
                } else if (b->ready && !b->cached)
                        moved += j->plan->blobs[b->index].size;
        }
        return moved;
}

static uint64_t bytes_missing(const struct job *j) {
        uint64_t missing = 0;

        assert(j->plan || j->n_blobs == 0);
        for (size_t i = 0; i < j->n_blobs; i++)
                if (!j->blobs[i].cached)
                        missing += j->plan->blobs[j->blobs[i].index].size;
        return missing;
}

/* Rate, and the time that is left at this rate. */
static void tell_speed(struct stage_progress *ret, struct job *j) {
        uint64_t moved = bytes_moved(j), missing = bytes_missing(j);

        sample_rate(j, moved);
        ret->rate = j->rate;
        if (j->rate > 0 && missing >= moved)
                ret->eta_ms = (int64_t)((double)(missing - moved) * 1000 / (double)j->rate);
}

int job_snapshot(struct job *j, struct stage_progress *ret) {
        struct job *source = j->follows ? j->follows : j; /* who does the work */
        struct stage_progress p = { .state = job_state_name(source->state), .eta_ms = -1 };

        p.resolved = j->has_key;
        p.digest = j->manifest;
        p.waiting = j->handles;
        p.fetched = source->fetched;
        p.retries = source->retries;
        p.error = j->error;
        p.ahead = j->state == JOB_WAITING ? j->stager->n_running : 0;
        memcpy(p.trouble, source->trouble, sizeof p.trouble);
        p.reference = strdup(j->reference->text);
        int r = p.reference ? 0 : -ENOMEM;
        if (r == 0 && source->plan) {
                p.size = source->plan->size;
                r = snapshot_blobs(source, &p);
        }
        if (r == 0 && !p.host && !(p.host = strdup(j->reference->host ? j->reference->host : "")))
                r = -ENOMEM;
        if (r < 0) {
                stage_progress_clear(&p);
                return r;
        }
        if (source->n_blobs) {
                p.size = 0; /* a blob that is in the plan twice moves once */
                for (size_t i = 0; i < p.n_blobs; i++)
                        p.size += p.blobs[i].size;
        }
        if (source->state == JOB_FETCHING)
                tell_speed(&p, source);
        *ret = p;
        return 0;
}

void stage_progress_clear(struct stage_progress *p) {
        for (size_t i = 0; i < p->n_blobs; i++)
                free((char *)p->blobs[i].path);
        free(p->blobs);
        free(p->reference);
        free(p->host);
        *p = (struct stage_progress){ 0 };
}
