/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish: stage, wait, mount.
 *
 *   stager_stage -> stage_job_wait, until ready or `patience` is over -> cache_publish -> the outcome
 *        ^                                                                  |
 *        +------------------- the model was removed in between -------------+
 *
 * The job belongs to the node, not to the call. Between "it is ready" and the lease that keeps it somebody
 * may remove the model; then it is staged again, a few times.
 *
 * Patience is the time to the caller's deadline less a tenth of it, within bounds: the answer "still in
 * progress" has to reach the caller before it gives up by itself. A caller that leaves interrupts the wait at
 * once.
 *
 * Runs on the worker thread of the call.
 */
#include "stager/publish.h"

#define MARGIN_MIN_MS 500 /* between our answer and the caller's deadline */
#define MARGIN_MAX_MS 8000
#define STAGE_TRIES 3

static void interrupt_job(void *job) {
        stage_job_interrupt(job);
}

static int64_t patience_ms(const struct rpc_call *call) {
        int64_t left = rpc_call_ms_left(call), margin = left / 10;

        if (left == INT64_MAX)
                return -1;
        if (margin < MARGIN_MIN_MS)
                margin = MARGIN_MIN_MS;
        if (margin > MARGIN_MAX_MS)
                margin = MARGIN_MAX_MS;
        return left > margin ? left - margin : 0;
}

static int stage(struct stage_outcome *ret, struct rpc_call *call, const struct stager_publication *p,
                 struct error *e) {
        _cleanup_(stage_job_leavep) struct stage_job *job = NULL;
        struct stage_request request = *p->request;
        int r;

        request.urgent = true;
        r = stager_stage(&job, p->stager, &request, e);
        if (r < 0)
                return r;
        rpc_call_on_cancel(call, interrupt_job, job);
        r = stage_job_wait(job, patience_ms(call), ret, e);
        rpc_call_on_cancel(call, NULL, NULL);
        if (r < 0)
                return r;
        if (rpc_call_cancelled(call)) /* nobody is there to own the mount */
                return error_set(e, ERROR_CANCELLED, "the caller has gone; %s is ready",
                                 p->request->reference->text);
        return 0;
}

int stager_publish(struct stage_outcome *ret, struct rpc_call *call, const struct stager_publication *p,
                   struct error *e) {
        _cleanup_free_ char *made_for = stager_request_name(p->request->reference, p->request->selection);
        struct stage_outcome o;
        int r;

        if (!made_for)
                return error_errno(e, ENOMEM, "cannot publish %s", p->request->reference->text);
        for (unsigned tries = 1;; tries++) {
                r = stage(&o, call, p, e);
                if (r < 0)
                        return r;
                r = cache_publish(p->cache, p->volume_id, &o.key, made_for, p->target, e);
                if (r >= 0)
                        break;
                if (e->kind != ERROR_NOT_FOUND || tries == STAGE_TRIES)
                        return r;
        }
        stager_read_ahead(p->stager, &o.key);
        *ret = o;
        return 0;
}
