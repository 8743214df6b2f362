/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_object: a loop that compares what should be with what is known to be.
 *
 *   look (warm list, cache) -> NFD's file -> GET node -> patch taints -> patch labels
 *     ^                                          ^            |
 *     |                                          '------------' the object has changed meanwhile: again
 *     '-- woken; or when the time has come to try again (after a failure) or to look again (for the taint)
 *
 * The file and the Node are two duties, each with a back-off of its own: one that fails does not hold back
 * the other. A failure is not tried earlier because a model has come or gone, for that may be often; but the
 * Node is, when its taint may go since just now (a registration, the last of the required models).
 *
 * A taint that is not there may still come: Karpenter puts startupTaints on the Node when it registers it,
 * which may be after kubelet has registered us. So there is no last look. Looks that only see whether the
 * taint has come are content with what the API server has in memory (resourceVersion=0); if that is old, the
 * patch's test does not hold, and the object is read properly.
 *
 * What the thread has seen done (`taint_is_gone`, `labels`) is its own. What others tell it is under the
 * lock.
 */
#include "csi/node_object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"
#include "csi/nfd.h"
#include "csi/node_patch.h"

#define CALL_MS 10000 /* for one request, with all that is tried again */
#define CONFLICTS_MAX 5
#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MAX 60    /* times that: a node with its taint is of no use to anybody */
#define PAUSE_MS 250      /* between two looks */
#define SETTLES_MS 600000 /* after a registration the taint may well come; it is looked for */
#define SOON_MS 60000     /* so often, at least, */
#define LATER_MS 300000   /* and so often after that */

struct warm_list {
        struct csi_warm *items;
        size_t n;
};

/* Something that is tried until it is done. */
struct duty {
        unsigned failures;     /* in a row */
        int64_t not_before_ms; /* after a failure; monotonic */
        struct error failed;   /* the latest, as it was logged */
};

struct csi_node_object {
        const struct settings *settings;
        struct csi_kube *kube; /* NULL also when the node's name cannot be one */
        bool (*is_here)(void *userdata, const struct oci_reference *reference);
        void *userdata;
        pthread_t thread;

        struct csi_node_object_times times;

        /* The thread's own. */
        bool taint_is_gone;       /* seen since the last registration */
        int64_t registered_ms;    /* the last registration, as the thread saw it; monotonic, as the next */
        int64_t taint_look_ms;    /* when to look for the taint */
        struct csi_labels labels; /* that the Node, or NFD's file, has */
        bool labels_are_known;
        struct duty file, node;
        unsigned missing; /* required models, at the latest look */
        unsigned told;    /* the same, as it was logged */

        pthread_mutex_t lock; /* guards what follows */
        pthread_cond_t changed;
        struct warm_list warm;
        bool is_registered, is_new_registration;
        bool woken, stopping;
};

/* What a look has found. */
struct view {
        struct csi_labels labels;
        unsigned missing; /* required models that are not here */
        bool is_registered;
};

/* ---- the warm list ---- */

static void warm_list_clear(struct warm_list *l) {
        for (size_t i = 0; i < l->n; i++)
                oci_reference_free(l->items[i].reference);
        free(l->items);
        *l = (struct warm_list){ 0 };
}

/* An entry that is no reference stays as one that is never here: the node that requires it is not ready. */
static int warm_list_make(struct warm_list *ret, const struct settings_warm *list, size_t n) {
        struct warm_list l = { .items = calloc(n ? n : 1, sizeof *l.items) };

        if (!l.items)
                return -ENOMEM;
        for (; l.n < n; l.n++) {
                struct csi_warm *w = &l.items[l.n];

                w->required = list[l.n].required;
                (void)oci_reference_parse(&w->reference, list[l.n].model, NULL);
        }
        *ret = l;
        return 0;
}

static int warm_list_copy(struct warm_list *ret, const struct warm_list *from) {
        struct warm_list l = { .items = calloc(from->n ? from->n : 1, sizeof *l.items) };

        if (!l.items)
                return -ENOMEM;
        for (; l.n < from->n; l.n++) {
                struct csi_warm *w = &l.items[l.n];

                w->required = from->items[l.n].required;
                if (from->items[l.n].reference &&
                    oci_reference_copy(&w->reference, from->items[l.n].reference) < 0) {
                        warm_list_clear(&l);
                        return -ENOMEM;
                }
        }
        *ret = l;
        return 0;
}

