/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provision: the questions to the API server that CreateVolume needs. What the answers mean is claim.c's.
 *
 *   read:  parameters -> class -> (names no model: GET the claim -> annotations) -> values
 *   check: GET the PersistentVolume that external-provisioner is about to make
 *
 * The second is how a name that was used with another reference is known after a restart and by another
 * replica: the cluster's own record says it, and we keep none that could disagree with it.
 */
#include "csi/provision.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define PATH_SIZE 640 /* two names of 253 bytes and the rest */

void csi_provision_done(struct csi_provision *p) {
        csi_attributes_free(p->attributes);
        json_decref(p->claim);
        *p = (struct csi_provision){ .claim = NULL };
}

/* @what is for people, @resource for whoever grants rights. */
static int get(json_t **ret, struct csi_kube *kube, const char *path, const char *what, const char *resource,
               int64_t timeout_ms, struct error *e) {
        struct error why = { 0 };

        if (csi_kube_get(kube, path, timeout_ms, ret, &why) >= 0)
                return 0;
        (void)error_copy(e, &why);
        if (why.kind == ERROR_DENIED)
                return error_wrap(e, "cannot read %s (the controller's service account needs get of %s)",
                                  what, resource);
        return error_wrap(e, "cannot read %s", what);
}

static int get_claim(json_t **ret, struct csi_kube *kube, const struct csi_class *class, int64_t timeout_ms,
                     struct error *e) {
        const char *namespace = class->claim_namespace, *name = class->claim_name;
        char path[PATH_SIZE], what[PATH_SIZE];

        if (!*namespace || !*name)
                return error_set(
                    e, ERROR_INVALID,
                    "the StorageClass names no model, and it is not said which claim could name one: set "
                    "its parameter model, or run external-provisioner with --extra-create-metadata");
        if (!kube)
                return error_set(
                    e, ERROR_PRECONDITION,
                    "the StorageClass names no model, and claim %s/%s cannot be read: this controller has "
                    "no API server to ask (kubernetes.serviceAccount, kubernetes.apiServer)",
                    namespace, name);
        snprintf(path, sizeof path, "/api/v1/namespaces/%s/persistentvolumeclaims/%s", namespace, name);
        snprintf(what, sizeof what, "claim %s/%s", namespace, name);
        return get(ret, kube, path, what, "persistentvolumeclaims", timeout_ms, e);
}

int csi_provision_read(struct csi_provision *ret, struct csi_kube *kube, const char *volume,
                       const struct csi_pair *parameters, size_t n, int64_t timeout_ms, struct error *e) {
        _cleanup_provision_ struct csi_provision p = { .claim = NULL };
        int r = csi_class_read(&p.class, parameters, n, e);

        if (r < 0)
                return r;
        p.values = p.class.values;
        if (!*p.values.of[CSI_ATTRIBUTE_MODEL]) {
                r = get_claim(&p.claim, kube, &p.class, timeout_ms, e);
                if (r >= 0)
                        r = csi_claim_read(&p.values, &p.class, volume, p.claim, e);
        }
        if (r >= 0)
                r = csi_attributes_of(&p.attributes, &p.values, e);
        if (r < 0)
                return r;
        *ret = p;
        p = (struct csi_provision){ .claim = NULL };
        return 0;
}

int csi_provision_check_volume(const struct csi_provision *p, struct csi_kube *kube, const char *driver,
                               const char *handle, int64_t timeout_ms, struct error *e) {
        _cleanup_json_ json_t *volume = NULL;
        char path[PATH_SIZE], what[PATH_SIZE];
        struct error why = { 0 };

        if (!kube || !*p->class.volume_name)
                return 0;
        snprintf(path, sizeof path, "/api/v1/persistentvolumes/%s", p->class.volume_name);
        snprintf(what, sizeof what, "PersistentVolume %s", p->class.volume_name);
        int r = get(&volume, kube, path, what, "persistentvolumes", timeout_ms, &why);
        if (r >= 0)
                return csi_claim_check_volume(volume, driver, handle, &p->values, e);
        return why.kind == ERROR_NOT_FOUND ? 0 : error_copy(e, &why);
}
