/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CSI 1.12 Controller service (csi spec, "Controller Service RPC"): CreateVolume records what is to be
 * mounted, from the StorageClass or the claim's annotations, in the volume context; the work is done on the
 * node.
 *
 *   CreateVolume -> provision.c (class, claim) -> id -> PersistentVolume? -> created here? -> volume context
 *   DeleteVolume -> forgets the name; a volume has no data of its own
 *   Validate...  -> the capability check of the Node service
 *
 * A volume's id is a function of its name, so that two controllers agree and a foreign id is recognised:
 * "ms-" + 32 hex digits of SHA-256(name) + "-" + 8 hex digits that check the rest. The same name with
 * another content is AlreadyExists: as far as this process remembers (`created`), and, after a restart or
 * on another replica, as far as the cluster does: by the PersistentVolume, which is there once anybody can
 * have used the answer.
 *
 * Threads: RPC workers. The lock guards what is remembered, and is not held while the API server is asked.
 */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/log.h"
#include "base/text.h"
#include "csi/attributes.h"
#include "csi/capability.h"
#include "csi/csi.h"
#include "csi/provision.h"

#define NAME_MAX_BYTES 128 /* csi spec, "Size Limits" */
#define ID_SIZE (sizeof "ms-" - 1 + 32 + 1 + 8 + 1)
#define MAX_REMEMBERED 65536 /* so that nobody fills the memory with names */
#define API_MAX_MS 25000     /* of a call for the API server, */
#define ANSWER_MS 500        /* and what is kept of it for our answer */

struct created {
        char id[ID_SIZE];
        struct digest content; /* of the volume context */
        int64_t capacity;      /* bytes as asked for; 0: nothing was said */
};

struct csi_controller {
        pthread_mutex_t lock; /* guards what follows */
        void *created;        /* tsearch(3) tree of struct created, by id */
        size_t n_created;
};

int csi_controller_new(struct csi_controller **ret, struct error *e) {
        struct csi_controller *c = calloc(1, sizeof *c);

        if (!c)
                return error_errno(e, ENOMEM, "cannot start the controller");
        pthread_mutex_init(&c->lock, NULL);
        *ret = c;
        return 0;
}

void csi_controller_free(struct csi_controller *c) {
        if (!c)
                return;
        tdestroy(c->created, free);
        pthread_mutex_destroy(&c->lock);
        free(c);
}

static int compare_created(const void *a, const void *b) {
        return strcmp(((const struct created *)a)->id, ((const struct created *)b)->id);
}

/* ---- ids ---- */

static int id_check_digits(char digits[static 9], const char *body, size_t len) {
        struct digest d;
        char hex[DIGEST_HEX_SIZE];

        int r = digest_of(&d, body, len);
        if (r < 0)
                return r;
        memcpy(digits, digest_hex(&d, hex), 8);
        digits[8] = 0;
        return 0;
}

static int id_make(char id[static ID_SIZE], const char *name) {
        struct digest d;
        char hex[DIGEST_HEX_SIZE], digits[9];

        int r = digest_of(&d, name, strlen(name));
        if (r < 0)
                return r;
        int n = snprintf(id, ID_SIZE, "ms-%.32s", digest_hex(&d, hex));
        r = id_check_digits(digits, id, (size_t)n);
        if (r < 0)
                return r;
        snprintf(id + n, ID_SIZE - (size_t)n, "-%s", digits);
        return 0;
}

/* By its form and its check digits; whether there ever was such a volume is not known. */
static bool id_is_ours(const char *id) {
        char digits[9];

        return strlen(id) == ID_SIZE - 1 && strncmp(id, "ms-", 3) == 0 && id[35] == '-' &&
               id_check_digits(digits, id, 35) == 0 && strcmp(digits, id + 36) == 0;
}

/* ---- CreateVolume ---- */

