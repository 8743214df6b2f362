/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a job, on its own thread.
 *
 *   job_wait_for_turn   no more than STAGER_MAX_RUNNING are at work, twice that with those of volumes
 *   job_resolve         what the reference means: by the cache's tag, else by the registry
 *      |   \-- the model is here and the asker may have it -----------------------> READY (hit)
 *   job_plan            manifest -> plan -> key
 *   job_obtain: job_claim            another job makes this key: wait for it. Else the key is ours
 *      |        job_may_have_model   it is here, and not only for others ----------> READY (joined, hit)
 *      |        job_make             list, hold and reserve, fetch (job_blobs.c),
 *      |                             assemble --------------------------------------> READY (miss)
 *   job_remember_tag    both names, pinned and as it was asked for
 *
 * A tag is remembered only when its model is here, so a tag that is found leads to a model or to one that was
 * removed since. A failure anywhere leads to FAILED; the job stays in the table for a while, to be shown.
 *
 * Network and disk are touched without the lock; what others may see is changed under it.
 */
#include "stager/job.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"

static const char *const state_names[] = {
        [JOB_WAITING] = "waiting",       [JOB_RESOLVING] = "resolving", [JOB_FETCHING] = "fetching",
        [JOB_ASSEMBLING] = "assembling", [JOB_READY] = "ready",         [JOB_FAILED] = "failed",
};
_Static_assert(sizeof state_names / sizeof *state_names == _JOB_STATE_MAX, "one name per state");

const char *job_state_name(enum job_state state) {
        return state_names[state];
}

static bool is_at_work(const struct job *j) {
        return j->state != JOB_WAITING && j->state != JOB_READY && j->state != JOB_FAILED;
}

void job_set_state(struct job *j, enum job_state state) {
        struct stager *s = j->stager;

        log_debug(STAGE, "%s: %s -> %s", j->reference->text, state_names[j->state], state_names[state]);
        if (j->state == JOB_WAITING && state == JOB_RESOLVING) {
                s->n_waiting--;
                s->n_running++;
                s->n_urgent += j->urgent;
        }
        if (state == JOB_FETCHING) { /* the rate is from now on, even if nobody looks until the end */
                j->sampled_ms = time_monotonic_ms();
                j->sampled_moved = 0;
        }
        if (state == JOB_READY || state == JOB_FAILED) {
                s->n_running -= is_at_work(j); /* a hit at once never ran */
                s->n_urgent -= is_at_work(j) && j->urgent;
                j->ended_ms = time_monotonic_ms();
        }
        if (state == JOB_READY && j->result == STAGE_MISS) {
                j->staged_bytes = j->fetched;
                j->staged_ms = j->ended_ms - j->started_ms;
        }
        j->state = state;
        metric_set(STAGES_RUNNING, s->n_running);
        metric_set(STAGES_WAITING, s->n_waiting);
        pthread_cond_broadcast(&s->changed);
}

void job_set_urgent(struct job *j) {
        for (; j && !j->urgent; j = j->follows) {
                j->urgent = true;
                j->stager->n_urgent += is_at_work(j);
                for (size_t i = 0; i < j->n_blobs; i++)
                        if (j->blobs[i].share)
                                share_set_urgent(j->blobs[i].share);
                pthread_cond_broadcast(&j->stager->changed); /* it may be its turn */
        }
}

struct job *job_ref(struct job *j) {
        j->refs++;
        return j;
}

void job_unref(struct job *j) {
        if (--j->refs > 0)
                return;
        if (j->follows)
                job_unref(j->follows);
        cache_reservation_release(j->reservation);
        model_plan_free(j->plan);
        oci_reference_free(j->reference);
        oci_selection_free(j->selection);
        oci_keyring_free(j->keyring);
        free(j->blobs);
        free(j);
}

char *job_tag_name(const char *reference_text, const struct oci_selection *selection) {
        char *name = NULL;

        if (!selection || !selection->platform)
                return strdup(reference_text);
        return asprintf(&name, "%s#%s", reference_text, selection->platform) < 0 ? NULL : name;
}

int job_find_cached(struct stager *s, const char *reference_text, const struct oci_selection *selection,
                    struct cache_model **ret) {
        _cleanup_free_ char *tag = job_tag_name(reference_text, selection);
        struct digest manifest, key;
        int64_t resolved_ms;

        if (!tag)
                return -ENOMEM;
        int r = cache_tag_get(s->cache, tag, &manifest, &resolved_ms);
        if (r < 0)
                return r;
        r = oci_selection_key(&key, selection, &manifest);
        if (r < 0)
                return r;
        return cache_model_find(s->cache, &key, ret);
}

