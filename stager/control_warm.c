/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Warm and Status: the two calls that stream.
 *
 * A warming is a job of the node; the call only watches it. When the client leaves, the call ends and the job
 * goes on, with one exception: a model that is to be pinned or to expire gets that when it is ready, so such
 * a call stays until then, or until the daemon stops (control_stop()).
 *
 *   Warm     progress every PROGRESS_MS, then the outcome; with `detach` "accepted" at once, then nothing
 *   Status   jobs and hosts once; with `watch` again after each interval, until the client leaves
 */
#include "stager/control_message.h"

#include <pthread.h>
#include <time.h>

#include "base/text.h"

#define PROGRESS_MS 200
#define WATCH_DEFAULT_MS 1000
#define WATCH_MIN_MS 100

void control_stop(struct control *c) {
        atomic_store(&c->stopping, true);
}

/* Pins or lets expire what is ready now. A pin that was there before stays, and an expiry unless there is
 * a new one. */
static int keep(struct control *c, const Modelstage__V1__WarmRequest *req, const struct stage_outcome *o,
                struct error *e) {
        _cleanup_(cache_model_freep) struct cache_model *m = NULL;

        if (!req->pin && req->ttl_seconds <= 0)
                return 0;
        if (cache_model_find(c->cache, &o->key, &m) < 0)
                return error_set(e, ERROR_NOT_FOUND, "%s was removed before it could be pinned",
                                 req->reference);
        int64_t expires_ms = m->expires_ms;
        if (req->ttl_seconds > 0) {
                int64_t ttl_ms;
                if (__builtin_mul_overflow(req->ttl_seconds, 1000, &ttl_ms) ||
                    __builtin_add_overflow(time_now_ms(), ttl_ms, &expires_ms))
                        return error_set(e, ERROR_INVALID, "a ttl of %lld seconds is too long",
                                         (long long)req->ttl_seconds);
        }
        return cache_model_pin(c->cache, &o->key, req->pin || m->pinned, expires_ms, e);
}

static int send_progress(struct rpc_call *call, struct stage_job *job, const char *result, struct error *e) {
        Modelstage__V1__WarmProgress msg = MODELSTAGE__V1__WARM_PROGRESS__INIT;
        _cleanup_(stage_progress_clear) struct stage_progress p = { 0 };
        _cleanup_(control_job_clear) struct control_job j = { 0 };

        if (stage_job_progress(job, &p) < 0 || control_job_fill(&j, &p) < 0)
                return error_errno(e, ENOMEM, "tell the progress");
        msg.job = &j.msg;
        msg.result = (char *)result;
        return rpc_call_send(call, &msg.base, e);
}

static int send_outcome(struct rpc_call *call, const struct stage_outcome *o, struct error *e) {
        Modelstage__V1__WarmProgress msg = MODELSTAGE__V1__WARM_PROGRESS__INIT;
        char digest[DIGEST_TEXT_SIZE];

        msg.result = (char *)stage_result_name(o->result);
        msg.digest = (char *)digest_format(&o->manifest, digest);
        msg.bytes = (int64_t)o->bytes;
        msg.fetched = (int64_t)o->fetched;
        msg.elapsed_ms = o->elapsed_ms;
        return rpc_call_send(call, &msg.base, e);
}

/* Until the model is ready, staging has failed, or this call has nothing to wait for any more. */
static int warm_watch(struct control *c, struct rpc_call *call, const Modelstage__V1__WarmRequest *req,
                      struct stage_job *job, struct stage_outcome *o, struct error *e) {
        bool must_stay = req->pin || req->ttl_seconds > 0;
        bool tell = !req->detach;
        struct error why = { 0 };
        int r;

        while ((r = stage_job_wait(job, PROGRESS_MS, o, &why)) < 0) {
                if (why.kind != ERROR_IN_PROGRESS)
                        return error_copy(e, &why);
                if (atomic_load(&c->stopping))
                        return error_set(e, ERROR_UNAVAILABLE, "the daemon is stopping");
                if (rpc_call_cancelled(call)) {
                        if (!must_stay)
                                return error_set(e, ERROR_CANCELLED, "the client left");
                        tell = false;
                }
                if (tell && send_progress(call, job, "", e) < 0 && !must_stay)
                        return e->code;
        }
        return 0;
}

int control_warm(struct rpc_call *call, const ProtobufCMessage *m, void *userdata, struct error *e) {
        const Modelstage__V1__WarmRequest *req = (const void *)m;
        _cleanup_(control_request_clear) struct control_request request = { 0 };
        _cleanup_(stage_job_leavep) struct stage_job *job = NULL;
        struct control *c = userdata;
        struct stage_outcome o;
        int r = control_request_parse(&request, req->reference, req->selection, req->pull_policy,
                                      req->docker_config, e);

        if (r < 0)
                return r;
        if (req->ttl_seconds < 0)
                return error_set(e, ERROR_INVALID, "a ttl cannot be negative");
        if ((r = stager_stage(&job, c->stager, &request.stage, e)) < 0)
                return r;
        if (req->detach) {
                if ((r = send_progress(call, job, "accepted", e)) < 0 || (!req->pin && req->ttl_seconds == 0))
                        return r;
        }
        if ((r = warm_watch(c, call, req, job, &o, e)) < 0)
                return r;
        if ((r = keep(c, req, &o, e)) < 0)
                return r;
        return req->detach ? 0 : send_outcome(call, &o, e);
}

