/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_object: keeps what the cluster knows of this node true.
 *
 *   the start-up taint   goes once kubelet has registered the driver and all required models of the warm list
 *                        are here, and again if it comes (back) later; it is never put back
 *   labels               say which models of the warm list are here: on the Node object, or by a file for NFD
 *
 *   start -> [set_warm | registered | wake] … -> stop -> free
 *
 * One thread does it, when something has changed. It asks the API server only if that may need a change
 * there: once after the start and after each registration (kubelet has been restarted, so the object may be a
 * new one), when a label comes or goes, and to see whether the taint has come: each minute at least for ten
 * minutes after a registration and while Karpenter has not registered the node, each five minutes after that.
 * A few times a second at most, and less and less often while it fails.
 */
#pragma once

#include "base/settings.h"
#include "csi/kube.h"
#include "csi/labels.h"

struct csi_node_object;
struct csi_node_object_times {
        int64_t settles_ms;        /* after a registration the taint is looked for soon, */
        int64_t soon_ms, later_ms; /* later after that: half of each to all of it */
        int64_t retry_ms;          /* after a failure; doubled up to 60 times that */
};
struct csi_node_object_options { /* all kept by reference */
        const struct settings *settings;
        struct csi_kube *kube; /* NULL: there is no API server */
        bool (*is_here)(void *userdata, const struct oci_reference *reference); /* no network */
        void *userdata;
        const struct csi_node_object_times *times; /* NULL: as above */
};

/* The warm list is at first that of the settings. */
int csi_node_object_start(struct csi_node_object **ret, const struct csi_node_object_options *o,
                          struct error *e);
/* From any thread: kubelet has registered the driver, perhaps once more. */
void csi_node_object_registered(struct csi_node_object *n);
/* The warm list is another one now; copied. -ENOMEM: it stays as it was. */
int csi_node_object_set_warm(struct csi_node_object *n, const struct settings_warm *list, size_t n_list);
/* From any thread: a model may have come or gone. */
void csi_node_object_wake(struct csi_node_object *n);
/* Ends the thread, after csi_kube_cancel() soon. What wakes it may still do so, to no effect, until it is
 * freed. */
void csi_node_object_stop(struct csi_node_object *n);
void csi_node_object_free(struct csi_node_object *n); /* stopped before; NULL is fine */