static bool job_cancelled(void *userdata) {
        struct job *j = userdata;

        LOCK_SCOPE(&j->stager->lock);
        return j->stager->stopping;
}

static void job_retrying(void *userdata, const char *why) {
        struct job *j = userdata;

        LOCK_SCOPE(&j->stager->lock);
        snprintf(j->trouble, sizeof j->trouble, "%s", why ? why : "");
}

static struct oci_request job_request(struct job *j, const struct oci_reference *reference) {
        return (struct oci_request){ .reference = reference,
                                     .keyring = j->keyring,
                                     .selection = j->selection,
                                     .cancelled = job_cancelled,
                                     .retrying = job_retrying,
                                     .userdata = j };
}

/* The model is here because somebody else's credentials have opened it. Who shows others, or none, is denied:
 * that the registry wants credentials (@why) is no news. */
static int job_deny(const struct job *j, const struct error *why, struct error *e) {
        if (!j->keyring)
                return error_set(
                    e, ERROR_DENIED,
                    "%s is private, and this volume has no secret that opens it, although it is cached "
                    "here: name one in nodePublishSecretRef",
                    j->reference->text);
        return error_set(
            e, ERROR_DENIED,
            "%s is private, and the secret of this volume (nodePublishSecretRef) does not open it, "
            "although it is cached here: %s",
            j->reference->text, why->text);
}

static bool is_refusal(const struct error *e) {
        return e->kind == ERROR_UNAUTHENTICATED || e->kind == ERROR_DENIED;
}

/* A model that is here needs no network, unless it is private: then the asker must be allowed to read it now.
 */
static int job_check_access(struct job *j, const struct cache_model *m, struct error *e) {
        _cleanup_(oci_reference_freep) struct oci_reference *pinned = NULL;
        _cleanup_free_ char *text = NULL;
        struct error why = { 0 };
        struct digest digest;
        bool is_private;

        if (!m->is_private)
                return 0;
        text = oci_reference_pinned(j->reference, &m->manifest);
        if (!text)
                return error_errno(e, ENOMEM, "cannot check access");
        int r = oci_reference_parse(&pinned, text, e);
        if (r < 0)
                return r;
        struct oci_request request = job_request(j, pinned);
        r = oci_resolve(&digest, &is_private, j->stager->client, &request, &why);
        if (r >= 0)
                return 0;
        if (is_refusal(&why))
                return job_deny(j, &why, e);
        error_copy(e, &why);
        return error_wrap(e, "may this volume read the private model that is cached here?");
}

/* What a tag means now. A refusal is a denial where the model that it meant last is here, and private. */
static int job_resolve_now(struct job *j, struct digest *ret, struct error *e) {
        _cleanup_(cache_model_freep) struct cache_model *m = NULL;
        struct oci_request request = job_request(j, j->reference);
        struct error why = { 0 };

        int r = oci_resolve(ret, &j->is_private, j->stager->client, &request, &why);
        if (r >= 0)
                return r;
        if (is_refusal(&why) && job_find_cached(j->stager, j->reference->text, j->selection, &m) >= 0 &&
            m->is_private)
                return job_deny(j, &why, e);
        return error_copy(e, &why);
}

void job_is_hit(struct job *j, const struct cache_model *m) {
        j->has_key = true;
        j->key = m->key;
        j->manifest = m->manifest;
        j->bytes = m->size;
        j->format = m->format;
        j->result = STAGE_HIT;
        job_set_state(j, JOB_READY);
}

/* 1: the model is here and may be had, the job is ready. 0: ask the registry. */
static int job_try_cache(struct job *j, const char *reference_text, bool check_access, struct error *e) {
        _cleanup_(cache_model_freep) struct cache_model *m = NULL;

        if (job_find_cached(j->stager, reference_text, j->selection, &m) < 0)
                return 0;
        int r = check_access ? job_check_access(j, m, e) : 0;
        if (r < 0)
                return r;
        LOCK_SCOPE(&j->stager->lock);
        job_is_hit(j, m);
        return 1;
}

/* So that the next request for @reference_text may be answered from the cache. */
static int job_remember_tag(struct job *j, const char *reference_text, struct error *e) {
        _cleanup_free_ char *tag = job_tag_name(reference_text, j->selection);

        if (!tag)
                return error_errno(e, ENOMEM, "cannot remember a tag");
        return cache_tag_put(j->stager->cache, tag, &j->manifest, e);
}

