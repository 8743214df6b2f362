/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attributes: what a volume asks for, from volumeAttributes, StorageClass parameters or a PV's volume context
 * (docs/volumes.md). Keys: model, pullPolicy, root, include, exclude, platform; keys with a reserved prefix
 * (csi.storage.k8s.io/, storage.kubernetes.io/, modelstage.io/) are not ours to judge; any other is
 * ERROR_INVALID by name.
 */
#pragma once

#include "oci/keyring.h"
#include "oci/reference.h"
#include "oci/selection.h"
#include "stager/stager.h"

struct csi_pair { /* of a proto3 map */
        const char *key, *value;
};

enum csi_attribute {
        CSI_ATTRIBUTE_MODEL,
        CSI_ATTRIBUTE_PULL_POLICY,
        CSI_ATTRIBUTE_ROOT,
        CSI_ATTRIBUTE_INCLUDE,
        CSI_ATTRIBUTE_EXCLUDE,
        CSI_ATTRIBUTE_PLATFORM,
        _CSI_ATTRIBUTE_MAX,
};
extern const char *const csi_attribute_keys[_CSI_ATTRIBUTE_MAX];

struct csi_attribute_values {               /* as they came */
        const char *of[_CSI_ATTRIBUTE_MAX]; /* "": nothing said */
};
/* ERROR_INVALID names a key that is neither ours nor reserved. Strings stay the pairs'. */
int csi_attributes_collect(struct csi_attribute_values *ret, const struct csi_pair *pairs, size_t n,
                           struct error *e);

struct csi_attributes {
        struct oci_reference *reference;
        struct oci_selection *selection;
        enum stage_policy policy;
};
int csi_attributes_of(struct csi_attributes **ret, const struct csi_attribute_values *values,
                      struct error *e);
/* Both at once. */
int csi_attributes_parse(struct csi_attributes **ret, const struct csi_pair *pairs, size_t n,
                         struct error *e);
void csi_attributes_free(struct csi_attributes *a);
DEFINE_CLEANUP(struct csi_attributes *, csi_attributes_free);

/* The volume's secrets: .dockerconfigjson, .dockercfg, or username and password. None: *ret is NULL. Never
 * quotes a value. */
int csi_secrets_parse(struct oci_keyring **ret, const struct csi_pair *pairs, size_t n, struct error *e);
