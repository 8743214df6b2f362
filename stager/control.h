/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control: the service behind /run/modelstage/control.sock (proto/modelstage.proto), for the CLI.
 *
 *   control.c           the table of methods, and those that answer once
 *   control_warm.c      Warm and Status, which stream
 *   control_inspect.c   Inspect
 *   control_message.c   between messages and the stager's types
 *
 * The socket lets in root and our own user only (base/rpc_listener.h), so who calls is not asked. Warm,
 * Status and Mount may wait for a job and have places of their own among the server's calls (`waits`).
 */
#pragma once

#include "base/rpc_server.h"
#include "stager/stager.h"

#include <stdatomic.h>

struct control { /* the methods' userdata; all kept by reference */
        const struct settings *settings;
        struct cache *cache;
        struct stager *stager;
        struct oci_client *client;
        atomic_bool stopping; /* set by control_stop() */
};
extern const struct rpc_method control_methods[]; /* ends with a NULL path */

/* Before rpc_server_free(): calls whose client has left, but which wait to pin the model, give up. */
void control_stop(struct control *c);