/* What the reference means, by cache or by registry, and the plan to make it. 1: nothing is left to do. */
static int job_resolve(struct job *j, struct digest *ret_digest, struct error *e) {
        _cleanup_free_ char *pinned = NULL;

        if (j->policy != STAGE_ALWAYS) {
                int r = job_try_cache(j, j->reference->text, true, e);
                if (r != 0)
                        return r;
        }
        if (j->policy == STAGE_NEVER)
                return error_set(e, ERROR_NOT_FOUND,
                                 "%s is not in this node's cache and the pull policy is Never: warm it first",
                                 j->reference->text);

        int r = job_resolve_now(j, ret_digest, e);
        if (r < 0)
                return r;
        pinned = oci_reference_pinned(j->reference, ret_digest);
        if (!pinned)
                return error_errno(e, ENOMEM, "cannot stage %s", j->reference->text);
        r = job_try_cache(j, pinned, false, e); /* access has just been proven */
        if (r == 1) {
                struct error ignored;
                (void)job_remember_tag(j, j->reference->text, &ignored); /* only spares a question later */
        }
        return r;
}

/* Manifest, plan and key; from here on others can see what the job is about. */
static int job_plan(struct job *j, const struct digest *digest, struct error *e) {
        struct oci_request request = job_request(j, j->reference);
        _cleanup_(model_plan_freep) struct model_plan *plan = NULL;
        struct digest key;

        int r = oci_plan(&plan, j->stager->client, &request, digest, e);
        if (r < 0)
                return r;
        r = oci_selection_key(&key, j->selection, &plan->manifest);
        if (r < 0)
                return error_errno(e, r, "cannot name %s", j->reference->text);

        LOCK_SCOPE(&j->stager->lock);
        j->manifest = plan->manifest;
        j->key = key;
        j->has_key = true;
        j->bytes = plan->size;
        j->format = plan->format;
        j->plan = take_ptr(plan);
        return 0;
}

/*
 * 1: the model is here and may be had. A private one may by who has just shown to be able to read the
 * repository that it came from; for another repository, which may only pretend to have it, 0: all that is
 * private in it is to be fetched from there first.
 */
static int job_may_have_model(struct job *j, struct error *e) {
        _cleanup_(oci_reference_freep) struct oci_reference *from = NULL;
        _cleanup_(cache_model_freep) struct cache_model *m = NULL;
        struct digest ours, its;

        if (cache_model_find(j->stager->cache, &j->key, &m) < 0)
                return 0;
        if (!m->is_private)
                return 1;
        int r = oci_reference_parse(&from, m->reference, e);
        if (r < 0)
                return r;
        if ((r = oci_reference_origin(&ours, j->reference)) < 0 || (r = oci_reference_origin(&its, from)) < 0)
                return error_errno(e, r, "cannot stage %s", j->reference->text);
        return digest_equal(&ours, &its);
}

static struct job *find_claimant(const struct job *j) {
        for (struct job *x = j->stager->jobs; x; x = x->next)
                if (x != j && x->claimed && digest_equal(&x->key, &j->key))
                        return x;
        return NULL;
}

/* Either this job is the one that makes the model (0), or another one was and has made it (1). If the other
 * one fails we try for ourselves: our source and credentials may be better. */
static int job_claim(struct job *j, struct error *e) {
        struct stager *s = j->stager;

        LOCK_SCOPE(&s->lock);
        for (;;) {
                struct job *other = find_claimant(j);
                if (!other) {
                        j->claimed = true;
                        return 0;
                }
                j->follows = job_ref(other);
                if (j->urgent)
                        job_set_urgent(other);
                job_set_state(j, JOB_FETCHING);
                while (other->state != JOB_READY && other->state != JOB_FAILED && !s->stopping)
                        pthread_cond_wait(&s->changed, &s->lock);
                bool ready = other->state == JOB_READY;
                j->staged_bytes = other->staged_bytes;
                j->staged_ms = other->staged_ms;
                j->follows = NULL;
                job_unref(other);
                if (s->stopping)
                        return error_set(e, ERROR_CANCELLED, "the daemon is stopping");
                if (ready)
                        return 1;
        }
}

static int job_assemble(struct job *j, struct error *e) {
        struct stager *s = j->stager;

        {
                LOCK_SCOPE(&s->lock);
                job_set_state(j, JOB_ASSEMBLING);
        }
        return cache_model_build(s->cache, &j->key, j->plan, j->selection, j->is_private, e);
}