int csi_node_object_set_warm(struct csi_node_object *n, const struct settings_warm *list, size_t n_list) {
        struct warm_list fresh = { 0 }, old;
        int r = warm_list_make(&fresh, list, n_list);

        if (r < 0)
                return r;
        {
                LOCK_SCOPE(&n->lock);
                old = n->warm;
                n->warm = fresh;
                n->woken = true;
                pthread_cond_signal(&n->changed);
        }
        warm_list_clear(&old);
        return 0;
}

/* ---- looking ---- */

/* The cache is asked without the lock: it reads the disk. */
static int look(struct csi_node_object *n, struct view *ret, struct error *e) {
        _cleanup_(warm_list_clear) struct warm_list list = { 0 };
        unsigned here = 0;

        *ret = (struct view){ .missing = 0 };
        {
                LOCK_SCOPE(&n->lock);
                n->woken = false;
                if (warm_list_copy(&list, &n->warm) < 0)
                        return error_errno(e, ENOMEM, "look at the warm list");
                ret->is_registered = n->is_registered;
                if (n->is_new_registration) {
                        n->node.not_before_ms = 0;
                        n->taint_is_gone = n->labels_are_known = false;
                        n->registered_ms = n->taint_look_ms = time_monotonic_ms();
                }
                n->is_new_registration = false;
        }
        for (size_t i = 0; i < list.n; i++) {
                struct csi_warm *w = &list.items[i];

                w->is_here = w->reference && n->is_here(n->userdata, w->reference);
                here += w->is_here;
                ret->missing += w->required && !w->is_here;
        }
        if (n->missing > 0 && ret->missing == 0)
                n->node.not_before_ms = 0;
        n->missing = ret->missing;
        csi_labels_make(&ret->labels, list.items, list.n);
        metric_set(WARM_MODELS, here, "here");
        metric_set(WARM_MODELS, (double)(list.n - here), "missing");
        return 0;
}

/* Whenever it comes, it is not to be there. */
static bool minds_taint(const struct csi_node_object *n, const struct view *v) {
        return *n->settings->kubernetes.startup_taint && n->kube && v->is_registered && v->missing == 0;
}

static bool wants_taint_gone(const struct csi_node_object *n, const struct view *v) {
        return minds_taint(n, v) && time_monotonic_ms() >= n->taint_look_ms;
}

static bool wants_labels(const struct csi_node_object *n, const struct view *v, const char *by) {
        return strcmp(n->settings->kubernetes.labels, by) == 0 &&
               (!n->labels_are_known || !csi_labels_equal(&n->labels, &v->labels));
}

/* ---- waiting ---- */

/* Times have jitter: all nodes see the same failure, and many join at once. */
static int64_t backoff_ms(int64_t first_ms, unsigned failures) {
        int64_t wait = first_ms, most = first_ms * BACKOFF_MAX;

        while (failures-- > 1 && wait < most)
                wait *= 2;
        return time_jitter(wait < most ? wait : most);
}

/* ---- the Node ---- */

static void node_path(const struct csi_node_object *n, char path[static 300]) {
        snprintf(path, 300, "/api/v1/nodes/%.253s", n->settings->node.name);
}

static int remove_taint(struct csi_node_object *n, const json_t *node, struct error *e) {
        const char *key = n->settings->kubernetes.startup_taint;
        _cleanup_json_ json_t *patch = NULL;
        char path[300];

        node_path(n, path);
        int r = csi_node_taint_patch(&patch, node, key, e);
        if (r >= 0 && patch)
                r = csi_kube_patch(n->kube, path, CSI_KUBE_JSON_PATCH, patch, CALL_MS, NULL, e);
        if (r < 0)
                return r;
        if (patch)
                log_info("node %s has its start-up taint %s no more: it can serve models",
                         n->settings->node.name, key);
        int64_t now = time_monotonic_ms();
        bool is_soon = now - n->registered_ms < n->times.settles_ms || csi_node_is_joining(node);
        n->taint_is_gone = true;
        n->taint_look_ms = now + time_jitter(is_soon ? n->times.soon_ms : n->times.later_ms);
        return 0;
}

