/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages come from a client that may be newer, older or mistaken: missing sub-messages are NULL, enums are
 * open, lists can be long. What goes out borrows from the cache's and the stager's structures wherever it
 * can; protobuf-c's structs have no const, hence the casts, but packing only reads.
 */
#include "stager/control_message.h"

#include <string.h>

#define GLOBS_MAX 256
#define BLOBS_MAX 256 /* of one job in one message; those in work come first */

struct control_blob { /* a message and the text that it points to */
        Modelstage__V1__BlobProgress msg;
        char digest[DIGEST_TEXT_SIZE];
};

/* @list as a NULL-ended one, borrowed strings; to be freed. */
static int globs(const char ***ret, char **list, size_t n, struct error *e) {
        const char **copy;

        if (n > GLOBS_MAX)
                return error_set(e, ERROR_INVALID, "a selection has at most %d globs of a kind", GLOBS_MAX);
        copy = calloc(n + 1, sizeof *copy);
        if (!copy)
                return error_errno(e, ENOMEM, "read the selection");
        for (size_t i = 0; i < n; i++)
                copy[i] = list[i];
        *ret = copy;
        return 0;
}

static const char *non_empty(const char *s) {
        return s && *s ? s : NULL;
}

int control_selection_parse(struct oci_selection **ret, const Modelstage__V1__Selection *s, struct error *e) {
        _cleanup_free_ const char **include = NULL, **exclude = NULL;
        int r;

        if (!s) {
                *ret = NULL;
                return 0;
        }
        if ((r = globs(&include, s->include, s->n_include, e)) < 0 ||
            (r = globs(&exclude, s->exclude, s->n_exclude, e)) < 0)
                return r;
        return oci_selection_new(ret, non_empty(s->root), include, exclude, non_empty(s->platform), e);
}

/* ERROR_INVALID: a value of a newer client. */
static int policy_parse(enum stage_policy *ret, Modelstage__V1__PullPolicy policy, struct error *e) {
        switch (policy) {
        case MODELSTAGE__V1__PULL_POLICY__DEFAULT:
                *ret = STAGE_DEFAULT;
                return 0;
        case MODELSTAGE__V1__PULL_POLICY__IF_NOT_PRESENT:
                *ret = STAGE_IF_NOT_PRESENT;
                return 0;
        case MODELSTAGE__V1__PULL_POLICY__ALWAYS:
                *ret = STAGE_ALWAYS;
                return 0;
        case MODELSTAGE__V1__PULL_POLICY__NEVER:
                *ret = STAGE_NEVER;
                return 0;
        default: /* enums are open on the wire */
                return error_set(e, ERROR_INVALID, "pull policy %d is not known to this daemon", (int)policy);
        }
}

int control_request_parse(struct control_request *ret, const char *reference,
                          const Modelstage__V1__Selection *s, Modelstage__V1__PullPolicy policy,
                          const char *docker_config, struct error *e) {
        _cleanup_(control_request_clear) struct control_request r = { 0 };
        int k;

        if ((k = oci_reference_parse(&r.reference, reference, e)) < 0 ||
            (k = control_selection_parse(&r.selection, s, e)) < 0 ||
            (k = policy_parse(&r.stage.policy, policy, e)) < 0)
                return k;
        if (*docker_config &&
            (k = oci_keyring_parse(&r.keyring, docker_config, strlen(docker_config), e)) < 0)
                return error_wrap(e, "docker config");
        r.stage.reference = r.reference;
        r.stage.selection = r.selection;
        r.stage.keyring = r.keyring;
        *ret = r;
        r = (struct control_request){ 0 };
        return 0;
}

void control_request_clear(struct control_request *r) {
        oci_reference_free(r->reference);
        oci_selection_free(r->selection);
        oci_keyring_free(r->keyring);
        *r = (struct control_request){ 0 };
}

/* proto3 counts bytes in int64. */
static int64_t to_int64(uint64_t v) {
        return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

static void blob_fill(struct control_blob *b, const struct stage_blob_progress *p) {
        modelstage__v1__blob_progress__init(&b->msg);
        b->msg.digest = (char *)digest_format(&p->digest, b->digest);
        b->msg.path = (char *)(p->path ? p->path : "");
        b->msg.size = to_int64(p->size);
        b->msg.done = to_int64(p->done);
        b->msg.state = (char *)p->state;
}

/* Blobs in work first, in the plan's order, then the others while there is room. */
static int blobs_fill(struct control_job *j, const struct stage_progress *p) {
        size_t n = p->n_blobs < BLOBS_MAX ? p->n_blobs : BLOBS_MAX, used = 0;

        if (n == 0)
                return 0;
        j->blobs = calloc(n, sizeof *j->blobs);
        j->list = calloc(n, sizeof *j->list);
        if (!j->blobs || !j->list)
                return -ENOMEM;
        for (int in_work = 1; in_work >= 0; in_work--)
                for (size_t i = 0; i < p->n_blobs && used < n; i++)
                        if ((strcmp(p->blobs[i].state, "fetching") == 0) == in_work) {
                                blob_fill(&j->blobs[used], &p->blobs[i]);
                                j->list[used] = &j->blobs[used].msg;
                                used++;
                        }
        j->msg.blobs = j->list;
        j->msg.n_blobs = used;
        return 0;
}

int control_job_fill(struct control_job *ret, const struct stage_progress *p) {
        *ret = (struct control_job){ 0 };
        modelstage__v1__job__init(&ret->msg);
        ret->msg.reference = p->reference;
        if (p->resolved)
                ret->msg.digest = (char *)digest_format(&p->digest, ret->digest);
        ret->msg.state = (char *)p->state;
        ret->msg.done = to_int64(p->done);
        ret->msg.size = to_int64(p->size);
        ret->msg.rate = to_int64(p->rate);
        ret->msg.eta_ms = p->eta_ms;
        ret->msg.connections = (int32_t)p->connections;
        if (p->host)
                ret->msg.host = p->host;
        ret->msg.retries = to_int64(p->retries);
        ret->msg.waiting = (int32_t)p->waiting;
        ret->msg.error = (char *)p->error.text;
        return blobs_fill(ret, p);
}

void control_job_clear(struct control_job *j) {
        free(j->blobs);
        free(j->list);
        j->blobs = NULL;
        j->list = NULL;
}

void control_host_fill(Modelstage__V1__Host *ret, const struct host_profile *p) {
        modelstage__v1__host__init(ret);
        ret->name = (char *)p->name;
        ret->ranges = (char *)host_ranges_name(p->ranges);
        ret->connections = (int32_t)p->connections;
        ret->best = (int32_t)p->pace.best;
        ret->limit = (int32_t)p->pace.limit;
        ret->rate = to_int64(p->pace.rate);
        ret->latency_us = to_int64(p->pace.latency_us);
        ret->last_used_ms = p->used_ms;
}
