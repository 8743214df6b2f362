/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of jobs and the handles on them.
 *
 *   stager_stage ---> the model is here, everybody may have it: a job that is READY and never gets a thread
 *                 ---> a job runs that was asked for alike: join it
 *                 ---> else a new job, job_main() on a thread of its own
 *                         |
 *                      handle: stage_job_wait, stage_job_progress ... stage_job_leave
 *
 * "Alike" is the request's key: reference, selection, credentials and pull policy. A job outlives its
 * handles. It leaves the table when somebody looks and it is READY, or it has been FAILED for
 * STAGER_KEEP_FAILED_MS.
 *
 * Any thread may enter. Job threads are detached; stager_free() stops the engine, which ends the transfers
 * that jobs wait for, and then waits until the last job thread has gone. All handles have been left by then.
 */
#include "stager/stager.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"
#include "stager/engine.h"
#include "stager/job.h"

#define JOB_STACK (1024 * 1024)
#define HOSTS_FILE "hosts.json" /* below the cache's root */

const char *stage_result_name(enum stage_result r) {
        static const char *const names[] = {
                [STAGE_HIT] = "hit", [STAGE_MISS] = "miss", [STAGE_JOINED] = "joined"
        };

        return names[r];
}

/* What is learned of hosts is worth keeping, and nothing depends on it: failures are only logged. */
static void load_hosts(struct stager *s) {
        struct error e = { 0 };

        s->hosts = hosts_ref(engine_hosts(s->engine));
        s->root_fd = open(s->settings->cache.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->root_fd >= 0 && hosts_load(s->hosts, s->root_fd, HOSTS_FILE, time_now_ms(), &e) < 0)
                log_warning("what was known of registries is lost: %s", e.text);
}

void stager_save_hosts(struct stager *s) {
        struct error e = { 0 };
        LOCK_SCOPE(&s->saving);

        if (s->root_fd >= 0 && hosts_save(s->hosts, s->root_fd, HOSTS_FILE, &e) < 0)
                log_warning("what is known of registries cannot be kept: %s", e.text);
}

int stager_hosts(struct stager *s, struct host_profile **ret, size_t *ret_n) {
        return hosts_list(s->hosts, time_now_ms(), ret, ret_n);
}

int stager_new(struct stager **ret, const struct settings *settings, struct cache *c,
               struct oci_client *client, struct error *e) {
        struct stager *s = calloc(1, sizeof *s);
        pthread_condattr_t monotonic;

        if (!s)
                return error_errno(e, ENOMEM, "cannot start the stager");
        s->settings = settings;
        s->cache = c;
        s->client = client;
        int r = engine_new(&s->engine, settings, e);
        if (r >= 0)
                r = readahead_new(&s->readahead, settings, c, e);
        if (r < 0) {
                engine_free(s->engine);
                free(s);
                return r;
        }
        load_hosts(s);
        pthread_mutex_init(&s->saving, NULL);
        pthread_mutex_init(&s->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&s->changed, &monotonic);
        pthread_condattr_destroy(&monotonic);
        *ret = s;
        return 0;
}

/* The table lets go of @j; handles and its thread may still have it. Lock held. */
static void table_remove(struct stager *s, struct job *j) {
        struct job **link = &s->jobs;

        while (*link != j)
                link = &(*link)->next;
        *link = j->next;
        s->n_jobs--;
        job_unref(j);
}

/* What @by wants has failed before: that is no news any more once it is tried again in the same way, or is
 * here (@ready), whoever got it. */
static void table_forget_failures(struct stager *s, const struct job *by, bool ready) {
        struct job *next;

        for (struct job *j = s->jobs; j; j = next) {
                next = j->next;
                if (j->state == JOB_FAILED &&
                    (digest_equal(&j->request_key, &by->request_key) ||
                     (ready && j->ended_ms <= by->ended_ms && digest_equal(&j->what, &by->what))))
                        table_remove(s, j);
        }
}

/* Forgets jobs that ended: those that are ready at once, with the failures before them; other failures after
 * a while, so that `ls` can tell of them. */
