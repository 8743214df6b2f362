/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conns: the node's connections: gives ranges to those that are idle, hands over what arrives, has oci judge
 * how a request ended. How many there are of each host follows from how it goes. The reactor's own.
 */
#pragma once

#include "base/settings.h"
#include "stager/budget.h"
#include "stager/fetch.h"
#include "stager/sockets.h"

struct conns;
/* All but @s are kept by reference. @hosts: what is known of hosts; what is learned goes there. */
int conns_new(struct conns **ret, const struct settings *s, struct arena *a, struct sockets *sockets,
              struct hosts *hosts, struct error *e);
void conns_free(struct conns *c);
DEFINE_CLEANUP(struct conns *, conns_free);

/* From now on the fetch has its turns. Attaching and detaching belong to the reactor's
 * turn, not to a callback of curl. */
void conns_attach(struct conns *c, struct fetch *f);
void conns_detach(struct conns *c, struct fetch *f); /* ends its requests; nobody touches @f any more */
/* Takes note of requests that have ended, starts new ones, resumes paused ones. Milliseconds until there may
 * be more to do. */
int conns_run(struct conns *c);