/* Equal contexts have equal fingerprints. */
static int fingerprint(struct digest *ret, const struct csi_attribute_values *values) {
        _cleanup_(digest_stream_freep) struct digest_stream *s = NULL;

        int r = digest_stream_new(&s);
        for (size_t k = 0; r >= 0 && k < _CSI_ATTRIBUTE_MAX; k++) /* with their NULs: nothing runs together */
                r = digest_stream_update(s, values->of[k], strlen(values->of[k]) + 1);
        return r < 0 ? r : digest_stream_final(s, ret);
}

static int check_create(const Csi__V1__CreateVolumeRequest *req, struct error *e) {
        if (!req->name || !*req->name)
                return error_set(e, ERROR_INVALID, "name is missing");
        if (strlen(req->name) > NAME_MAX_BYTES)
                return error_set(e, ERROR_INVALID, "name is longer than %d bytes", NAME_MAX_BYTES);
        if (req->n_volume_capabilities == 0)
                return error_set(e, ERROR_INVALID, "volume_capabilities is missing");
        for (size_t i = 0; i < req->n_volume_capabilities; i++) {
                int r = csi_capability_check(req->volume_capabilities[i], ERROR_PRECONDITION, e);
                if (r < 0)
                        return r;
        }
        if (req->volume_content_source)
                return error_set(e, ERROR_INVALID,
                                 "a model volume cannot be made from a snapshot or another volume");
        if (req->n_mutable_parameters)
                return error_set(e, ERROR_INVALID, "a model volume has no mutable parameters");
        const Csi__V1__CapacityRange *range = req->capacity_range;
        if (range && (range->required_bytes < 0 || range->limit_bytes < 0 ||
                      (range->limit_bytes && range->limit_bytes < range->required_bytes)))
                return error_set(e, ERROR_INVALID, "capacity_range is impossible");
        return 0;
}

/* 0: new, or the same as before, or there is no room to remember it. ERROR_EXISTS: not the same. */
static int remember(struct csi_controller *c, const struct created *wanted, struct error *e) {
        _cleanup_free_ struct created *fresh = malloc(sizeof *fresh);

        if (!fresh)
                return error_errno(e, ENOMEM, "cannot record the volume");
        *fresh = *wanted;
        LOCK_SCOPE(&c->lock);
        struct created **found = tfind(wanted, &c->created, compare_created);
        if (found)
                return digest_equal(&(*found)->content, &wanted->content) &&
                               (*found)->capacity == wanted->capacity
                           ? 0
                           : error_set(
                                 e, ERROR_EXISTS,
                                 "volume %s was made with another model, other parameters or another size: a "
                                 "volume keeps what it was made with, make a new claim",
                                 wanted->id);
        if (c->n_created >= MAX_REMEMBERED) /* the PersistentVolume still knows */
                return 0;
        if (!tsearch(fresh, &c->created, compare_created))
                return error_errno(e, ENOMEM, "cannot record the volume");
        c->n_created++;
        (void)take_ptr(fresh);
        return 0;
}

/* The context has attributes and nothing else: it is what a publish on the node gets. */
static int reply_created(struct rpc_call *call, const struct csi_attribute_values *values,
                         const struct created *created, struct error *e) {
        Csi__V1__CreateVolumeResponse resp = CSI__V1__CREATE_VOLUME_RESPONSE__INIT;
        Csi__V1__Volume volume = CSI__V1__VOLUME__INIT;
        Csi__V1__Volume__VolumeContextEntry entries[_CSI_ATTRIBUTE_MAX], *list[_CSI_ATTRIBUTE_MAX];
        size_t n = 0;

        for (size_t k = 0; k < _CSI_ATTRIBUTE_MAX; k++) {
                if (!*values->of[k])
                        continue;
                csi__v1__volume__volume_context_entry__init(&entries[n]);
                entries[n].key = (char *)csi_attribute_keys[k];
                entries[n].value = (char *)values->of[k];
                list[n] = &entries[n];
                n++;
        }
        volume.volume_id = (char *)created->id;
        volume.capacity_bytes = created->capacity;
        volume.volume_context = list;
        volume.n_volume_context = n;
        resp.volume = &volume;
        return rpc_call_reply(call, &resp.base, e);
}

