/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubelet's plugin registration (pluginregistration/v1), served by the daemon itself.
 *
 *   kubelet watches csi.kubeletRegistration --> finds our socket there
 *           GetInfo -----------------------------> type, name, where the CSI socket is, version
 *           NodeGetInfo on the CSI socket -------> node.c
 *           NotifyRegistrationStatus ------------> `done`, which /readyz shows
 *
 * It asks again by itself after a failure, and after its own restart.
 *
 * The path of the CSI socket is the one that kubelet sees, which differs from ours in a container
 * (csi.kubeletPath).
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "csi/csi.h"
#include "proto/registration.pb-c.h"

struct csi_registration {
        struct rpc_server *server;
        const char *endpoint;         /* of the CSI socket, as kubelet sees the path */
        struct csi_node_object *node; /* is told; NULL: nobody is */
        atomic_bool done;             /* set by a worker, read by the HTTP thread */
};

static int get_info(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata, struct error *e) {
        Pluginregistration__PluginInfo info = PLUGINREGISTRATION__PLUGIN_INFO__INIT;
        const struct csi_registration *reg = userdata;
        char *versions[] = { (char *)"1.0.0" };

        (void)msg;
        info.type = (char *)"CSIPlugin";
        info.name = (char *)CSI_DRIVER_NAME;
        info.endpoint = (char *)reg->endpoint;
        info.supported_versions = versions;
        info.n_supported_versions = 1;
        return rpc_call_reply(call, &info.base, e);
}

static int notify(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata, struct error *e) {
        const Pluginregistration__RegistrationStatus *status =
            (const Pluginregistration__RegistrationStatus *)msg;
        Pluginregistration__RegistrationStatusResponse resp =
            PLUGINREGISTRATION__REGISTRATION_STATUS_RESPONSE__INIT;
        struct csi_registration *reg = userdata;

        atomic_store(&reg->done, status->plugin_registered);
        if (status->plugin_registered && reg->node)
                csi_node_object_registered(reg->node);
        if (status->plugin_registered)
                log_info("kubelet has registered %s", CSI_DRIVER_NAME);
        else
                log_error("kubelet refused to register %s: %s", CSI_DRIVER_NAME, status->error);
        return rpc_call_reply(call, &resp.base, e);
}

static const struct rpc_method registration_methods[] = {
        { .path = "/pluginregistration.Registration/GetInfo",
          .request = &pluginregistration__info_request__descriptor,
          .handler = get_info },
        { .path = "/pluginregistration.Registration/NotifyRegistrationStatus",
          .request = &pluginregistration__registration_status__descriptor,
          .handler = notify },
        { 0 },
};

/* csi.kubeletPath, or the endpoint's own path where the daemon sees the host's paths. */
static const char *kubelet_endpoint(const struct settings *s) {
        const char *endpoint = s->csi.endpoint;

        if (s->csi.kubelet_path && *s->csi.kubelet_path)
                return s->csi.kubelet_path;
        return text_starts_with(endpoint, "unix://") ? endpoint + strlen("unix://") : endpoint;
}

int csi_registration_start(struct csi_registration **ret, const struct settings *s,
                           struct csi_node_object *node, struct error *e) {
        _cleanup_(csi_registration_stopp) struct csi_registration *reg = calloc(1, sizeof *reg);
        struct rpc_service service = { .methods = registration_methods, .userdata = reg };
        _cleanup_free_ char *path = NULL;

        if (!reg || asprintf(&path, "%s/%s-reg.sock", s->csi.kubelet_registration, CSI_DRIVER_NAME) < 0)
                return error_errno(e, ENOMEM, "cannot register with kubelet");
        reg->endpoint = kubelet_endpoint(s);
        reg->node = node;
        int r =
            rpc_server_new(&reg->server,
                           &(struct rpc_server_options){
                               .socket_path = path, .services = &service, .n_services = 1, .grace_ms = 1000 },
                           e);
        if (r >= 0)
                r = rpc_server_start(reg->server, e);
        if (r < 0)
                return error_wrap(e, "cannot register with kubelet");
        *ret = take_ptr(reg);
        return 0;
}

bool csi_registration_done(const struct csi_registration *reg) {
        return reg && atomic_load(&reg->done);
}

void csi_registration_stop(struct csi_registration *reg) {
        if (!reg)
                return;
        rpc_server_free(reg->server);
        free(reg);
}
