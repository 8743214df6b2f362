/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share: one transfer, however many jobs want its blob. What a share is stands in share.h.
 *
 *   share_get     somebody brings it already, and not only for others: one reference more
 *                 nobody does: a new share in the table; share_start(): source, space, staging, transfer
 *                    |
 *                    |  the engine moves the blob; what it writes is taken off the starter's reservation
 *                    v
 *   share_done    sealed into the cache, or left for whoever goes on with it
 *                    |
 *                    v
 *   share_finish  done, result, out of the table, stager.changed
 *
 * A share that cannot be started ends in share_finish() as well, because other jobs may have joined it by
 * then. The transfer holds a reference until share_finish(), so whoever drops the last one finds no transfer.
 *
 * Threads: jobs in share_get(), a thread of the engine in share_done() and the transfer's callbacks, where it
 * may be the reactor; so share_wrote() must not wait for stager.lock. The lock guards the table and every
 * share; it is not held while a registry, the cache or the disk is asked.
 */
#include "stager/share.h"

#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "stager/job.h"

/* Who may not be given another one's private blob brings it himself, and so shows that he may have it. */
static struct share *share_find(const struct stager *s, const struct plan_blob *blob,
                                const struct digest *origin) {
        for (struct share *x = s->shares; x; x = x->next)
                if (x->form == cache_form_of(blob) && x->codec == blob->codec &&
                    digest_equal(&x->digest, &blob->digest) &&
                    (!x->is_private || digest_equal(&x->origin, origin)))
                        return x;
        return NULL;
}

static void share_remove(struct share *x) {
        struct share **link = &x->stager->shares;

        while (*link && *link != x)
                link = &(*link)->next;
        if (*link)
                *link = x->next;
}

void share_unref(struct share *x) {
        if (!x || --x->refs > 0)
                return;
        assert(!x->transfer);
        oci_blob_free(x->source);
        cache_staging_abort(x->staging);
        free(x);
}

void share_progress(const struct share *x, struct transfer_progress *ret) {
        if (x->done || !x->transfer)
                *ret = x->last;
        else
                transfer_progress(x->transfer, ret);
}

static int share_grow(void *userdata, uint64_t bytes, struct error *e) {
        struct share *x = userdata;

        return cache_reservation_grow(x->reservation, bytes, e);
}

static void share_wrote(void *userdata, uint64_t bytes) {
        struct share *x = userdata;

        cache_reservation_consume(x->reservation, bytes);
}

static int share_spare(void *userdata, uint64_t bytes) {
        struct share *x = userdata;

        return cache_reservation_spare(x->reservation, bytes);
}

static void share_spared(void *userdata, uint64_t bytes) {
        struct share *x = userdata;

        cache_reservation_give_back(x->reservation, bytes);
}

/* Marks the end of a share that never became a transfer, or whose transfer is over. Lock held. */
static void share_finish(struct share *x, int result, const struct error *e) {
        x->result = result;
        if (result < 0)
                error_copy(&x->error, e);
        x->done = true;
        share_remove(x);
        share_unref(x);
        pthread_cond_broadcast(&x->stager->changed);
}

/* On a blob thread. Sealing comes first: a job that sees `done` finds the layer in the cache. */
static void share_done(void *userdata, int result, const struct transfer_result *placed,
                       const struct error *e) {
        struct share *x = userdata;
        struct stager *s = x->stager;
        struct error error = { 0 };

        if (result < 0)
                error_copy(&error, e);
        else {
                struct cache_layer layer = { .digest = x->digest,
                                             .form = x->form,
                                             .size = x->size,
                                             .bytes = placed->bytes,
                                             .files = placed->files,
                                             .is_private = x->is_private,
                                             .origin = x->origin };
                result = cache_staging_seal(take_ptr(x->staging), &layer, &error);
        }
        cache_staging_leave(take_ptr(x->staging)); /* a failure's; else it is NULL */

        LOCK_SCOPE(&s->lock);
        transfer_progress(x->transfer, &x->last);
        transfer_free(take_ptr(x->transfer)); /* now: the engine may be gone when the last job lets go */
        share_finish(x, result, &error);
}