/* Until when the API server may be asked: our own answer has to be there before the caller gives up. */
static int64_t api_until(const struct rpc_call *call) {
        int64_t left = rpc_call_ms_left(call);

        return time_monotonic_ms() + (left > API_MAX_MS + ANSWER_MS ? API_MAX_MS : left - ANSWER_MS);
}

static int64_t time_left(int64_t until_ms) {
        int64_t left = until_ms - time_monotonic_ms();

        return left > 0 ? left : 0;
}

static int provision(struct created *ret, struct csi_provision *p, const struct rpc_call *call,
                     const Csi__V1__CreateVolumeRequest *req, const struct csi_pair *parameters,
                     const struct csi *csi, struct error *e) {
        int64_t until = api_until(call);
        int r =
            csi_provision_read(p, csi->kube, req->name, parameters, req->n_parameters, time_left(until), e);

        if (r >= 0)
                r = csi_attributes_check_layout(p->attributes, csi->settings, e);
        if (r < 0)
                return r;
        if (id_make(ret->id, req->name) < 0 || fingerprint(&ret->content, &p->values) < 0)
                return error_errno(e, ENOMEM, "cannot name the volume");
        if (req->capacity_range)
                ret->capacity = req->capacity_range->required_bytes ? req->capacity_range->required_bytes
                                                                    : req->capacity_range->limit_bytes;
        r = csi_provision_check_volume(p, csi->kube, CSI_DRIVER_NAME, ret->id, time_left(until), e);
        return r < 0 ? r : remember(csi->controller, ret, e);
}

static int create_volume(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata,
                         struct error *e) {
        const Csi__V1__CreateVolumeRequest *req = (const Csi__V1__CreateVolumeRequest *)msg;
        _cleanup_free_ struct csi_pair *parameters = NULL;
        _cleanup_provision_ struct csi_provision p = { .claim = NULL };
        struct created created = { 0 };

        int r = check_create(req, e);
        if (r < 0)
                return r;
        if (csi_pairs(&parameters, req->parameters, req->n_parameters) < 0)
                return error_errno(e, ENOMEM, "cannot read the parameters");
        r = provision(&created, &p, call, req, parameters, userdata, e);
        if (r < 0) {
                log_warning("volume %s cannot be created: %s", req->name, e->text);
                return r;
        }
        log_info("volume %s is created: %s%s%s%s%s", created.id, p.attributes->reference->text,
                 p.claim ? " for claim " : "", p.claim ? p.class.claim_namespace : "", p.claim ? "/" : "",
                 p.claim ? p.class.claim_name : "");
        return reply_created(call, &p.values, &created, e);
}

/* ---- the others ---- */

static int delete_volume(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata,
                         struct error *e) {
        const Csi__V1__DeleteVolumeRequest *req = (const Csi__V1__DeleteVolumeRequest *)msg;
        Csi__V1__DeleteVolumeResponse resp = CSI__V1__DELETE_VOLUME_RESPONSE__INIT;
        const struct csi *csi = userdata;
        struct csi_controller *c = csi->controller;
        struct created wanted = { 0 };

        if (!req->volume_id || !*req->volume_id)
                return error_set(e, ERROR_INVALID, "volume_id is missing");
        if (id_is_ours(req->volume_id)) { /* a foreign volume is as good as deleted */
                memcpy(wanted.id, req->volume_id, ID_SIZE);
                LOCK_SCOPE(&c->lock);
                struct created **found = tfind(&wanted, &c->created, compare_created);
                if (found) {
                        struct created *gone = *found;
                        tdelete(gone, &c->created, compare_created);
                        c->n_created--;
                        free(gone);
                }
        }
        return rpc_call_reply(call, &resp.base, e);
}

/* No state is kept of volumes, and another replica may have made this one: an id whose check digits fit is a
 * volume, also one that was deleted or never made. That is a decision; such a mistake is found by the node,
 * not here. */
