/* SPDX-License-Identifier: Apache-2.0 */
/*
 * modelstaged: puts the rooms together and waits for a signal.
 *
 *   node        cache -> registries -> engine -> control socket -> warm list -> CSI socket -> HTTP -> kubelet
 *   controller                                                                  CSI socket -> HTTP
 *
 * Started from the bottom up, so that a socket that answers can keep its promise; kubelet hears of us last.
 * Stopped so that nobody is left whom something below would miss: HTTP and kubelet first, cache last. Mounts
 * are left alone: pods read plain files and do not need us.
 *
 * A start that fails stops what had been started, and the exit code tells. The main thread only starts, waits
 * and stops: it waits in sigwait(), with the signals blocked in every thread.
 */
#include <curl/curl.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/http.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/path.h"
#include "base/text.h"
#include "csi/csi.h"
#include "stager/control.h"
#include "tools/modelstaged/options.h"
#include "tools/modelstaged/warmlist.h"

#define SILENT_MAX_MS 30000 /* of a thread that beats every PULSE_MS */
#define GRACE_MS 2000       /* for calls in flight; those that wait for a job are cancelled then */

struct daemon { /* NULL: not started, or not in this role */
        struct options options;
        struct cache *cache;
        struct oci_client *client;
        struct stager *stager;
        struct csi csi;
        struct control control;
        struct rpc_server *csi_server, *control_server;
        struct http_endpoint *http;
        struct csi_registration *registration;
        struct csi_node_object *node;
        struct warmlist *warmlist;
        atomic_bool ready; /* everything is up, and not being stopped; read by the HTTP thread */
};

/* ---- HTTP ---- */

static unsigned page_metrics(void *userdata, struct buf *body) {
        (void)userdata;
        return metrics_write(body) < 0 ? 500 : 200;
}

/* Of the threads without which nothing is served; they never wait for anybody, so a daemon that is only busy
 * hears from them all the same. */
static const char *what_hangs(const struct daemon *d) {
        if (d->csi_server && rpc_server_silent_ms(d->csi_server) > SILENT_MAX_MS)
                return "the CSI socket";
        if (d->control_server && rpc_server_silent_ms(d->control_server) > SILENT_MAX_MS)
                return "the control socket";
        return d->stager && stager_silent_ms(d->stager) > SILENT_MAX_MS ? "the engine" : NULL;
}

static unsigned page_health(void *userdata, struct buf *body) {
        const char *what = what_hangs(userdata);

        if (what)
                log_warning("%s has shown no sign of life for %d s", what, SILENT_MAX_MS / 1000);
        (void)buf_printf(body, what ? "%s hangs\n" : "ok\n", what);
        return what ? 503 : 200;
}

/* With kubelet registration on: not before kubelet has registered us. */
static unsigned page_ready(void *userdata, struct buf *body) {
        const struct daemon *d = userdata;
        const char *why = NULL;

        if (!atomic_load(&d->ready))
                why = "starting or stopping";
        else if (d->registration && !csi_registration_done(d->registration))
                why = "kubelet has not registered the driver yet";
        (void)buf_printf(body, "%s\n", why ? why : "ok");
        return why ? 503 : 200;
}

static const struct http_route routes[] = {
        { "/metrics", "text/plain; version=0.0.4; charset=utf-8", page_metrics },
        { "/healthz", "text/plain; charset=utf-8", page_health },
        { "/readyz", "text/plain; charset=utf-8", page_ready },
        { 0 },
};

/* ---- sockets ---- */

static int make_parent(const char *path, struct error *e) {
        _cleanup_free_ char *parent = strdup(path);
        char *slash = parent ? strrchr(parent, '/') : NULL;

        if (!parent)
                return error_errno(e, ENOMEM, "cannot make the folder of %s", path);
        if (!slash || slash == parent)
                return 0;
        *slash = 0;
        return path_make_dirs_absolute(parent, 0755, e);
}

/* A server on @path, whose directory is made if it is missing. */
static int serve(struct rpc_server **ret, const char *path, const struct rpc_service *services, size_t n,
                 struct error *e) {
        struct rpc_server_options options = {
                .socket_path = path, .services = services, .n_services = n, .grace_ms = GRACE_MS
        };

        int r = make_parent(path, e);
        if (r >= 0)
                r = rpc_server_new(ret, &options, e);
        return r < 0 ? r : rpc_server_start(*ret, e);
}

static int serve_csi(struct daemon *d, struct error *e) {
        const char *endpoint = d->options.settings->csi.endpoint;
        const char *path = text_starts_with(endpoint, "unix://") ? endpoint + strlen("unix://") : endpoint;
        struct rpc_service services[] = { { csi_identity_methods, &d->csi },
                                          { csi_controller_methods, &d->csi },
                                          { csi_node_methods, &d->csi } };

        int r = csi_controller_new(&d->csi.controller, e);
        return r < 0 ? r : serve(&d->csi_server, path, services, d->options.controller ? 2 : 3, e);
}

static int serve_control(struct daemon *d, struct error *e) {
        struct rpc_service service = { control_methods, &d->control };

        d->control = (struct control){
                .settings = d->options.settings, .cache = d->cache, .stager = d->stager, .client = d->client
        };
        return serve(&d->control_server, d->options.settings->control.socket, &service, 1, e);
}

/* ---- life ---- */

static bool model_is_here(void *userdata, const struct oci_reference *reference) {
        return stager_has(userdata, reference);
}

static void models_changed(void *userdata) {
        csi_node_object_wake(userdata);
}

