/* SPDX-License-Identifier: Apache-2.0 */
/* sockets: libcurl's multi interface on the ring: readiness of its sockets by ring_poll(), its timer by the
 * timeout of ring_wait(). The reactor's own. */
#pragma once

#include "base/cleanup.h"
#include "base/ring.h"

#include <curl/curl.h>

struct sockets;

/* @connections: how many are kept open for the next range. */
int sockets_new(struct sockets **ret, struct ring *r, unsigned connections, struct error *e);
void sockets_free(struct sockets *s); /* every easy handle has been removed */
DEFINE_CLEANUP(struct sockets *, sockets_free);

CURLM *sockets_multi(struct sockets *s);
int sockets_timeout_ms(const struct sockets *s); /* for ring_wait(); -1: no timer */
void sockets_run(struct sockets *s);             /* after ring_wait(): lets curl work on what is ready */
