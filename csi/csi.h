/* SPDX-License-Identifier: Apache-2.0 */
/*
 * csi: Container Storage Interface 1.12 (proto/csi.proto): Identity, Node (publish only) and a thin
 * Controller, and the registration with kubelet (proto/registration.proto).
 *
 *   kubelet            csi.endpoint    identity.c, node.c, publish.c    --role node
 *   provisioner        csi.endpoint    identity.c, controller.c         both roles
 *   kubelet's watcher  <dir>/csi.modelstage.io-reg.sock   registration.c   --role node
 *   API server         asked by events.c and node_object.c (--role node) and by the Controller
 *
 * Handlers run on the RPC server's workers, many at once, and keep nothing between two calls that an answer
 * depends on: what is mounted is in the cache's leases, what is staged is in the stager; who has waited
 * (staged.h) is for an event's text. Only the Controller remembers names, see below.
 *
 * A handler checks all arguments before it looks anything up, and answers the same when it is asked again, as
 * kubelet does after every failure. Errors become gRPC codes by their kind (rpc_status_of_error()). This room
 * logs what it did and what failed; the rooms below return errors.
 */
#pragma once

#include "base/rpc_server.h"
#include "csi/events.h"
#include "csi/kube.h"
#include "csi/node_object.h"
#include "csi/staged.h"
#include "stager/stager.h"

#define CSI_DRIVER_NAME "csi.modelstage.io"

struct csi {                               /* the methods' userdata; all kept by reference */
        const struct settings *settings;   /* as they were at the start */
        struct cache *cache;               /* NULL in --role controller */
        struct stager *stager;             /* NULL in --role controller */
        struct csi_controller *controller; /* NULL: no Controller service */
        struct csi_kube *kube;             /* NULL: there is no API server to ask */
        struct csi_events *events;         /* NULL: pods get none */
        struct csi_waits *waits;           /* NULL in --role controller */
};
/* Tables for rpc_server_new(); each ends with a NULL path. */
extern const struct rpc_method csi_identity_methods[];
extern const struct rpc_method csi_node_methods[];
extern const struct rpc_method csi_controller_methods[];

/* What was created, so that the same name with another content is AlreadyExists. In memory: after a
 * restart, or on another replica, the PersistentVolume is what tells it. */
int csi_controller_new(struct csi_controller **ret, struct error *e);
void csi_controller_free(struct csi_controller *c);
DEFINE_CLEANUP(struct csi_controller *, csi_controller_free);

/* Serves pluginregistration.Registration on <csi.kubeletRegistration>/csi.modelstage.io-reg.sock, so that
 * kubelet finds us without a registrar sidecar. The socket appears last, when everything else answers. If
 * somebody removes it, it is made again. */
struct csi_registration;
/* @node is told each time that kubelet has registered us; may be NULL. */
int csi_registration_start(struct csi_registration **ret, const struct settings *s,
                           struct csi_node_object *node, struct error *e);
/* Kubelet said that it has registered us, and the socket has been there since. */
bool csi_registration_done(const struct csi_registration *r);
void csi_registration_stop(struct csi_registration *r);
DEFINE_CLEANUP(struct csi_registration *, csi_registration_stop);
