/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events: core v1 Events of the older form (firstTimestamp, lastTimestamp, source), which every version of
 * Kubernetes shows. An event has a name of its own, so that a POST whose answer was lost can be sent again.
 *
 * The queue is a ring of places; whoever sends takes the lock for as long as copying one takes. The thread
 * holds nothing while it talks.
 */
#include "csi/events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"
#include "csi/csi.h"
#include "csi/staged.h"

#define QUEUE_MAX 256u
#define SEND_MS 10000           /* for one event, with all that is tried again */
#define DRAIN_MS 2000           /* for what is queued when the daemon stops */
#define OFF_MS (10 * 60 * 1000) /* after a 403 */
#define NAME_MAX_BYTES 253
#define NAME_SUFFIX (1 + 16) /* ".", a time in hexadecimal */

struct queued {
        struct csi_pod pod;
        int64_t at_ms; /* wall clock */
        char message[CSI_STAGED_TEXT];
};

struct csi_events {
        struct csi_kube *kube;
        const char *node;
        pthread_t thread;
        pthread_mutex_t lock;   /* guards what follows */
        pthread_cond_t changed; /* something was queued or sent, or stopping */
        struct queued queue[QUEUE_MAX];
        size_t first, n;
        bool sending, stopping;
        int64_t off_until_ms; /* monotonic; 0: on */
        bool denied;          /* that we may not has been logged */
};

/* ---- one event ---- */

