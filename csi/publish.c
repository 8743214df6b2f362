/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NodePublishVolume: check the arguments, stage the model, wait, mount.
 *
 *   read_request    volume id, target, capability, attributes, secrets
 *   find_mounted    there with the same request: done. There with another one: AlreadyExists
 *   stage_and_mount stager_publish(): job, wait, lease, mount
 *   tell_pod        an event, if the pod had to wait for its model
 *
 * The job belongs to the node: this call waits until it is ready or until shortly before the deadline that
 * kubelet gave, then answers Aborted with the progress in its text (kubelet shows it in `kubectl describe
 * pod`) and the job goes on. Kubelet asks again and finds it further, or done. Blocking until then is better
 * than answering at once: kubelet's back-off doubles with each failure up to two minutes, so early failures
 * make a finished model go unnoticed for long.
 */
#include "csi/publish.h"

#include <limits.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"
#include "csi/attributes.h"
#include "csi/capability.h"
#include "csi/pod.h"
#include "stager/publish.h"

#define VOLUME_ID_MAX 1024 /* the spec says 128; kubelet's own are 68 */

int csi_check_volume_and_path(const char *volume_id, const char *field, const char *path, struct error *e) {
        if (!volume_id || !*volume_id)
                return error_set(e, ERROR_INVALID, "volume_id is missing");
        if (strlen(volume_id) > VOLUME_ID_MAX)
                return error_set(e, ERROR_INVALID, "volume_id is longer than %d bytes", VOLUME_ID_MAX);
        if (!path || !*path)
                return error_set(e, ERROR_INVALID, "%s is missing", field);
        if (strlen(path) >= PATH_MAX)
                return error_set(e, ERROR_INVALID, "%s is longer than %d bytes", field, PATH_MAX - 1);
        return 0;
}

struct publish { /* one call */
        const struct csi *csi;
        struct rpc_call *call;
        const Csi__V1__NodePublishVolumeRequest *req;
        struct csi_attributes *attributes;
        struct oci_keyring *keyring;  /* from the volume's secret; NULL: none */
        struct stage_outcome outcome; /* if it was staged for this call */
        bool mounted_before;          /* there was nothing to do */
};

static void publish_clear(struct publish *p) {
        csi_attributes_free(p->attributes);
        oci_keyring_free(p->keyring);
}

static int read_request(struct publish *p, struct error *e) {
        const Csi__V1__NodePublishVolumeRequest *req = p->req;
        _cleanup_free_ struct csi_pair *context = NULL, *secrets = NULL;

        int r = csi_check_volume_and_path(req->volume_id, "target_path", req->target_path, e);
        if (r < 0)
                return r;
        r = csi_capability_check(req->volume_capability, ERROR_INVALID, e);
        if (r < 0)
                return r;
        if (csi_pairs(&context, req->volume_context, req->n_volume_context) < 0 ||
            csi_pairs(&secrets, req->secrets, req->n_secrets) < 0)
                return error_errno(e, ENOMEM, "cannot read the request");
        r = csi_attributes_parse(&p->attributes, context, req->n_volume_context, e);
        if (r < 0)
                return r;
        return csi_secrets_parse(&p->keyring, secrets, req->n_secrets, e);
}

/* 1: the volume is at the target already; something else there is an error. What a tag means may have changed
 * since: a republish never replaces a mount, so what counts is what was asked for. A mount whose volume is
 * not known may be another's: cache_publish() compares the models, and the volume is known from then on. */
static int find_mounted(const struct publish *p, struct error *e) {
        _cleanup_(cache_lease_freep) struct cache_lease *lease = NULL;
        _cleanup_free_ char *asked = NULL;
        bool mounted = false;

        if (cache_lease_find(p->csi->cache, p->req->volume_id, p->req->target_path, &lease) < 0 ||
            !*lease->volume_id)
                return 0;
        int r = cache_lease_is_mounted(&mounted, p->csi->cache, lease, e);
        if (r < 0 || !mounted)
                return r;
        asked = stager_request_name(p->attributes->reference, p->attributes->selection);
        if (!asked)
                return error_errno(e, ENOMEM, "cannot publish volume %s", p->req->volume_id);
        if (!*lease->made_for || strcmp(lease->made_for, asked) == 0)
                return 1;
        return error_set(e, ERROR_EXISTS, "volume %s is already published at %s with %.*s", p->req->volume_id,
                         p->req->target_path, (int)strcspn(lease->made_for, "#"), lease->made_for);
}

