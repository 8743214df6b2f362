/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CSI 1.12 Identity service (csi spec, "Identity Service RPC"): who we are, and which other services are
 * behind the same socket. The Controller is announced if this process has one; Probe has nothing to find out,
 * see there. No state.
 */
#include "csi/csi.h"
#include "proto/csi.pb-c.h"

static int get_plugin_info(struct rpc_call *call, const ProtobufCMessage *req, void *userdata,
                           struct error *e) {
        Csi__V1__GetPluginInfoResponse resp = CSI__V1__GET_PLUGIN_INFO_RESPONSE__INIT;

        (void)req;
        (void)userdata;
        resp.name = (char *)CSI_DRIVER_NAME;
        resp.vendor_version = (char *)MODELSTAGE_VERSION;
        return rpc_call_reply(call, &resp.base, e);
}

static int get_plugin_capabilities(struct rpc_call *call, const ProtobufCMessage *req, void *userdata,
                                   struct error *e) {
        Csi__V1__GetPluginCapabilitiesResponse resp = CSI__V1__GET_PLUGIN_CAPABILITIES_RESPONSE__INIT;
        Csi__V1__PluginCapability__Service service = CSI__V1__PLUGIN_CAPABILITY__SERVICE__INIT;
        Csi__V1__PluginCapability capability = CSI__V1__PLUGIN_CAPABILITY__INIT, *list[] = { &capability };
        const struct csi *csi = userdata;

        (void)req;
        service.type = CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__CONTROLLER_SERVICE;
        capability.type_case = CSI__V1__PLUGIN_CAPABILITY__TYPE_SERVICE;
        capability.service = &service;
        if (csi->controller) {
                resp.capabilities = list;
                resp.n_capabilities = 1;
        }
        return rpc_call_reply(call, &resp.base, e);
}

/* The daemon listens only when everything behind it works, so an answer is a yes. */
static int probe(struct rpc_call *call, const ProtobufCMessage *req, void *userdata, struct error *e) {
        Csi__V1__ProbeResponse resp = CSI__V1__PROBE_RESPONSE__INIT;
        Google__Protobuf__BoolValue ready = GOOGLE__PROTOBUF__BOOL_VALUE__INIT;

        (void)req;
        (void)userdata;
        ready.value = 1;
        resp.ready = &ready;
        return rpc_call_reply(call, &resp.base, e);
}

const struct rpc_method csi_identity_methods[] = {
        { .path = "/csi.v1.Identity/GetPluginInfo",
          .request = &csi__v1__get_plugin_info_request__descriptor,
          .handler = get_plugin_info },
        { .path = "/csi.v1.Identity/GetPluginCapabilities",
          .request = &csi__v1__get_plugin_capabilities_request__descriptor,
          .handler = get_plugin_capabilities },
        { .path = "/csi.v1.Identity/Probe",
          .request = &csi__v1__probe_request__descriptor,
          .handler = probe },
        { 0 },
};
