/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share: one blob on its way into the cache, for every job that wants it. Internal to stager/.
 *
 * The first job that wants a blob starts the transfer with its own source and credentials and promises the
 * disk space; later ones join and only wait. When a transfer fails, its starter fails with the error and
 * those who joined try for themselves, because their source or credentials may be better. When the last one
 * that wants the blob gives it up, the transfer ends; the starter waits for that end in any case, because the
 * space is its own. A share leaves the table when its transfer is done.
 */
#pragma once

#include "cache/cache.h"
#include "oci/blob.h"
#include "stager/engine.h"

struct stager;
struct job;
struct job_blob;

struct share {
        struct share *next; /* in stager.shares, until it is done */
        unsigned refs;      /* jobs, and the transfer while it runs; guarded by stager.lock */
        unsigned wanted;    /* by jobs that have not given it up; likewise */
        struct stager *stager;

        struct digest digest;
        enum cache_form form;
        enum plan_codec codec;
        uint64_t size;                         /* on the wire */
        bool urgent;                           /* a volume waits for it; guarded by stager.lock */
        bool is_private;                       /* then only for those who read from the same repository, */
        struct digest origin;                  /* this one */
        struct transfer *transfer;             /* NULL before it has started and after it is done */
        struct oci_blob *source;               /* owned; the transfer borrows it */
        struct cache_staging *staging;         /* owned until it is sealed or thrown away */
        struct cache_reservation *reservation; /* the starter's; outlives the transfer */

        bool done;  /* then the rest is final */
        int result; /* 0: the layer is in the cache; else a negative errno, and @error says why */
        struct error error;
        struct transfer_progress last; /* of the transfer, when it was done */
};

/* Joins the transfer of @b, or starts it for @j, which then pays for its space. *ret_started says which. Lock
 * not held. */
int share_get(struct share **ret, bool *ret_started, struct job *j, const struct job_blob *b,
              struct error *e);
void share_progress(const struct share *x, struct transfer_progress *ret); /* lock held */
void share_unref(struct share *x);                                         /* lock held */
void share_set_urgent(struct share *x); /* a volume waits for it; lock held */
void share_give_up(struct share *x);    /* one job does not want it any more; lock held */
