/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control: the calls that answer once. All state is the cache's and the stager's; a call only translates.
 * Handlers run on the server's worker threads, many at once. Warm and Status: control_warm.c; Inspect:
 * control_inspect.c.
 */
#include "stager/control.h"

#include <string.h>

#include "stager/control_message.h"
#include "stager/publish.h"

#define METHOD(name, type, function, ...) \
        { "/modelstage.v1.Control/" name, &modelstage__v1__##type##__descriptor, function, __VA_ARGS__ }

const struct rpc_method control_methods[] = {
        METHOD("Warm", warm_request, control_warm, .streams = true, .waits = true),
        METHOD("List", list_request, control_list, .waits = false),
        METHOD("Status", status_request, control_status, .streams = true, .waits = true),
        METHOD("Inspect", inspect_request, control_inspect, .waits = false),
        METHOD("Mount", mount_request, control_mount, .waits = true),
        METHOD("Unmount", unmount_request, control_unmount, .waits = false),
        METHOD("Remove", remove_request, control_remove, .waits = false),
        METHOD("Pin", pin_request, control_pin, .waits = false),
        METHOD("DiskFree", disk_free_request, control_disk_free, .waits = false),
        METHOD("Version", version_request, control_version, .waits = false),
        { NULL, NULL, NULL, false, false },
};

/* ---- List: what is ready, then what runs or failed ---- */

struct listed {
        Modelstage__V1__Model msg;
        char digest[DIGEST_TEXT_SIZE], key[DIGEST_HEX_SIZE];
};

static void list_model(struct listed *l, const struct cache_model *m) {
        modelstage__v1__model__init(&l->msg);
        l->msg.reference = m->reference;
        l->msg.digest = (char *)digest_format(&m->manifest, l->digest);
        l->msg.format = (char *)plan_format_name(m->format);
        l->msg.size = (int64_t)m->size;
        l->msg.files = (int64_t)m->files;
        l->msg.state = (char *)"ready";
        l->msg.hits = (int64_t)m->hits;
        l->msg.last_used_ms = m->last_used_ms;
        l->msg.mounts = (int32_t)m->mounts;
        l->msg.pinned = m->pinned;
        l->msg.key = (char *)digest_hex(&m->key, l->key);
        l->msg.path = m->path;
}

static void list_job(struct listed *l, const struct stage_progress *p) {
        modelstage__v1__model__init(&l->msg);
        l->msg.reference = p->reference;
        if (p->resolved)
                l->msg.digest = (char *)digest_format(&p->digest, l->digest);
        l->msg.size = (int64_t)p->size;
        l->msg.state = (char *)(strcmp(p->state, "failed") == 0 ? "failed" : "staging");
        l->msg.error = (char *)p->error.text;
}

/* A job whose model is here already says nothing new: it asks whether the tag has moved, or is about to end.
 */
static bool job_is_news(const struct stage_progress *p, struct cache_model *const *models, size_t n) {
        bool failed = strcmp(p->state, "failed") == 0;

        if (strcmp(p->state, "ready") == 0)
                return false;
        for (size_t i = 0; i < n; i++)
                if (strcmp(models[i]->reference, p->reference) == 0 &&
                    (p->resolved ? digest_equal(&models[i]->manifest, &p->digest) : !failed))
                        return false;
        return true;
}

static int list_reply(struct rpc_call *call, struct cache_model *const *models, size_t n_models,
                      const struct stage_progress *jobs, size_t n_jobs, struct error *e) {
        Modelstage__V1__ListResponse reply = MODELSTAGE__V1__LIST_RESPONSE__INIT;
        _cleanup_free_ struct listed *list = calloc(n_models + n_jobs + 1, sizeof *list);
        _cleanup_free_ Modelstage__V1__Model **pointers = calloc(n_models + n_jobs + 1, sizeof *pointers);
        size_t n = 0;

        if (!list || !pointers)
                return error_errno(e, ENOMEM, "list the models");
        for (size_t i = 0; i < n_models; i++)
                list_model(&list[n++], models[i]);
        for (size_t i = 0; i < n_jobs; i++)
                if (job_is_news(&jobs[i], models, n_models))
                        list_job(&list[n++], &jobs[i]);
        for (size_t i = 0; i < n; i++)
                pointers[i] = &list[i].msg;
        reply.models = pointers;
        reply.n_models = n;
        return rpc_call_reply(call, &reply.base, e);
}

int control_list(struct rpc_call *call, const ProtobufCMessage *m, void *userdata, struct error *e) {
        struct control *c = userdata;
        struct stage_progress *jobs = NULL;
        struct cache_model **models = NULL;
        size_t n_jobs = 0, n_models = 0;
        int r;

        (void)m;
        /* Jobs first: one that ends in between is then listed twice over, not missing. */
        r = stager_list(c->stager, &jobs, &n_jobs);
        if (r < 0)
                return error_errno(e, r, "list the jobs");
        r = cache_model_list(c->cache, &models, &n_models, e);
        if (r == 0) {
                r = list_reply(call, models, n_models, jobs, n_jobs, e);
                cache_model_list_free(models, n_models);
        }
        stager_list_free(jobs, n_jobs);
        return r;
}

/* ---- Mount, Unmount ---- */

/* The rest of what a target may be is the cache's to say. */
static int check_target(const char *target, struct error *e) {
        if (*target != '/')
                return error_set(e, ERROR_INVALID, "the target \"%s\" is not an absolute path", target);
        return 0;
}

int control_mount(struct rpc_call *call, const ProtobufCMessage *m, void *userdata, struct error *e) {
        const Modelstage__V1__MountRequest *req = (const void *)m;
        Modelstage__V1__MountResponse reply = MODELSTAGE__V1__MOUNT_RESPONSE__INIT;
        _cleanup_(control_request_clear) struct control_request request = { 0 };
        struct control *c = userdata;
        const struct stager_publication publication = { .cache = c->cache,
                                                        .stager = c->stager,
                                                        .request = &request.stage,
                                                        .volume_id = "cli",
                                                        .target = req->target };
        struct stage_outcome o;
        char digest[DIGEST_TEXT_SIZE];
        int r;

        if ((r = check_target(req->target, e)) < 0 ||
            (r = control_request_parse(&request, req->reference, req->selection, req->pull_policy,
                                       req->docker_config, e)) < 0 ||
            (r = stager_publish(&o, call, &publication, e)) < 0)
                return r;
        reply.digest = (char *)digest_format(&o.manifest, digest);
        reply.result = (char *)stage_result_name(o.result);
        return rpc_call_reply(call, &reply.base, e);
}

int control_unmount(struct rpc_call *call, const ProtobufCMessage *m, void *userdata, struct error *e) {
        const Modelstage__V1__UnmountRequest *req = (const void *)m;
        Modelstage__V1__UnmountResponse reply = MODELSTAGE__V1__UNMOUNT_RESPONSE__INIT;
        _cleanup_(cache_lease_freep) struct cache_lease *lease = NULL;
        struct control *c = userdata;
        int r = check_target(req->target, e);

        if (r < 0)
                return r;
        /* Only our own: what kubelet mounted is kubelet's to unmount. */
        if (cache_lease_find(c->cache, NULL, req->target, &lease) < 0)
                return error_set(e, ERROR_NOT_FOUND, "no model is mounted at %s", req->target);
        if (strcmp(lease->volume_id, "cli") != 0)
                return error_set(e, ERROR_PRECONDITION, "%s belongs to volume %s; its pod has to go first",
                                 req->target, lease->volume_id);
        r = cache_unpublish(c->cache, "cli", req->target, true, e);
        return r < 0 ? r : rpc_call_reply(call, &reply.base, e);
}

/* ---- Remove, Pin ---- */

int control_remove(struct rpc_call *call, const ProtobufCMessage *m, void *userdata, struct error *e) {
        const Modelstage__V1__RemoveRequest *req = (const void *)m;
        Modelstage__V1__RemoveResponse reply = MODELSTAGE__V1__REMOVE_RESPONSE__INIT;
        struct control *c = userdata;
        struct cache_model **models = NULL;
        char digest[DIGEST_TEXT_SIZE];
        size_t n = 0;
        int r = cache_model_match(c->cache, req->reference, &models, &n, e);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n && r == 0; i++) {
                uint64_t freed = 0;
                r = cache_model_remove(c->cache, &models[i]->key, &freed, e);
                reply.freed += (int64_t)freed;
        }
        if (n > 0)
                reply.digest = (char *)digest_format(&models[0]->manifest, digest);
        cache_model_list_free(models, n);
        return r < 0 ? r : rpc_call_reply(call, &reply.base, e);
}