/* "<pod>.<time>", as kubelet and kubectl make them. */
static void make_name(char name[static NAME_MAX_BYTES + 1], const struct csi_pod *pod) {
        int room = NAME_MAX_BYTES - NAME_SUFFIX;
        struct timespec t;
        int len;

        clock_gettime(CLOCK_REALTIME, &t);
        len = snprintf(name, NAME_MAX_BYTES + 1, "%.*s", room, pod->name);
        while (len > 0 && (name[len - 1] == '.' || name[len - 1] == '-')) /* where it was cut */
                name[--len] = '\0';
        snprintf(name + len, (size_t)(NAME_MAX_BYTES + 1 - len), ".%016" PRIx64,
                 (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec);
}

/* Kubernetes takes whole seconds here. */
static void make_time(char text[static TEXT_SHORT], int64_t at_ms) {
        char *dot;

        text_format_time(at_ms, text);
        dot = strchr(text, '.');
        if (dot)
                memcpy(dot, "Z", 2);
}

static json_t *make_event(const struct csi_events *ev, const struct queued *q) {
        char name[NAME_MAX_BYTES + 1], at[TEXT_SHORT];

        make_name(name, &q->pod);
        make_time(at, q->at_ms);
        return json_pack(
            "{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s, s:s, s:s}, s:s, s:s, s:s, s:s, s:s, s:i, "
            "s:{s:s, s:s}, s:s, s:s}",
            "apiVersion", "v1", "kind", "Event", "metadata", "name", name, "namespace", q->pod.namespace,
            "involvedObject", "apiVersion", "v1", "kind", "Pod", "namespace", q->pod.namespace, "name",
            q->pod.name, "uid", q->pod.uid, "type", "Normal", "reason", "ModelStaged", "message", q->message,
            "firstTimestamp", at, "lastTimestamp", at, "count", 1, "source", "component", CSI_DRIVER_NAME,
            "host", ev->node, "reportingComponent", CSI_DRIVER_NAME, "reportingInstance", ev->node);
}

static int post(struct csi_events *ev, const struct queued *q, struct error *e) {
        _cleanup_json_ json_t *event = make_event(ev, q);
        char path[sizeof "/api/v1/namespaces//events" + sizeof q->pod.namespace];

        if (!event)
                return error_set(e, ERROR_INTERNAL, "cannot make an event");
        snprintf(path, sizeof path, "/api/v1/namespaces/%s/events", q->pod.namespace);
        int r = csi_kube_post(ev->kube, path, event, SEND_MS, NULL, e);
        return r < 0 && e->kind == ERROR_EXISTS ? 0 : r; /* it had arrived */
}

/* A namespace that goes away takes no new objects, and says so with a 403 too. */
static bool is_denied(int r, const struct error *e) {
        return r < 0 && e->kind == ERROR_DENIED && !strstr(e->text, "being terminated");
}

/* What is queued would be denied as well. Whether this is news. */
static bool switch_off(struct csi_events *ev) {
        LOCK_SCOPE(&ev->lock);
        bool news = !ev->denied;

        ev->denied = true;
        ev->off_until_ms = time_monotonic_ms() + OFF_MS;
        for (; ev->n > 0; ev->n--)
                metric_add(POD_EVENTS, 1, "dropped");
        return news;
}

static void take_outcome(struct csi_events *ev, const struct queued *q, int r, const struct error *e) {
        metric_add(POD_EVENTS, 1, r < 0 ? "failed" : "sent");
        if (is_denied(r, e)) {
                if (switch_off(ev))
                        log_info("pods get no events from us: %s", e->text);
                return;
        }
        if (r < 0 && e->kind != ERROR_CANCELLED)
                log_warning("no event for pod %s/%s: %s", q->pod.namespace, q->pod.name, e->text);
        LOCK_SCOPE(&ev->lock);
        ev->denied = ev->denied && r < 0;
}

/* ---- the thread ---- */

/* False: there is nothing more to do. */
static bool take_next(struct csi_events *ev, struct queued *ret) {
        LOCK_SCOPE(&ev->lock);

        ev->sending = false;
        pthread_cond_broadcast(&ev->changed);
        while (ev->n == 0 && !ev->stopping)
                pthread_cond_wait(&ev->changed, &ev->lock);
        if (ev->n == 0)
                return false;
        *ret = ev->queue[ev->first];
        ev->first = (ev->first + 1) % QUEUE_MAX;
        ev->n--;
        ev->sending = true;
        return true;
}

static void *events_main(void *arg) {
        struct csi_events *ev = arg;
        struct queued q;

        while (take_next(ev, &q)) {
                struct error e = { 0 };
                int r = post(ev, &q, &e);

                take_outcome(ev, &q, r, &e);
        }
        return NULL;
}

void csi_events_send(struct csi_events *ev, const struct csi_pod *pod, const char *message) {
        if (!ev)
                return;
        {
                LOCK_SCOPE(&ev->lock);
                if (ev->n < QUEUE_MAX && !ev->stopping && time_monotonic_ms() >= ev->off_until_ms) {
                        struct queued *q = &ev->queue[(ev->first + ev->n++) % QUEUE_MAX];

                        q->pod = *pod;
                        q->at_ms = time_now_ms();
                        snprintf(q->message, sizeof q->message, "%s", message);
                        pthread_cond_broadcast(&ev->changed);
                        return;
                }
        }
        metric_add(POD_EVENTS, 1, "dropped");
}

/* ---- life cycle ---- */

int csi_events_start(struct csi_events **ret, const struct settings *s, struct csi_kube *k, struct error *e) {
        pthread_condattr_t monotonic;
        struct csi_events *ev;

        *ret = NULL;
        if (!k || strcmp(s->kubernetes.events, "on") != 0)
                return 0;
        ev = calloc(1, sizeof *ev);
        if (!ev)
                return error_errno(e, ENOMEM, "cannot send events");
        ev->kube = k;
        ev->node = s->node.name;
        pthread_mutex_init(&ev->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&ev->changed, &monotonic);
        pthread_condattr_destroy(&monotonic);
        int r = pthread_create(&ev->thread, NULL, events_main, ev);
        if (r != 0) {
                pthread_cond_destroy(&ev->changed);
                pthread_mutex_destroy(&ev->lock);
                free(ev);
                return error_errno(e, r, "cannot send events");
        }
        *ret = ev;
        return 0;
}

static void drain(struct csi_events *ev) {
        int64_t until = time_monotonic_ms() + DRAIN_MS;
        struct timespec t = { .tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000 };

        LOCK_SCOPE(&ev->lock);
        ev->stopping = true;
        pthread_cond_broadcast(&ev->changed);
        while (ev->n > 0 || ev->sending)
                if (pthread_cond_timedwait(&ev->changed, &ev->lock, &t) != 0)
                        break;
        for (; ev->n > 0; ev->n--)
                metric_add(POD_EVENTS, 1, "dropped");
}

void csi_events_stop(struct csi_events *ev) {
        if (!ev)
                return;
        drain(ev);
        csi_kube_cancel(ev->kube);
        pthread_join(ev->thread, NULL);
        pthread_cond_destroy(&ev->changed);
        pthread_mutex_destroy(&ev->lock);
        free(ev);
}
