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
 * Who removes the socket takes the driver from kubelet, which watches the folder. So a thread looks every
 * two seconds: a socket that is gone is made again, and kubelet registers us again; one that is not ours
 * means that somebody else serves there, and is left alone. `done` is false until kubelet has registered us
 * again.
 *
 * The path of the CSI socket is the one that kubelet sees, which differs from ours in a container
 * (csi.kubeletPath).
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/text.h"
#include "csi/csi.h"
#include "proto/registration.pb-c.h"

#define LOOK_MS 2000

struct csi_registration {
        char *path;                /* of our socket */
        struct rpc_server *server; /* NULL: it could not be made again. The thread's own, as the next two */
        dev_t dev;                 /* of the socket that is ours */
        ino_t ino;
        struct error failed;          /* the latest, as it was logged */
        const char *endpoint;         /* of the CSI socket, as kubelet sees the path */
        struct csi_node_object *node; /* is told; NULL: nobody is */
        atomic_bool done;             /* set by workers and the thread, read by the HTTP thread */

        pthread_t thread;
        bool has_thread;
        pthread_mutex_t lock; /* guards what follows */
        pthread_cond_t changed;
        bool stopping;
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

/* ---- the socket ---- */

static int serve(struct csi_registration *reg, struct error *e) {
        const struct rpc_service service = { .methods = registration_methods, .userdata = reg };
        const struct rpc_server_options options = {
                .socket_path = reg->path, .services = &service, .n_services = 1, .grace_ms = 1000
        };
        _cleanup_(rpc_server_freep) struct rpc_server *server = NULL;
        struct stat st;
        int r = rpc_server_new(&server, &options, e);

        if (r >= 0)
                r = rpc_server_start(server, e);
        if (r < 0)
                return error_wrap(e, "cannot register with kubelet");
        if (lstat(reg->path, &st) < 0)
                return error_errno(e, errno, "cannot register with kubelet: cannot look at %s", reg->path);
        reg->dev = st.st_dev;
        reg->ino = st.st_ino;
        reg->server = take_ptr(server);
        return 0;
}

/* 0: the socket is there, perhaps since now. */
static int look(struct csi_registration *reg, struct error *e) {
        struct stat st;
        int r = lstat(reg->path, &st);

        if (r == 0 && reg->server && st.st_dev == reg->dev && st.st_ino == reg->ino)
                return 0;
        atomic_store(&reg->done, false);
        if (r == 0 && reg->server)
                return error_set(e, ERROR_PRECONDITION,
                                 "%s is not ours any more: somebody else has made a socket there", reg->path);
        if (r < 0 && errno != ENOENT)
                return error_errno(e, errno, "cannot look at %s", reg->path);
        if (reg->server)
                log_warning("%s has gone: it is made again", reg->path);
        rpc_server_free(take_ptr(reg->server));
        return serve(reg, e);
}

/* False: it is time to leave. */
static bool pause_is_over(struct csi_registration *reg) {
        int64_t until_ms = time_monotonic_ms() + LOOK_MS;
        struct timespec t = { .tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000 };
        int r = 0;

        LOCK_SCOPE(&reg->lock);
        while (!reg->stopping && r == 0)
                r = pthread_cond_timedwait(&reg->changed, &reg->lock, &t);
        return !reg->stopping;
}

static void *registration_main(void *arg) {
        struct csi_registration *reg = arg;

        while (pause_is_over(reg)) {
                struct error e = { 0 };

                if (look(reg, &e) < 0 && strcmp(e.text, reg->failed.text) != 0)
                        log_error("%s", e.text);
                reg->failed = e;
        }
        return NULL;
}

/* ---- life cycle ---- */

static struct csi_registration *make(void) {
        struct csi_registration *reg = calloc(1, sizeof *reg);
        pthread_condattr_t monotonic;

        if (!reg)
                return NULL;
        pthread_mutex_init(&reg->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&reg->changed, &monotonic);
        pthread_condattr_destroy(&monotonic);
        return reg;
}

int csi_registration_start(struct csi_registration **ret, const struct settings *s,
                           struct csi_node_object *node, struct error *e) {
        _cleanup_(csi_registration_stopp) struct csi_registration *reg = make();

        if (!reg)
                return error_errno(e, ENOMEM, "cannot register with kubelet");
        if (asprintf(&reg->path, "%s/%s-reg.sock", s->csi.kubelet_registration, CSI_DRIVER_NAME) < 0) {
                reg->path = NULL;
                return error_errno(e, ENOMEM, "cannot register with kubelet");
        }
        reg->endpoint = kubelet_endpoint(s);
        reg->node = node;
        int r = serve(reg, e);
        if (r < 0)
                return r;
        r = pthread_create(&reg->thread, NULL, registration_main, reg);
        if (r)
                return error_errno(e, r, "cannot register with kubelet");
        reg->has_thread = true;
        *ret = take_ptr(reg);
        return 0;
}

bool csi_registration_done(const struct csi_registration *reg) {
        return reg && atomic_load(&reg->done);
}

void csi_registration_stop(struct csi_registration *reg) {
        if (!reg)
                return;
        if (reg->has_thread) {
                {
                        LOCK_SCOPE(&reg->lock);
                        reg->stopping = true;
                        pthread_cond_signal(&reg->changed);
                }
                pthread_join(reg->thread, NULL);
        }
        rpc_server_free(reg->server);
        pthread_cond_destroy(&reg->changed);
        pthread_mutex_destroy(&reg->lock);
        free(reg->path);
        free(reg);
}