struct status { /* what is told at once; the stager's copies */
        struct stage_progress *jobs;
        struct host_profile *hosts;
        size_t n_jobs, n_hosts;
};

static void status_clear(struct status *s) {
        stager_list_free(s->jobs, s->n_jobs);
        free(s->hosts);
}

static int send_status(struct rpc_call *call, const struct status *s, struct error *e) {
        Modelstage__V1__StatusResponse msg = MODELSTAGE__V1__STATUS_RESPONSE__INIT;
        _cleanup_free_ struct control_job *jobs = calloc(s->n_jobs + 1, sizeof *jobs);
        _cleanup_free_ Modelstage__V1__Host *hosts = calloc(s->n_hosts + 1, sizeof *hosts);
        _cleanup_free_ Modelstage__V1__Job **job_list = calloc(s->n_jobs + 1, sizeof *job_list);
        _cleanup_free_ Modelstage__V1__Host **host_list = calloc(s->n_hosts + 1, sizeof *host_list);
        int r = jobs && hosts && job_list && host_list ? 0 : -ENOMEM;

        for (size_t i = 0; i < s->n_jobs && r == 0; i++) {
                r = control_job_fill(&jobs[i], &s->jobs[i]);
                job_list[i] = &jobs[i].msg;
        }
        for (size_t i = 0; i < s->n_hosts && r == 0; i++) {
                control_host_fill(&hosts[i], &s->hosts[i]);
                host_list[i] = &hosts[i];
        }
        if (r < 0)
                error_errno(e, r, "list the jobs");
        else {
                msg.jobs = job_list;
                msg.n_jobs = s->n_jobs;
                msg.hosts = host_list;
                msg.n_hosts = s->n_hosts;
                r = rpc_call_send(call, &msg.base, e);
        }
        for (size_t i = 0; i < s->n_jobs && jobs; i++)
                control_job_clear(&jobs[i]);
        return r;
}

static int send_jobs(struct control *c, struct rpc_call *call, struct error *e) {
        _cleanup_(status_clear) struct status s = { .jobs = NULL };
        int r = stager_list(c->stager, &s.jobs, &s.n_jobs);

        if (r == 0)
                r = stager_hosts(c->stager, &s.hosts, &s.n_hosts);
        return r < 0 ? error_errno(e, r, "list the jobs") : send_status(call, &s, e);
}

/* An interval that ends early when the client leaves. */
struct interval {
        pthread_mutex_t lock;
        pthread_cond_t woken;
        bool is_woken;
};

static void interval_wake(void *userdata) {
        struct interval *i = userdata;

        LOCK_SCOPE(&i->lock);
        i->is_woken = true;
        pthread_cond_signal(&i->woken);
}

static void interval_wait(struct interval *i, int64_t ms) {
        int64_t until = time_monotonic_ms() + ms;
        struct timespec t = { .tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000 };

        LOCK_SCOPE(&i->lock);
        while (!i->is_woken && pthread_cond_timedwait(&i->woken, &i->lock, &t) == 0)
                ;
}

static void interval_init(struct interval *i) {
        pthread_condattr_t monotonic;

        *i = (struct interval){ 0 };
        pthread_mutex_init(&i->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&i->woken, &monotonic);
        pthread_condattr_destroy(&monotonic);
}

int control_status(struct rpc_call *call, const ProtobufCMessage *m, void *userdata, struct error *e) {
        const Modelstage__V1__StatusRequest *req = (const void *)m;
        int64_t every_ms = req->interval_ms > 0 ? req->interval_ms : WATCH_DEFAULT_MS;
        struct control *c = userdata;
        struct interval interval;
        int r = send_jobs(c, call, e);

        if (!req->watch || r < 0)
                return r;
        if (every_ms < WATCH_MIN_MS)
                every_ms = WATCH_MIN_MS;
        interval_init(&interval);
        rpc_call_on_cancel(call, interval_wake, &interval);
        while (r == 0 && !rpc_call_cancelled(call)) {
                interval_wait(&interval, every_ms);
                if (!rpc_call_cancelled(call))
                        r = send_jobs(c, call, e);
        }
        rpc_call_on_cancel(call, NULL, NULL);
        pthread_cond_destroy(&interval.woken);
        pthread_mutex_destroy(&interval.lock);
        return r;
}