static int stage_and_mount(struct publish *p, struct error *e) {
        const struct stage_request request = { .reference = p->attributes->reference,
                                               .selection = p->attributes->selection,
                                               .keyring = p->keyring,
                                               .policy = p->attributes->policy };
        const struct stager_publication publication = { .cache = p->csi->cache,
                                                        .stager = p->csi->stager,
                                                        .request = &request,
                                                        .volume_id = p->req->volume_id,
                                                        .target = p->req->target_path };

        int r = csi_attributes_check_layout(p->attributes, p->csi->settings, e);
        return r < 0 ? r : stager_publish(&p->outcome, p->call, &publication, e);
}

static int publish_volume(struct publish *p, struct error *e) {
        int r = read_request(p, e);

        if (r < 0)
                return r;
        r = find_mounted(p, e);
        if (r != 0) {
                p->mounted_before = r == 1;
                return r;
        }
        return stage_and_mount(p, e);
}

/* The model was not here when the volume was asked for first. */
static bool was_waited_for(const struct publish *p, int64_t first_ms) {
        return !p->mounted_before && (first_ms > 0 || p->outcome.result != STAGE_HIT);
}

/* @now_ms and @first_ms (0: this is the first call) of the wall clock. */
static void describe(const struct publish *p, int64_t now_ms, int64_t first_ms,
                     char text[static CSI_STAGED_TEXT]) {
        _cleanup_(cache_model_freep) struct cache_model *m = NULL;
        struct csi_staged s = { .reference = p->attributes->reference->text,
                                .bytes = p->outcome.bytes,
                                .received = p->outcome.staged_bytes,
                                .staged_ms = p->outcome.staged_ms,
                                .waited_ms = first_ms ? now_ms - first_ms : p->outcome.elapsed_ms,
                                .joined = p->outcome.result == STAGE_JOINED && first_ms == 0 };

        /* It came between two calls of kubelet. */
        if (p->outcome.result == STAGE_HIT && cache_model_find(p->csi->cache, &p->outcome.key, &m) >= 0)
                s.staged_ms = m->created_ms > first_ms ? m->created_ms - first_ms : s.waited_ms;
        csi_staged_describe(&s, text);
}

/* One event, when the volume that was waited for is mounted. */
static void tell_pod(const struct publish *p, int r, const struct error *e, int64_t since_ms) {
        const Csi__V1__NodePublishVolumeRequest *req = p->req;
        _cleanup_free_ struct csi_pair *context = NULL;
        char text[CSI_STAGED_TEXT];
        struct csi_pod pod;
        int64_t first_ms;

        if (r < 0) {
                if (e->kind == ERROR_IN_PROGRESS)
                        csi_waits_add(p->csi->waits, req->volume_id, req->target_path, since_ms);
                return;
        }
        first_ms = csi_waits_take(p->csi->waits, req->volume_id, req->target_path);
        if (!p->csi->events || !was_waited_for(p, first_ms) ||
            csi_pairs(&context, req->volume_context, req->n_volume_context) < 0 ||
            !csi_pod_read(&pod, context, req->n_volume_context))
                return;
        describe(p, time_now_ms(), first_ms, text);
        csi_events_send(p->csi->events, &pod, text);
}

/* One line of log and one observation a call, however it ended. */
static void report(const struct publish *p, int r, const struct error *e, int64_t ms) {
        const char *reference = p->attributes ? p->attributes->reference->text : "?";
        char text[DIGEST_TEXT_SIZE], took[TEXT_SHORT];

        if (r < 0 && e->kind == ERROR_IN_PROGRESS)
                log_info("publish of volume %s: %s", p->req->volume_id, e->text);
        else if (r < 0)
                log_warning("publish of volume %s: %s", p->req->volume_id, e->text);
        else if (!p->mounted_before)
                log_info("volume %s is published at %s: %s, %s, %s, %s", p->req->volume_id,
                         p->req->target_path, reference, digest_format(&p->outcome.manifest, text),
                         stage_result_name(p->outcome.result), text_format_duration(ms, took));
        const char *result = r < 0                                                 ? "error"
                             : p->mounted_before || p->outcome.result == STAGE_HIT ? "hit"
                                                                                   : "miss";
        metric_observe(PUBLISH_SECONDS, (double)ms / 1000, result);
}

int csi_node_publish(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata, struct error *e) {
        _cleanup_(publish_clear) struct publish p = { .csi = userdata,
                                                      .call = call,
                                                      .req = (const Csi__V1__NodePublishVolumeRequest *)msg };
        Csi__V1__NodePublishVolumeResponse resp = CSI__V1__NODE_PUBLISH_VOLUME_RESPONSE__INIT;
        int64_t since = time_monotonic_ms(), since_now = time_now_ms();

        int r = publish_volume(&p, e);
        report(&p, r, e, time_monotonic_ms() - since);
        tell_pod(&p, r, e, since_now);
        return r < 0 ? r : rpc_call_reply(call, &resp.base, e);
}