static void table_prune(struct stager *s) {
        int64_t now = time_monotonic_ms();
        struct job *next;

        for (struct job *j = s->jobs; j; j = j->next)
                if (j->state == JOB_READY)
                        table_forget_failures(s, j, true);
        for (struct job *j = s->jobs; j; j = next) {
                next = j->next;
                bool old =
                    j->ended_ms + STAGER_KEEP_FAILED_MS < now || s->n_jobs >= STAGER_MAX_JOBS || s->stopping;
                if (j->state == JOB_READY || (j->state == JOB_FAILED && old))
                        table_remove(s, j);
        }
}

void stager_free(struct stager *s) {
        if (!s)
                return;
        {
                LOCK_SCOPE(&s->lock);
                s->stopping = true;
                pthread_cond_broadcast(&s->changed);
        }
        readahead_free(s->readahead);
        engine_free(s->engine); /* ends the transfers that jobs wait for */
        {
                LOCK_SCOPE(&s->lock);
                while (s->n_threads > 0)
                        pthread_cond_wait(&s->changed, &s->lock);
                table_prune(s);
                assert(!s->jobs && !s->shares);
        }
        stager_save_hosts(s);
        hosts_unref(s->hosts);
        if (s->root_fd >= 0)
                close(s->root_fd);
        pthread_cond_destroy(&s->changed);
        pthread_mutex_destroy(&s->saving);
        pthread_mutex_destroy(&s->lock);
        free(s);
}

const char *stager_io(const struct stager *s) {
        return engine_io(s->engine);
}

int64_t stager_silent_ms(const struct stager *s) {
        return engine_silent_ms(s->engine);
}

/* ---- requests become jobs ---- */

static enum stage_policy effective_policy(const struct stage_request *r) {
        if (r->policy != STAGE_DEFAULT)
                return r->policy;
        return oci_reference_wants_always(r->reference) ? STAGE_ALWAYS : STAGE_IF_NOT_PRESENT;
}

char *stager_request_name(const struct oci_reference *reference, const struct oci_selection *selection) {
        static const struct digest no_manifest;
        struct digest what;
        char hex[DIGEST_HEX_SIZE], *name;
        const char *platform = selection && selection->platform ? selection->platform : "";

        if (oci_selection_key(&what, selection, &no_manifest) < 0 ||
            asprintf(&name, "%s#%s#%s", reference->text, platform, digest_hex(&what, hex)) < 0)
                return NULL;
        return name;
}

/* Requests with equal keys ask for the same thing, @ret_what, in the same way with the same credentials. */
static int request_key(struct digest *ret, struct digest *ret_what, const struct stage_request *r) {
        _cleanup_free_ char *name = stager_request_name(r->reference, r->selection), *text = NULL;
        struct digest whom;
        char hex[DIGEST_HEX_SIZE];

        oci_keyring_fingerprint(&whom, r->keyring);
        int n = name ? asprintf(&text, "%s\n%s\n%d", name, digest_hex(&whom, hex), effective_policy(r)) : -1;
        if (n < 0) {
                text = NULL;
                return -ENOMEM;
        }
        int failed = digest_of(ret_what, name, strlen(name));
        return failed < 0 ? failed : digest_of(ret, text, (size_t)n);
}

static struct job *job_new(struct stager *s, const struct stage_request *r) {
        struct job *j = calloc(1, sizeof *j);

        if (!j)
                return NULL;
        j->stager = s;
        j->refs = 1; /* the table's */
        j->policy = effective_policy(r);
        j->keyring = oci_keyring_ref(r->keyring);
        j->started_ms = time_monotonic_ms();
        if (request_key(&j->request_key, &j->what, r) < 0 ||
            oci_reference_copy(&j->reference, r->reference) < 0 ||
            oci_selection_copy(&j->selection, r->selection) < 0) {
                job_unref(j);
                return NULL;
        }
        return j;
}

/* The job's thread, detached; it holds a reference of its own. Lock held. */
static int job_start(struct job *j, struct error *e) {
        struct stager *s = j->stager;
        pthread_attr_t attr;
        pthread_t thread;

        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attr, JOB_STACK);
        s->n_threads++;
        s->n_waiting++;
        metric_set(STAGES_WAITING, s->n_waiting);
        job_ref(j); /* the thread's */
        int r = pthread_create(&thread, &attr, job_main, j);
        pthread_attr_destroy(&attr);
        if (r == 0)
                return 0;
        s->n_threads--;
        s->n_waiting--;
        j->refs--;
        return error_errno(e, r, "cannot start a job for %s", j->reference->text);
}

