/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events: tells pods, through the API server, that the model they waited for is mounted.
 *
 *   csi_events_send: queue (bounded) -> thread -> POST …/namespaces/<ns>/events
 *
 * An event is a courtesy: nobody waits for it, it is sent once, and what cannot be sent is dropped and
 * counted. An API server that says that we may not (403) is left alone for a while; then one event finds out
 * whether we may now.
 */
#pragma once

#include "base/settings.h"
#include "csi/kube.h"
#include "csi/pod.h"

struct csi_events;

/* One thread. *ret is NULL when there are no events: kubernetes.events is off, or there is no API server. @k
 * and @s are kept by reference. */
int csi_events_start(struct csi_events **ret, const struct settings *s, struct csi_kube *k, struct error *e);
/* Queues a Normal event with reason ModelStaged on @pod. From any thread; never blocks. @ev NULL is fine. */
void csi_events_send(struct csi_events *ev, const struct csi_pod *pod, const char *message);
/* Gives what is queued a moment to go out, then cancels the client, which is of no use any more. NULL is
 * fine. */
void csi_events_stop(struct csi_events *ev);
DEFINE_CLEANUP(struct csi_events *, csi_events_stop);
