/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim: what a PersistentVolumeClaim asks for, within what its StorageClass says. An engine without I/O:
 * it is given CreateVolume's parameters and the API server's objects; provision.c gets them.
 *
 *   parameters ──▶ csi_class ──┐
 *                              ├──▶ csi_attribute_values ──▶ csi_attributes_of() ──▶ volume context
 *   claim's annotations ───────┘     (strings of both)         as for a publish
 *
 * A class that names a model decides everything. One that does not leaves it to the claim, and what it sets
 * besides (pullPolicy, platform, …) stays set. A claim at fault is ERROR_PRECONDITION and not
 * ERROR_INVALID: external-provisioner tries InvalidArgument again after minutes only, any other failure as
 * soon as the claim is edited (docs/volumes.md). Texts name claim and annotation, because they become an
 * Event on the claim.
 */
#pragma once

#include "base/json.h"
#include "csi/attributes.h"

/* CreateVolume's parameters: the class's, and those that external-provisioner adds (--extra-create-metadata).
 * Strings are the pairs'. */
struct csi_class {
        struct csi_attribute_values values;
        const char *allow;                        /* modelstage.io/allow; "": not there, so everything */
        const char *claim_namespace, *claim_name; /* "": not said */
        const char *volume_name;                  /* the PersistentVolume's; "": not said */
};
/* ERROR_INVALID: a key that is neither an attribute nor known, an empty allow, or a name that cannot be one.
 */
int csi_class_read(struct csi_class *ret, const struct csi_pair *parameters, size_t n, struct error *e);

/*
 * What the claim @object asks for. @volume is CreateVolume's name: if it has a claim's UID in it, then this
 * one's. Strings of *ret are @class's and @object's. ERROR_PRECONDITION: the claim is at fault,
 * ERROR_DENIED: the class does not allow it, ERROR_NOT_FOUND: it is another claim by now,
 * ERROR_UNAVAILABLE: @object is no claim.
 */
int csi_claim_read(struct csi_attribute_values *ret, const struct csi_class *class, const char *volume,
                   const json_t *object, struct error *e);

/* Whether the PersistentVolume @object is what CreateVolume would make now. ERROR_EXISTS: it is not.
 * ERROR_UNAVAILABLE: @object is none. */
int csi_claim_check_volume(const json_t *object, const char *driver, const char *handle,
                           const struct csi_attribute_values *values, struct error *e);
