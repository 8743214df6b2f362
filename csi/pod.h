/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod: whose volume it is, as kubelet says in the volume context. It does so because CSIDriver.podInfoOnMount
 * is true, and then overwrites what a user may have written there; all the same nothing but an event depends
 * on it.
 */
#pragma once

#include "csi/attributes.h"

#include <stdbool.h>

struct csi_pod {
        char name[254], namespace[64], uid[65];
};

/* False: there is no pod, or what is said of it cannot be the truth. */
bool csi_pod_read(struct csi_pod *ret, const struct csi_pair *context, size_t n);