/* The model is here, everybody may have it and nothing has to be asked: no thread. */
static bool job_is_hit_at_once(struct job *j) {
        _cleanup_(cache_model_freep) struct cache_model *m = NULL;

        if (j->policy == STAGE_ALWAYS ||
            job_find_cached(j->stager, j->reference->text, j->selection, &m) < 0 || m->is_private)
                return false;
        LOCK_SCOPE(&j->stager->lock);
        job_is_hit(j, m);
        return true;
}

/* A job that runs and was asked for with the same key. Lock held. */
static struct job *find_alike(const struct stager *s, const struct digest *key) {
        for (struct job *j = s->jobs; j; j = j->next)
                if (j->state != JOB_READY && j->state != JOB_FAILED && digest_equal(&j->request_key, key))
                        return j;
        return NULL;
}

/* Takes @fresh over, or frees it when a job that is alike runs already. */
static int table_add(struct stager *s, struct job *fresh, struct stage_job *handle, bool urgent,
                     struct error *e) {
        struct job *j = find_alike(s, &fresh->request_key);

        table_prune(s);
        if (s->stopping || (!j && s->n_jobs >= STAGER_MAX_JOBS)) {
                job_unref(fresh);
                return error_set(e, ERROR_UNAVAILABLE,
                                 s->stopping ? "the daemon is stopping" : "too many models are being staged");
        }
        if (j)
                job_unref(fresh);
        else {
                int r = fresh->state == JOB_READY ? 0 : job_start(fresh, e);
                if (r < 0) {
                        job_unref(fresh);
                        return r;
                }
                j = fresh;
                table_forget_failures(s, j, false);
                j->next = s->jobs;
                s->jobs = j;
                s->n_jobs++;
                handle->starter = true;
        }
        handle->job = job_ref(j);
        j->handles++;
        if (urgent)
                job_set_urgent(j);
        return 0;
}

int stager_stage(struct stage_job **ret, struct stager *s, const struct stage_request *request,
                 struct error *e) {
        _cleanup_free_ struct stage_job *handle = calloc(1, sizeof *handle);

        if (!handle)
                return error_errno(e, ENOMEM, "cannot stage %s", request->reference->text);
        int r = oci_client_allows(s->client, request->reference, e);
        if (r < 0)
                return r;
        handle->since_ms = time_monotonic_ms();
        struct job *fresh = job_new(s, request);
        if (!fresh)
                return error_errno(e, ENOMEM, "cannot stage %s", request->reference->text);
        (void)job_is_hit_at_once(fresh);

        LOCK_SCOPE(&s->lock);
        r = table_add(s, fresh, handle, request->urgent, e);
        if (r < 0)
                return r;
        *ret = take_ptr(handle);
        return 0;
}

void stage_job_leave(struct stage_job *h) {
        if (!h)
                return;
        struct stager *s = h->job->stager;
        {
                LOCK_SCOPE(&s->lock);
                h->job->handles--;
                job_unref(h->job);
        }
        free(h);
}

void stager_read_ahead(struct stager *s, const struct digest *key) {
        readahead_add(s->readahead, key);
}

bool stager_has(struct stager *s, const struct oci_reference *reference) {
        _cleanup_(cache_model_freep) struct cache_model *m = NULL;

        return job_find_cached(s, reference->text, NULL, &m) >= 0;
}

/* ---- waiting ---- */

/* A request is counted once, when it has its model: the one that caused the work as a miss (job_count(), even
 * if it has left by then), those that came while it was going on as joined, the rest as hits. */
static enum stage_result outcome_result(struct stage_job *h) {
        struct job *j = h->job;
        enum stage_result r = j->result;

        if (r == STAGE_MISS && h->starter)
                return r;
        if (r == STAGE_MISS)
                r = STAGE_JOINED;
        if (!h->counted) {
                double seconds = (double)(time_monotonic_ms() - h->since_ms) / 1000;

                h->counted = true;
                metric_add(CACHE_REQUESTS, 1, stage_result_name(r));
                metric_add(SAVED_BYTES, (double)j->bytes, "model");
                metric_observe(STAGE_SECONDS, seconds, stage_result_name(r), plan_format_name(j->format));
        }
        return r;
}

