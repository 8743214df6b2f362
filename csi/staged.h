/* SPDX-License-Identifier: Apache-2.0 */
/*
 * staged: what a pod is told once the model that it waited for is mounted, and since when it has waited.
 *
 * kubelet's calls end after two minutes, so a volume may be asked for several times before its model is here,
 * and the call that mounts it may find it in the cache. For the pod it was a miss all the same.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CSI_STAGED_TEXT 1024 /* what an event's message may have */

struct csi_staged {
        const char *reference;
        uint64_t bytes;    /* of the model */
        uint64_t received; /* from the registry; 0: not known */
        int64_t staged_ms; /* how long that took */
        int64_t waited_ms; /* how long this volume was waited for */
        bool joined;       /* others had asked for it before */
};
/* "REF is mounted: 15.2 GiB were staged in 41.0s, 380 MiB/s" */
void csi_staged_describe(const struct csi_staged *s, char text[static CSI_STAGED_TEXT]);

/* The volumes that are waited for, a bounded number of them: the oldest is forgotten for a new one.
 * Thread-safe. */
struct csi_waits;
int csi_waits_new(struct csi_waits **ret, struct error *e);
void csi_waits_free(struct csi_waits *w);
/* The call that began at @since_ms (of any clock) ends before the model is here. */
void csi_waits_add(struct csi_waits *w, const char *volume_id, const char *target, int64_t since_ms);
/* Forgets the volume. When the first call for it began; 0: it is not waited for. */
int64_t csi_waits_take(struct csi_waits *w, const char *volume_id, const char *target);