/* The work itself, for a model whose key is ours. */
static int job_make(struct job *j, struct error *e) {
        int r = job_list_blobs(j, e);

        if (r < 0)
                return r;
        {
                LOCK_SCOPE(&j->stager->lock);
                job_set_state(j, JOB_FETCHING);
        }
        r = job_reserve(j, e);
        if (r >= 0)
                r = job_fetch(j, e);
        if (r >= 0)
                r = job_assemble(j, e);
        job_release_layers(j);
        return r;
}

/* Makes the model, or waits until another job has, or finds that one did a moment ago by another reference.
 */
static int job_obtain(struct job *j, struct error *e) {
        for (;;) {
                int joined = job_claim(j, e);
                if (joined < 0)
                        return joined;
                int r = job_may_have_model(j, e);
                if (r < 0)
                        return r;
                if (r == 1) {
                        j->result = joined ? STAGE_JOINED : STAGE_HIT;
                        return 0;
                }
                if (!joined) {
                        j->result = STAGE_MISS;
                        return job_make(j, e);
                }
        }
}

static int job_work(struct job *j, struct error *e) {
        _cleanup_free_ char *pinned = NULL;
        struct digest digest;

        int r = job_resolve(j, &digest, e);
        if (r != 0)
                return r;
        r = job_plan(j, &digest, e);
        if (r < 0)
                return r;
        r = job_obtain(j, e);
        if (r < 0)
                return r;
        pinned = oci_reference_pinned(j->reference, &digest);
        r = pinned ? job_remember_tag(j, pinned, e)
                   : error_errno(e, ENOMEM, "cannot remember %s", j->reference->text);
        return r < 0 ? r : job_remember_tag(j, j->reference->text, e);
}

/* A miss or a failure, once; hits and joins are counted by their handles (outcome_result()). */
static void job_count(const struct job *j) {
        double seconds = (double)(j->ended_ms - j->started_ms) / 1000;

        if (j->state == JOB_FAILED) {
                metric_observe(STAGE_SECONDS, seconds, "failed",
                               j->plan ? plan_format_name(j->plan->format) : "unknown");
                return;
        }
        if (j->result != STAGE_MISS)
                return;
        metric_add(CACHE_REQUESTS, 1, stage_result_name(STAGE_MISS));
        metric_observe(STAGE_SECONDS, seconds, stage_result_name(STAGE_MISS),
                       plan_format_name(j->plan->format));
        if (j->fetched > 0 && seconds > 0)
                metric_observe(STAGE_RATE, (double)j->fetched / seconds);
}

/* Volumes do not wait for what is only warmed. */
static bool job_has_turn(const struct job *j) {
        const struct stager *s = j->stager;

        return (j->urgent ? s->n_urgent : s->n_running) < STAGER_MAX_RUNNING;
}

/* False: the daemon stops instead. */
static bool job_wait_for_turn(struct job *j) {
        struct stager *s = j->stager;

        LOCK_SCOPE(&s->lock);
        while (!job_has_turn(j) && !s->stopping)
                pthread_cond_wait(&s->changed, &s->lock);
        job_set_state(j, JOB_RESOLVING);
        return !s->stopping;
}

void job_failed(struct job *j, const struct error *e) {
        if (j->state == JOB_FAILED)
                return;
        j->error = *e;
        if (!strstr(j->error.text, j->reference->text)) /* a failure names its model, once */
                error_wrap(&j->error, "%s", j->reference->text);
        j->claimed = false;
        job_set_state(j, JOB_FAILED);
        job_count(j);
}

/* READY, or FAILED because of @e. */
static void job_end(struct job *j, int r, const struct error *e) {
        LOCK_SCOPE(&j->stager->lock);

        cache_reservation_release(take_ptr(j->reservation));
        j->claimed = false;
        if (r < 0) {
                job_failed(j, e);
                return;
        }
        if (j->state != JOB_READY)
                job_set_state(j, JOB_READY);
        job_count(j);
}

void *job_main(void *arg) {
        struct job *j = arg;
        struct stager *s = j->stager;
        struct error e = { 0 };
        int r =
            job_wait_for_turn(j) ? job_work(j, &e) : error_set(&e, ERROR_CANCELLED, "the daemon is stopping");

        job_end(j, r, &e);
        stager_save_hosts(s); /* nobody waits for that */

        LOCK_SCOPE(&s->lock);
        job_unref(j);
        s->n_threads--;
        pthread_cond_broadcast(&s->changed);
        return NULL;
}