static int put_labels(struct csi_node_object *n, const json_t *node, const struct view *v, struct error *e) {
        _cleanup_json_ json_t *patch = NULL;
        char path[300];

        node_path(n, path);
        int r = csi_node_label_patch(&patch, node, &v->labels, e);
        if (r >= 0 && patch)
                r = csi_kube_patch(n->kube, path, CSI_KUBE_MERGE_PATCH, patch, CALL_MS, NULL, e);
        if (r < 0)
                return r;
        n->labels = v->labels;
        n->labels_are_known = true;
        return 0;
}

/* With @recent what the API server has in memory will do. */
static int change_node(struct csi_node_object *n, const struct view *v, bool recent, struct error *e) {
        _cleanup_json_ json_t *node = NULL;
        char path[300], query[320];

        node_path(n, path);
        snprintf(query, sizeof query, "%s%s", path, recent ? "?resourceVersion=0" : "");
        int r = csi_kube_get(n->kube, query, CALL_MS, &node, e);
        if (r >= 0 && wants_taint_gone(n, v))
                r = remove_taint(n, node, e);
        if (r >= 0 && wants_labels(n, v, "node"))
                r = put_labels(n, node, v, e);
        return r;
}

/* Somebody else has changed the object: 409, or 422 where a test of the patch does not hold. */
static bool is_conflict(const struct error *e) {
        return e->kind == ERROR_EXISTS || e->kind == ERROR_INVALID;
}

static int update_node(struct csi_node_object *n, const struct view *v, struct error *e) {
        int r = 0;

        for (unsigned i = 0; n->kube && i < CONFLICTS_MAX; i++) {
                if (!wants_taint_gone(n, v) && !wants_labels(n, v, "node"))
                        return 0;
                bool only_looks = n->taint_is_gone && !wants_labels(n, v, "node");
                r = change_node(n, v, i == 0 && only_looks, e);
                if (r >= 0 || !is_conflict(e))
                        break;
        }
        return r < 0 ? error_wrap(e, "cannot change node %s", n->settings->node.name) : 0;
}

/* A file of ours that another setting has left would be believed for ever. In the chart's pod the directory
 * is there only with "nfd": the warm list has to be emptied before, as docs/kubernetes.md says. */
static int update_file(struct csi_node_object *n, const struct view *v, struct error *e) {
        static const struct csi_labels none;
        const char *dir = n->settings->kubernetes.nfd_dir;

        if (!wants_labels(n, v, "nfd")) {
                if (strcmp(n->settings->kubernetes.labels, "nfd") != 0)
                        (void)csi_nfd_write(dir, &none, NULL);
                return 0;
        }
        int r = csi_nfd_write(dir, &v->labels, e);
        if (r < 0)
                return r;
        n->labels = v->labels;
        n->labels_are_known = true;
        return 0;
}

/* ---- the loop ---- */

/* Its end, well or not. What is wrong is told once for each change, however often it is tried. */
static void duty_end(struct duty *d, const struct csi_node_object *n, const char *what, int r,
                     const struct error *e) {
        if (r < 0 && e->kind != ERROR_CANCELLED && strcmp(e->text, d->failed.text) != 0)
                log_warning("%s; it is tried again", e->text);
        else if (r >= 0 && *d->failed.text)
                log_info("%s is as it should be again", what);
        d->failed = r < 0 ? *e : (struct error){ 0 }; /* a conflict may have gone before what went well */
        d->failures = r < 0 ? d->failures + 1 : 0;
        d->not_before_ms = r < 0 ? time_monotonic_ms() + backoff_ms(n->times.retry_ms, d->failures) : 0;
}

static void tell_missing(struct csi_node_object *n, const struct view *v) {
        if (!*n->settings->kubernetes.startup_taint || !n->kube || n->taint_is_gone || !v->is_registered)
                return;
        if (v->missing > 0 && v->missing != n->told)
                log_info("the start-up taint stays until the required models are here; %u are missing",
                         v->missing);
        n->told = v->missing;
}

