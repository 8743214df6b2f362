/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A job's blobs: which are here, which another job brings, which it fetches itself, and what that costs in
 * space.
 *
 * Space is promised for the whole model before its first byte is asked for, once per blob however many jobs
 * want it: who promised first starts the transfer, the others join. All of it is started at once (the engine
 * queues it); the first failure ends what nobody else wants, and is told without waiting for what others do.
 * Called by job_main() of the job; other threads
 * look at the blobs under stager.lock.
 */
#include "stager/job.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/metrics.h"

/* The plan's blobs, each once. */
int job_list_blobs(struct job *j, struct error *e) {
        const struct model_plan *p = j->plan;
        struct job_blob *blobs = calloc(p->n_blobs ? p->n_blobs : 1, sizeof *blobs);
        size_t n = 0;

        if (!blobs)
                return error_errno(e, ENOMEM, "cannot list the blobs of %s", j->reference->text);
        for (size_t i = 0; i < p->n_blobs; i++) {
                bool seen = false;
                for (size_t k = 0; k < n && !seen; k++)
                        seen = plan_blob_is_same(&p->blobs[blobs[k].index], &p->blobs[i]);
                if (!seen)
                        blobs[n++].index = i;
        }
        LOCK_SCOPE(&j->stager->lock);
        j->blobs = blobs;
        j->n_blobs = n;
        return 0;
}

/* Another job has promised the space for this blob and is about to bring it. Lock held. */
static bool is_promised(const struct job *j, const struct plan_blob *b) {
        for (const struct job *x = j->stager->jobs; x; x = x->next)
                for (size_t i = 0; x != j && i < x->n_blobs; i++) {
                        if (x->blobs[i].reserved && !x->blobs[i].ready &&
                            plan_blob_is_same(&x->plan->blobs[x->blobs[i].index], b))
                                return true;
                }
        return false;
}

/* Of a repository that a kit builds on we know only that this asker may read it. */
bool job_blob_is_private(const struct job *j, const struct plan_blob *b) {
        return j->is_private || b->source != 0;
}

/* To know a digest is not to be allowed to read what it stands for: a private layer is given to those who
 * read from the repository that it came from. Others fetch it again, from where they may. */
static bool may_have(const struct job *j, const struct plan_blob *b, const struct cache_layer *layer) {
        struct digest origin;

        return !layer->is_private || (oci_reference_origin(&origin, j->plan->sources[b->source]) == 0 &&
                                      digest_equal(&origin, &layer->origin));
}

/* 1: the blob is here, 0: it is not, or not for us. A manifest that lies about its size is refused here as it
 * would be on the wire. */
static int job_find_layer(const struct job *j, const struct plan_blob *b, struct error *e) {
        struct cache_layer layer;
        char text[DIGEST_TEXT_SIZE];

        if (!cache_layer_find(j->stager->cache, &b->digest, cache_form_of(b), &layer) ||
            !may_have(j, b, &layer))
                return 0;
        if (layer.size == b->size)
                return 1;
        return error_set(e, ERROR_DATA_LOSS,
                         "blob %s of %s has %" PRIu64 " bytes, its descriptor says %" PRIu64,
                         digest_format(&b->digest, text), j->reference->text, layer.size, b->size);
}

/* Holds every layer, sees which are here, and promises the space for what nobody else is bringing. */
int job_reserve(struct job *j, struct error *e) {
        struct stager *s = j->stager;
        uint64_t needed = 0;

        for (size_t i = 0; i < j->n_blobs; i++) {
                const struct plan_blob *b = &j->plan->blobs[j->blobs[i].index];
                cache_layer_hold(s->cache, &b->digest);
                j->n_held++;
                int cached = job_find_layer(j, b, e);
                if (cached < 0)
                        return cached;
                if (cached)
                        metric_add(SAVED_BYTES, (double)b->size, "layer");
                LOCK_SCOPE(&s->lock);
                j->blobs[i].cached = j->blobs[i].ready = cached;
                j->blobs[i].reserved = !cached && !is_promised(j, b);
                if (j->blobs[i].reserved)
                        needed += b->size;
        }
        return cache_reserve(&j->reservation, s->cache, needed, e);
}

