/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CSI 1.12 Node service (csi spec, "Node Service RPC"), publish only: bind mounts of a shared tree must not
 * be staged, because kubelet refuses to unstage a directory whose source is mounted elsewhere.
 *
 *   NodePublishVolume     publish.c; may wait for a job, so it has a place among the calls that wait
 *   NodeUnpublishVolume   cache_unpublish(): mount, directory, lease; not published is success
 *   NodeGetVolumeStats    the lease's model, from the index; the file system is not asked
 *   NodeGetCapabilities   GET_VOLUME_STATS, nothing else
 *   NodeGetInfo           node.name of the settings; no topology, no limit of volumes
 *
 * Arguments are checked in the order volume, path, capability, one at a time, before anything is looked up.
 * Unpublishing waits for nobody's download: it needs no job.
 */
#include <string.h>

#include "base/log.h"
#include "csi/csi.h"
#include "csi/publish.h"
#include "proto/csi.pb-c.h"

static int unpublish(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata, struct error *e) {
        const Csi__V1__NodeUnpublishVolumeRequest *req = (const Csi__V1__NodeUnpublishVolumeRequest *)msg;
        Csi__V1__NodeUnpublishVolumeResponse resp = CSI__V1__NODE_UNPUBLISH_VOLUME_RESPONSE__INIT;
        const struct csi *csi = userdata;

        int r = csi_check_volume_and_path(req->volume_id, "target_path", req->target_path, e);
        if (r >= 0)
                r = cache_unpublish(csi->cache, req->volume_id, req->target_path, false, e);
        if (r < 0) {
                log_warning("unpublish of volume %s: %s", req->volume_id, e->text);
                return r;
        }
        (void)csi_waits_take(csi->waits, req->volume_id, req->target_path);
        log_info("volume %s is unpublished from %s", req->volume_id, req->target_path);
        return rpc_call_reply(call, &resp.base, e);
}

/* A volume is as large as its model, all of it is used, and nothing can be added. */
static int get_volume_stats(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata,
                            struct error *e) {
        const Csi__V1__NodeGetVolumeStatsRequest *req = (const Csi__V1__NodeGetVolumeStatsRequest *)msg;
        Csi__V1__NodeGetVolumeStatsResponse resp = CSI__V1__NODE_GET_VOLUME_STATS_RESPONSE__INIT;
        Csi__V1__VolumeUsage bytes = CSI__V1__VOLUME_USAGE__INIT, inodes = CSI__V1__VOLUME_USAGE__INIT;
        Csi__V1__VolumeUsage *usage[] = { &bytes, &inodes };
        _cleanup_(cache_lease_freep) struct cache_lease *lease = NULL;
        _cleanup_(cache_model_freep) struct cache_model *model = NULL;
        const struct csi *csi = userdata;

        int r = csi_check_volume_and_path(req->volume_id, "volume_path", req->volume_path, e);
        if (r < 0)
                return r;
        if (cache_lease_find(csi->cache, req->volume_id, req->volume_path, &lease) < 0 ||
            cache_model_find(csi->cache, &lease->key, &model) < 0)
                return error_set(e, ERROR_NOT_FOUND, "volume %s is not published at %s", req->volume_id,
                                 req->volume_path);

        bytes.unit = CSI__V1__VOLUME_USAGE__UNIT__BYTES;
        bytes.total = bytes.used = (int64_t)model->size;
        inodes.unit = CSI__V1__VOLUME_USAGE__UNIT__INODES;
        inodes.total = inodes.used = (int64_t)model->files;
        resp.usage = usage;
        resp.n_usage = 2;
        return rpc_call_reply(call, &resp.base, e);
}

static int get_capabilities(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata,
                            struct error *e) {
        Csi__V1__NodeGetCapabilitiesResponse resp = CSI__V1__NODE_GET_CAPABILITIES_RESPONSE__INIT;
        Csi__V1__NodeServiceCapability__RPC rpc = CSI__V1__NODE_SERVICE_CAPABILITY__RPC__INIT;
        Csi__V1__NodeServiceCapability capability = CSI__V1__NODE_SERVICE_CAPABILITY__INIT,
                                       *list[] = { &capability };

        (void)msg;
        (void)userdata;
        rpc.type = CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__GET_VOLUME_STATS;
        capability.type_case = CSI__V1__NODE_SERVICE_CAPABILITY__TYPE_RPC;
        capability.rpc = &rpc;
        resp.capabilities = list;
        resp.n_capabilities = 1;
        return rpc_call_reply(call, &resp.base, e);
}

static int get_info(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata, struct error *e) {
        Csi__V1__NodeGetInfoResponse resp = CSI__V1__NODE_GET_INFO_RESPONSE__INIT;
        const struct csi *csi = userdata;

        (void)msg;
        resp.node_id = csi->settings->node.name;
        return rpc_call_reply(call, &resp.base, e);
}

const struct rpc_method csi_node_methods[] = {
        { .path = "/csi.v1.Node/NodePublishVolume",
          .request = &csi__v1__node_publish_volume_request__descriptor,
          .handler = csi_node_publish,
          .waits = true },
        { .path = "/csi.v1.Node/NodeUnpublishVolume",
          .request = &csi__v1__node_unpublish_volume_request__descriptor,
          .handler = unpublish },
        { .path = "/csi.v1.Node/NodeGetVolumeStats",
          .request = &csi__v1__node_get_volume_stats_request__descriptor,
          .handler = get_volume_stats },
        { .path = "/csi.v1.Node/NodeGetCapabilities",
          .request = &csi__v1__node_get_capabilities_request__descriptor,
          .handler = get_capabilities },
        { .path = "/csi.v1.Node/NodeGetInfo",
          .request = &csi__v1__node_get_info_request__descriptor,
          .handler = get_info },
        { 0 },
};