static int check_validate(const Csi__V1__ValidateVolumeCapabilitiesRequest *req, struct error *e) {
        if (!req->volume_id || !*req->volume_id)
                return error_set(e, ERROR_INVALID, "volume_id is missing");
        if (req->n_volume_capabilities == 0)
                return error_set(e, ERROR_INVALID, "volume_capabilities is missing");
        if (!id_is_ours(req->volume_id))
                return error_set(e, ERROR_NOT_FOUND, "volume %.128s is not one of ours", req->volume_id);
        return 0;
}

static int validate_capabilities(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata,
                                 struct error *e) {
        const Csi__V1__ValidateVolumeCapabilitiesRequest *req =
            (const Csi__V1__ValidateVolumeCapabilitiesRequest *)msg;
        Csi__V1__ValidateVolumeCapabilitiesResponse resp =
            CSI__V1__VALIDATE_VOLUME_CAPABILITIES_RESPONSE__INIT;
        Csi__V1__ValidateVolumeCapabilitiesResponse__Confirmed confirmed =
            CSI__V1__VALIDATE_VOLUME_CAPABILITIES_RESPONSE__CONFIRMED__INIT;
        struct error why = { 0 };

        (void)userdata;
        int r = check_validate(req, e);
        if (r < 0)
                return r;
        for (size_t i = 0; r >= 0 && i < req->n_volume_capabilities; i++)
                r = csi_capability_check(req->volume_capabilities[i], ERROR_INVALID, &why);
        if (r < 0) {
                resp.message = why.text;
                return rpc_call_reply(call, &resp.base, e);
        }
        /* Entry types of different messages differ in name only (key = 1, value = 2), so the maps are handed
         * back as they came. */
        confirmed.volume_context = (void *)req->volume_context;
        confirmed.n_volume_context = req->n_volume_context;
        confirmed.parameters = (void *)req->parameters;
        confirmed.n_parameters = req->n_parameters;
        confirmed.volume_capabilities = req->volume_capabilities;
        confirmed.n_volume_capabilities = req->n_volume_capabilities;
        resp.confirmed = &confirmed;
        return rpc_call_reply(call, &resp.base, e);
}

static int get_capabilities(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata,
                            struct error *e) {
        Csi__V1__ControllerGetCapabilitiesResponse resp = CSI__V1__CONTROLLER_GET_CAPABILITIES_RESPONSE__INIT;
        Csi__V1__ControllerServiceCapability__RPC rpc = CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__INIT;
        Csi__V1__ControllerServiceCapability capability = CSI__V1__CONTROLLER_SERVICE_CAPABILITY__INIT;
        Csi__V1__ControllerServiceCapability *list[] = { &capability };

        (void)msg;
        (void)userdata;
        rpc.type = CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__CREATE_DELETE_VOLUME;
        capability.type_case = CSI__V1__CONTROLLER_SERVICE_CAPABILITY__TYPE_RPC;
        capability.rpc = &rpc;
        resp.capabilities = list;
        resp.n_capabilities = 1;
        return rpc_call_reply(call, &resp.base, e);
}

const struct rpc_method csi_controller_methods[] = {
        { .path = "/csi.v1.Controller/CreateVolume",
          .request = &csi__v1__create_volume_request__descriptor,
          .handler = create_volume,
          .waits = true }, /* for the API server */
        { .path = "/csi.v1.Controller/DeleteVolume",
          .request = &csi__v1__delete_volume_request__descriptor,
          .handler = delete_volume },
        { .path = "/csi.v1.Controller/ValidateVolumeCapabilities",
          .request = &csi__v1__validate_volume_capabilities_request__descriptor,
          .handler = validate_capabilities },
        { .path = "/csi.v1.Controller/ControllerGetCapabilities",
          .request = &csi__v1__controller_get_capabilities_request__descriptor,
          .handler = get_capabilities },
        { 0 },
};