void job_release_layers(struct job *j) {
        for (size_t i = 0; i < j->n_held; i++)
                cache_layer_unhold(j->stager->cache, &j->plan->blobs[j->blobs[i].index].digest);
        LOCK_SCOPE(&j->stager->lock);
        for (size_t i = 0; i < j->n_blobs; i++)
                j->blobs[i].reserved = false;
}

static int job_fetch_blob(struct job *j, struct job_blob *b, struct error *e) {
        const struct plan_blob *blob = &j->plan->blobs[b->index];
        struct share *x = NULL;
        bool started;
        int r = job_find_layer(j, blob, e);

        if (r < 0)
                return r;
        if (r == 1) { /* it came in the meantime */
                LOCK_SCOPE(&j->stager->lock);
                b->ready = true;
                return 0;
        }
        r = share_get(&x, &started, j, b, e);
        if (r < 0)
                return r;
        LOCK_SCOPE(&j->stager->lock);
        b->share = x;
        b->started = started;
        if (j->urgent) /* since a moment ago, perhaps */
                share_set_urgent(x);
        return 0;
}

/* Takes the outcome of a share that is done. 1: it was another job's and failed, so it is our turn. Lock
 * held. */
static int job_collect(struct job *j, struct job_blob *b, struct error *e) {
        struct share *x = b->share;
        int r = x->result;

        if (r < 0)
                error_copy(e, &x->error);
        else
                b->ready = true;
        if (b->started) {
                j->fetched += x->last.received;
                j->retries += x->last.retries;
        } else if (r >= 0)
                metric_add(SAVED_BYTES, (double)x->size, "layer");
        b->share = NULL;
        share_unref(x);
        return r < 0 && !b->started && !j->stager->stopping ? 1 : r;
}

/* The next of our blobs whose share is done, after waiting for it; NULL when none is under way. */
static struct job_blob *job_next_done(struct job *j) {
        struct stager *s = j->stager;

        for (;;) {
                bool waiting = false;
                for (size_t i = 0; i < j->n_blobs; i++) {
                        if (j->blobs[i].share && j->blobs[i].share->done)
                                return &j->blobs[i];
                        waiting = waiting || j->blobs[i].share;
                }
                if (!waiting)
                        return NULL;
                pthread_cond_wait(&s->changed, &s->lock);
        }
}

/* What this job has started ends if nobody else wants it, and is waited for; what others have started is left
 * to them. Lock held. */
static void job_give_up(struct job *j) {
        for (size_t i = 0; i < j->n_blobs; i++) {
                struct job_blob *b = &j->blobs[i];

                if (!b->share)
                        continue;
                share_give_up(b->share);
                if (!b->started) {
                        share_unref(b->share);
                        b->share = NULL;
                }
        }
}

/* Is a transfer about to end because nobody wants it? Lock held. */
static bool job_is_clearing(const struct job *j) {
        for (size_t i = 0; i < j->n_blobs; i++)
                if (j->blobs[i].share && j->blobs[i].share->wanted == 0)
                        return true;
        return false;
}

/*
 * After a failure: waits for the transfers that this job has started. Those that nobody wants end now; when
 * only such are left as others go on waiting for, which may take long, the failure is told first. Lock held.
 */
static void job_abandon_blobs(struct job *j, const struct error *e) {
        struct job_blob *b;

        job_give_up(j);
        for (;;) {
                struct error ignored;

                if (!job_is_clearing(j))
                        job_failed(j, e);
                b = job_next_done(j);
                if (!b)
                        return;
                (void)job_collect(j, b, &ignored);
        }
}

/* Waits until nothing of what this job wants is under way any more, or something has failed. */
static int job_await_blobs(struct job *j, int r, struct error *e) {
        while (r >= 0) {
                struct job_blob *b;

                {
                        LOCK_SCOPE(&j->stager->lock);
                        b = job_next_done(j);
                        if (!b)
                                return 0;
                        r = job_collect(j, b, e);
                }
                if (r == 1)
                        r = job_fetch_blob(j, b, e);
        }
        LOCK_SCOPE(&j->stager->lock);
        job_abandon_blobs(j, e);
        return r;
}

/* Starts all that is missing at once; the engine queues it. */
int job_fetch(struct job *j, struct error *e) {
        int r = 0;

        for (size_t i = 0; i < j->n_blobs && r >= 0; i++)
                if (!j->blobs[i].ready)
                        r = job_fetch_blob(j, &j->blobs[i], e);
        return job_await_blobs(j, r, e);
}
