/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attributes: what a volume asks for, from volumeAttributes, StorageClass parameters or a PV's volume context
 * (docs/volumes.md).
 *
 *   model        a reference; the only one that is needed
 *   pullPolicy   IfNotPresent, Always, Never; empty: by the tag
 *   root         directory of the artifact that becomes the volume's root
 *   include, exclude   globs below the root, with commas between them
 *   platform     os/architecture[/variant]
 *
 * Whoever may create a pod writes these, so they are hostile. A key that is none of these is ERROR_INVALID by
 * name, so that a typing error does not go unnoticed, unless it belongs to a reserved domain (Kubernetes'
 * own: *.k8s.io/, *kubernetes.io/; ours: modelstage.io/).
 */
#pragma once

#include "oci/keyring.h"
#include "oci/reference.h"
#include "oci/selection.h"
#include "stager/stager.h"

struct csi_pair { /* of a proto3 map; never NULL; the message's */
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

struct csi_attributes { /* owns its parts */
        struct oci_reference *reference;
        struct oci_selection *selection; /* always there, maybe without anything set */
        enum stage_policy policy;        /* STAGE_DEFAULT: nothing was said */
};
/* ERROR_INVALID names the attribute and what it may be. */
int csi_attributes_of(struct csi_attributes **ret, const struct csi_attribute_values *values,
                      struct error *e);
/* Both at once. */
int csi_attributes_parse(struct csi_attributes **ret, const struct csi_pair *pairs, size_t n,
                         struct error *e);
void csi_attributes_free(struct csi_attributes *a);
DEFINE_CLEANUP(struct csi_attributes *, csi_attributes_free);

/* ERROR_DENIED: a layout where the administrator has listed no directory above it (policy.layouts). */
int csi_attributes_check_layout(const struct csi_attributes *a, const struct settings *s, struct error *e);

/* The volume's secrets: .dockerconfigjson, .dockercfg, or username and password. None: *ret is NULL. Never
 * quotes a value. */
int csi_secrets_parse(struct oci_keyring **ret, const struct csi_pair *pairs, size_t n, struct error *e);
