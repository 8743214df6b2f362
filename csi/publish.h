/* SPDX-License-Identifier: Apache-2.0 */
/* publish: NodePublishVolume, and the checks that the Node calls share. */
#pragma once

#include "csi/csi.h"

/* rpc_handler of /csi.v1.Node/NodePublishVolume. */
int csi_node_publish(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata, struct error *e);

/* ERROR_INVALID if the volume id, then the path, is missing or too long. @field names the path. */
int csi_check_volume_and_path(const char *volume_id, const char *field, const char *path, struct error *e);
