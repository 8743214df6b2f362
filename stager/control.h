/* SPDX-License-Identifier: Apache-2.0 */
/* control: the service behind /run/modelstage/control.sock (proto/modelstage.proto), for the CLI. */
#pragma once

#include "base/rpc_server.h"
#include "stager/stager.h"

struct control {        /* the methods' userdata; all kept by reference */
        const struct settings *settings;
        struct cache *cache;
        struct stager *stager;
        struct oci_client *client;
};
extern const struct rpc_method control_methods[];
