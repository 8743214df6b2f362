/* SPDX-License-Identifier: Apache-2.0 */
/* rpc_listener: a unix socket that belongs to one process at a time and lets in root and ourselves. Private
 * to rpc_*. */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

struct rpc_listener;
/* Takes @fd, which is connected, non-blocking and close-on-exec. Runs on the listener's thread. */
typedef void rpc_on_connection(int fd, void *userdata);

/* Takes the path: locks it, removes a stale socket, binds with mode 0600. Connections wait until it is
 * started. */
int rpc_listener_new(struct rpc_listener **ret, const char *path, struct error *e);
/* Starts the thread. Once. */
int rpc_listener_start(struct rpc_listener *l, rpc_on_connection *on_connection, void *userdata,
                       struct error *e);
/* No connection comes any more once this has returned, and the path is free for others. */
void rpc_listener_free(struct rpc_listener *l);
DEFINE_CLEANUP(struct rpc_listener *, rpc_listener_free);
