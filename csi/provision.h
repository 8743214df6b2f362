/* SPDX-License-Identifier: Apache-2.0 */
/* provision: what a volume that CreateVolume is asked for is to hold, with the API server's help where the
 * StorageClass leaves it to the claim. */
#pragma once

#include "csi/claim.h"
#include "csi/kube.h"

struct csi_provision {
        struct csi_class class;
        struct csi_attribute_values values; /* becomes the volume context */
        struct csi_attributes *attributes;  /* the same, understood */
        json_t *claim;                      /* owns what @values have of it; NULL: it was not asked for */
};
void csi_provision_done(struct csi_provision *p); /* accepts an empty one */
#define _cleanup_provision_ _cleanup_(csi_provision_done)

/* @volume: CreateVolume's name. @kube NULL: there is no API server, so the class has to say it all. Kinds:
 * those of claim.h and kube.h. Strings of *ret are the parameters' too. */
int csi_provision_read(struct csi_provision *ret, struct csi_kube *kube, const char *volume,
                       const struct csi_pair *parameters, size_t n, int64_t timeout_ms, struct error *e);

/* ERROR_EXISTS: there is a PersistentVolume of that name, made with something else. Without an API server,
 * or without the name, nothing is known: 0. */
int csi_provision_check_volume(const struct csi_provision *p, struct csi_kube *kube, const char *driver,
                               const char *handle, int64_t timeout_ms, struct error *e);