static int share_start(struct share *x, struct job *j, const struct job_blob *b, struct error *e) {
        const struct plan_blob *blob = &j->plan->blobs[b->index];
        struct stager *s = j->stager;
        int r = oci_blob_new(&x->source, s->client, j->plan->sources[blob->source], j->keyring, &blob->digest,
                             blob->size, e);
        if (r >= 0 && !b->reserved)
                r = cache_reservation_grow(x->reservation, blob->size, e);
        if (r < 0)
                return r;
        r = cache_staging_begin(
            &x->staging, s->cache,
            &(struct cache_layer){
                .digest = x->digest, .form = x->form, .is_private = x->is_private, .origin = x->origin },
            e);
        if (r < 0)
                return r;

        struct transfer_order order = {
                .source = x->source,
                .digest = blob->digest,
                .size = blob->size,
                .packing = blob->packing,
                .codec = blob->codec,
                .dir_fd = cache_staging_dir(x->staging),
                .mode = blob->mode,
                .mtime = blob->mtime,
                .group = (uintptr_t)j,
                .grow = share_grow,
                .wrote = share_wrote,
                .spare = share_spare,
                .spared = share_spared,
                .userdata = x,
        };
        /* engine_start() only queues. Under the lock, so that share_done(), which comes from a blob thread,
         * finds x->transfer. */
        LOCK_SCOPE(&s->lock);
        if (s->stopping) /* and the engine with it */
                return error_set(e, ERROR_CANCELLED, "the daemon is stopping");
        order.urgent = x->urgent;
        return engine_start(&x->transfer, s->engine, &order, share_done, e);
}

/* Enters a share for @b into the table. Lock held. NULL: out of memory. */
static struct share *share_new(struct job *j, const struct plan_blob *blob, const struct digest *origin) {
        struct stager *s = j->stager;
        struct share *x = calloc(1, sizeof *x);

        if (!x)
                return NULL;
        *x = (struct share){ .next = s->shares,
                             .refs = 2 /* the job's, the transfer's */,
                             .wanted = 1,
                             .stager = s,
                             .digest = blob->digest,
                             .form = cache_form_of(blob),
                             .codec = blob->codec,
                             .size = blob->size,
                             .is_private = job_blob_is_private(j, blob),
                             .urgent = j->urgent,
                             .origin = *origin,
                             .reservation = j->reservation };
        s->shares = x;
        return x;
}

int share_get(struct share **ret, bool *ret_started, struct job *j, const struct job_blob *b,
              struct error *e) {
        const struct plan_blob *blob = &j->plan->blobs[b->index];
        struct error error = { 0 };
        struct digest origin;
        struct share *x;

        int r = oci_reference_origin(&origin, j->plan->sources[blob->source]);
        if (r < 0)
                return error_errno(e, r, "cannot fetch a blob");
        {
                LOCK_SCOPE(&j->stager->lock);
                x = share_find(j->stager, blob, &origin);
                *ret_started = !x;
                if (x) {
                        x->refs++;
                        x->wanted++;
                        if (j->urgent)
                                share_set_urgent(x);
                        *ret = x;
                        return 0;
                }
                x = share_new(j, blob, &origin);
        }
        if (!x)
                return error_errno(e, ENOMEM, "cannot fetch a blob");
        r = share_start(x, j, b, &error);
        if (r < 0) {
                LOCK_SCOPE(&j->stager->lock);
                share_finish(x, r, &error);
                share_unref(x);
                return error_copy(e, &error);
        }
        *ret = x;
        return 0;
}

void share_set_urgent(struct share *x) {
        x->urgent = true;
        if (x->transfer)
                transfer_set_urgent(x->transfer);
}

void share_give_up(struct share *x) {
        if (--x->wanted == 0 && x->transfer)
                transfer_cancel(x->transfer);
}