/* False: the time is over. Lock held; it is let go of meanwhile. */
static bool timed_wait(struct stager *s, int64_t until_ms) {
        struct timespec t = { .tv_sec = until_ms / 1000, .tv_nsec = (until_ms % 1000) * 1000000 };

        return pthread_cond_timedwait(&s->changed, &s->lock, &t) == 0;
}

/* Nobody waits any longer. Lock held. */
static int not_ready(struct job *j, struct error *e) {
        _cleanup_(stage_progress_clear) struct stage_progress p = { 0 };
        char text[ERROR_TEXT_MAX / 2];

        if (job_snapshot(j, &p) == 0)
                stage_progress_describe(&p, text, sizeof text);
        else
                snprintf(text, sizeof text, "%s", job_state_name(j->state));
        if (j->stager->no_waits)
                return error_set(
                    e, ERROR_UNAVAILABLE,
                    "%s is not here yet (%s) and the daemon is stopping; ask it again when it is back",
                    j->reference->text, text);
        return error_set(e, ERROR_IN_PROGRESS, "%s is still being staged: %s; it goes on in the background",
                         j->reference->text, text);
}

static int wait_for_outcome(struct stage_job *h, int64_t timeout_ms, struct stage_outcome *ret,
                            struct error *e) {
        struct job *j = h->job;
        struct stager *s = j->stager;
        int64_t until_ms = timeout_ms < 0 ? INT64_MAX : time_monotonic_ms() + timeout_ms;

        LOCK_SCOPE(&s->lock);
        while (j->state != JOB_READY && j->state != JOB_FAILED && !h->interrupted && !s->no_waits) {
                if (until_ms == INT64_MAX)
                        pthread_cond_wait(&s->changed, &s->lock);
                else if (!timed_wait(s, until_ms))
                        break;
        }
        if (j->state == JOB_FAILED)
                return error_copy(e, &j->error);
        if (j->state != JOB_READY)
                return not_ready(j, e);
        *ret = (struct stage_outcome){ .result = outcome_result(h),
                                       .key = j->key,
                                       .manifest = j->manifest,
                                       .bytes = j->bytes,
                                       .fetched = h->starter ? j->fetched : 0,
                                       .elapsed_ms = time_monotonic_ms() - h->since_ms,
                                       .staged_bytes = j->staged_bytes,
                                       .staged_ms = j->staged_ms };
        return 0;
}

int stage_job_wait(struct stage_job *h, int64_t timeout_ms, struct stage_outcome *ret, struct error *e) {
        int r = wait_for_outcome(h, timeout_ms, ret, e);

        if (r >= 0)
                cache_model_used(h->job->stager->cache, &ret->key, ret->result == STAGE_HIT);
        return r;
}

void stage_job_interrupt(struct stage_job *h) {
        struct stager *s = h->job->stager;

        LOCK_SCOPE(&s->lock);
        h->interrupted = true;
        pthread_cond_broadcast(&s->changed);
}

void stager_end_waits(struct stager *s) {
        LOCK_SCOPE(&s->lock);
        s->no_waits = true;
        pthread_cond_broadcast(&s->changed);
}

int stage_job_progress(struct stage_job *h, struct stage_progress *ret) {
        LOCK_SCOPE(&h->job->stager->lock);
        return job_snapshot(h->job, ret);
}

int stager_list(struct stager *s, struct stage_progress **ret, size_t *ret_n) {
        LOCK_SCOPE(&s->lock);
        table_prune(s);
        struct stage_progress *list = calloc(s->n_jobs ? s->n_jobs : 1, sizeof *list);
        size_t n = 0;

        if (!list)
                return -ENOMEM;
        for (struct job *j = s->jobs; j; j = j->next) {
                int r = job_snapshot(j, &list[n]);
                if (r < 0) {
                        stager_list_free(list, n);
                        return r;
                }
                n++;
        }
        *ret = list;
        *ret_n = n;
        return 0;
}

void stager_list_free(struct stage_progress *list, size_t n) {
        for (size_t i = 0; i < n; i++)
                stage_progress_clear(&list[i]);
        free(list);
}