/* All that is due. Returns when there is more to do, -1: when something changes. */
static int64_t do_duties(struct csi_node_object *n) {
        struct error e = { 0 };
        struct view v;
        int64_t now = time_monotonic_ms();
        int r = look(n, &v, &e);

        if (r < 0) {
                duty_end(&n->node, n, "the Node", r, &e);
                return n->node.not_before_ms;
        }
        if (now >= n->file.not_before_ms) {
                r = update_file(n, &v, &e);
                duty_end(&n->file, n, "the labels' file", r, &e);
                e = (struct error){ 0 };
        }
        if (now >= n->node.not_before_ms) {
                r = update_node(n, &v, &e);
                duty_end(&n->node, n, "the Node", r, &e);
        }
        tell_missing(n, &v);
        int64_t next = n->node.failures > 0 ? n->node.not_before_ms
                       : minds_taint(n, &v) ? n->taint_look_ms
                                            : -1;
        if (n->file.failures > 0 && (next < 0 || n->file.not_before_ms < next))
                next = n->file.not_before_ms;
        return next;
}

/* Until @until_ms (-1: for ever) or stopping; with @wakes also until something has changed. False: stop. */
static bool wait_until(struct csi_node_object *n, int64_t until_ms, bool wakes) {
        struct timespec t = { .tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000 };
        int r = 0;

        LOCK_SCOPE(&n->lock);
        while (!n->stopping && !(wakes && n->woken) && r == 0)
                r = until_ms < 0 ? pthread_cond_wait(&n->changed, &n->lock)
                                 : pthread_cond_timedwait(&n->changed, &n->lock, &t);
        return !n->stopping;
}

static void *node_main(void *arg) {
        struct csi_node_object *n = arg;

        for (;;) {
                int64_t next = do_duties(n);

                if (!wait_until(n, time_monotonic_ms() + PAUSE_MS, false) || !wait_until(n, next, true))
                        return NULL;
        }
}

void csi_node_object_wake(struct csi_node_object *n) {
        LOCK_SCOPE(&n->lock);
        n->woken = true;
        pthread_cond_signal(&n->changed);
}

void csi_node_object_registered(struct csi_node_object *n) {
        LOCK_SCOPE(&n->lock);
        n->is_registered = n->is_new_registration = n->woken = true;
        pthread_cond_signal(&n->changed);
}

/* ---- life cycle ---- */

static void destroy(struct csi_node_object *n) {
        warm_list_clear(&n->warm);
        pthread_cond_destroy(&n->changed);
        pthread_mutex_destroy(&n->lock);
        free(n);
}

static const struct csi_node_object_times default_times = { .settles_ms = SETTLES_MS,
                                                            .soon_ms = SOON_MS,
                                                            .later_ms = LATER_MS,
                                                            .retry_ms = BACKOFF_FIRST_MS };

int csi_node_object_start(struct csi_node_object **ret, const struct csi_node_object_options *o,
                          struct error *e) {
        struct csi_node_object *n = calloc(1, sizeof *n);
        pthread_condattr_t monotonic;

        if (!n)
                return error_errno(e, ENOMEM, "cannot look after the Node");
        n->settings = o->settings;
        n->kube = o->kube;
        n->is_here = o->is_here;
        n->userdata = o->userdata;
        n->times = o->times ? *o->times : default_times;
        if (n->kube && !csi_kube_name_is_valid(o->settings->node.name)) {
                log_warning("node.name \"%s\" is no name of a Node: its taint and labels are left alone",
                            o->settings->node.name);
                n->kube = NULL;
        }
        pthread_mutex_init(&n->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&n->changed, &monotonic);
        pthread_condattr_destroy(&monotonic);
        int r = warm_list_make(&n->warm, o->settings->warm, o->settings->n_warm);
        if (r >= 0)
                r = -pthread_create(&n->thread, NULL, node_main, n);
        if (r < 0) {
                destroy(n);
                return error_errno(e, r, "cannot look after the Node");
        }
        *ret = n;
        return 0;
}

void csi_node_object_stop(struct csi_node_object *n) {
        if (!n)
                return;
        {
                LOCK_SCOPE(&n->lock);
                n->stopping = true;
                pthread_cond_signal(&n->changed);
        }
        pthread_join(n->thread, NULL);
}

void csi_node_object_free(struct csi_node_object *n) {
        if (n)
                destroy(n);
}