int control_pin(struct rpc_call *call, const ProtobufCMessage *m, void *userdata, struct error *e) {
        const Modelstage__V1__PinRequest *req = (const void *)m;
        Modelstage__V1__PinResponse reply = MODELSTAGE__V1__PIN_RESPONSE__INIT;
        struct control *c = userdata;
        struct cache_model **models = NULL;
        size_t n = 0;
        int r = cache_model_match(c->cache, req->reference, &models, &n, e);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n && r == 0; i++)
                r = cache_model_pin(c->cache, &models[i]->key, req->pin, models[i]->expires_ms, e);
        cache_model_list_free(models, n);
        return r < 0 ? r : rpc_call_reply(call, &reply.base, e);
}

/* ---- DiskFree, Version ---- */

int control_disk_free(struct rpc_call *call, const ProtobufCMessage *m, void *userdata, struct error *e) {
        Modelstage__V1__DiskFreeResponse reply = MODELSTAGE__V1__DISK_FREE_RESPONSE__INIT;
        struct control *c = userdata;
        struct cache_space space;
        int r = cache_space(c->cache, &space, e);

        (void)m;
        if (r < 0)
                return r;
        reply.capacity = (int64_t)space.capacity;
        reply.used = (int64_t)space.used;
        reply.reserved = (int64_t)space.reserved;
        reply.free = (int64_t)space.free;
        reply.models = (int64_t)space.models;
        reply.layers = (int64_t)space.layers;
        reply.saved = (int64_t)space.saved;
        return rpc_call_reply(call, &reply.base, e);
}

int control_version(struct rpc_call *call, const ProtobufCMessage *m, void *userdata, struct error *e) {
        Modelstage__V1__VersionResponse reply = MODELSTAGE__V1__VERSION_RESPONSE__INIT;
        const struct control *c = userdata;

        (void)m;
        reply.version = (char *)MODELSTAGE_VERSION;
        reply.io = (char *)stager_io(c->stager);
        return rpc_call_reply(call, &reply.base, e);
}
