/* SPDX-License-Identifier: Apache-2.0 */
/* control: the service behind /run/modelstage/control.sock (proto/modelstage.proto), for the CLI. */
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
extern const struct rpc_method control_methods[];

/* Before rpc_server_free(): calls whose client has left, but which wait to pin the model, give up. */
void control_stop(struct control *c);