/* What others are told of this node: nothing that serves a volume depends on it. */
static int start_telling(struct daemon *d, struct error *e) {
        const struct csi_node_object_options o = { .settings = d->options.settings,
                                                   .kube = d->csi.kube,
                                                   .is_here = model_is_here,
                                                   .userdata = d->stager };
        int r = csi_waits_new(&d->csi.waits, e);

        if (r >= 0)
                r = csi_events_start(&d->csi.events, d->options.settings, d->csi.kube, e);
        if (r >= 0)
                r = csi_node_object_start(&d->node, &o, e);
        if (r >= 0)
                cache_on_change(d->cache, models_changed, d->node);
        return r;
}

static int start_node(struct daemon *d, struct error *e) {
        const struct settings *s = d->options.settings;

        int r = cache_open(&d->cache, s, e);
        if (r >= 0)
                r = oci_client_new(&d->client, s, e);
        if (r >= 0)
                r = stager_new(&d->stager, s, d->cache, d->client, e);
        if (r < 0)
                return r;
        d->csi.cache = d->cache;
        d->csi.stager = d->stager;
        r = start_telling(d, e);
        if (r >= 0)
                r = serve_control(d, e);
        if (r >= 0)
                r = warmlist_start(&d->warmlist, &d->options, d->cache, d->stager, d->node, e);
        return r;
}

/* Leaves what it has started for stop() if it fails. */
static int start(struct daemon *d, struct error *e) {
        const struct settings *s = d->options.settings;
        int r = csi_kube_new(&d->csi.kube, s, e);

        d->csi.settings = s;
        if (r >= 0 && !d->options.controller)
                r = start_node(d, e);
        if (r >= 0)
                metric_set(BUILD_INFO, 1, MODELSTAGE_VERSION, d->stager ? stager_io(d->stager) : "none");
        if (r >= 0)
                r = serve_csi(d, e);
        if (r >= 0)
                r = http_endpoint_new(&d->http, s->http.address, routes, d, e);
        if (r >= 0 && !d->options.controller && *s->csi.kubelet_registration)
                r = csi_registration_start(&d->registration, s, d->node, e);
        if (r >= 0)
                atomic_store(&d->ready, true);
        return r;
}

/* Also after a start that got only half way. */
static void stop(struct daemon *d) {
        atomic_store(&d->ready, false);
        if (d->options.controller)
                csi_kube_cancel(d->csi.kube);  /* its calls wait for the API server */
        http_endpoint_free(take_ptr(d->http)); /* its pages look at the others */
        csi_registration_stop(take_ptr(d->registration));
        warmlist_stop(take_ptr(d->warmlist));
        control_stop(&d->control);
        if (d->stager)
                stager_end_waits(d->stager); /* the calls that wait for a model are answered, not cut off */
        rpc_server_free(take_ptr(d->csi_server));
        rpc_server_free(take_ptr(d->control_server));
        csi_events_stop(take_ptr(d->csi.events)); /* the last are sent, for a moment */
        csi_kube_cancel(d->csi.kube);
        csi_node_object_stop(d->node);
        csi_controller_free(take_ptr(d->csi.controller));
        csi_kube_free(take_ptr(d->csi.kube));
        stager_free(take_ptr(d->stager));
        csi_node_object_free(take_ptr(d->node)); /* now that no model comes or goes */
        csi_waits_free(take_ptr(d->csi.waits));
        oci_client_free(take_ptr(d->client));
        cache_close(take_ptr(d->cache));
        options_clear(&d->options);
}

static void setup_log(const struct settings *s) {
        static const char *const formats[] = {
                [LOG_FORMAT_AUTO] = "auto", [LOG_FORMAT_TEXT] = "text", [LOG_FORMAT_JSON] = "json"
        };
        enum log_format format = LOG_FORMAT_AUTO;

        for (unsigned i = 0; i < sizeof formats / sizeof *formats; i++)
                if (strcmp(formats[i], s->log.format) == 0)
                        format = (enum log_format)i;
        (void)log_setup((enum log_level)log_level_parse(s->log.level), format,
                        s->log.debug); /* checked with the settings */
}

int main(int argc, char *argv[]) {
        static struct daemon d;
        struct error e = { 0 };
        sigset_t signals;
        int signal_number;

        int r = options_read(&d.options, argc, argv);
        if (r >= 0) {
                options_clear(&d.options);
                return r;
        }
        setup_log(d.options.settings);

        /* Before the first thread, which inherits the mask: only sigwait() sees these. */
        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        pthread_sigmask(SIG_BLOCK, &signals, NULL);
        signal(SIGPIPE, SIG_IGN);
        curl_global_init(CURL_GLOBAL_DEFAULT);
        /* Memory beside the arena stays small: few heaps for many threads, large buffers go back at once.
         * Those that curl receives into, one for each range (RECEIVE_BUFFER of oci/http.c), are used again as
         * long as anything is fetched (conns.c): the pages of new ones would cost a twentieth of the CPU. */
        (void)mallopt(M_ARENA_MAX, 2);
        (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
        (void)mallopt(M_TRIM_THRESHOLD, 4 << 20);

        r = start(&d, &e);
        if (r < 0)
                log_error("cannot start: %s", e.text);
        else {
                log_info("modelstaged %s serves %s on %s", MODELSTAGE_VERSION, CSI_DRIVER_NAME,
                         d.options.settings->csi.endpoint);
                sigwait(&signals, &signal_number);
                log_info("%s: stopping; mounts stay", strsignal(signal_number));
        }
        stop(&d);
        curl_global_cleanup();
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
