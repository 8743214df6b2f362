/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread goes through the list, one model after the other, required ones first, then sleeps until the
 * file changes, until it is time to try what failed again, or until it is told to stop.
 *
 *   round: model, model, … --all here--> sleep --the file has changed--> round
 *     ^                 |----something failed--> sleep for a while ------> round
 *     '-- another list--'
 *
 * The file is looked at while a model is waited for, too: a new list begins a new round at once, and what was
 * being staged goes on, because a job belongs to the node. inotify watches the file's directory, because
 * Kubernetes updates a ConfigMap by renaming a symbolic link, ..data. A broken file keeps the list as it was.
 */
#include "tools/modelstaged/warmlist.h"

#include <libgen.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include "base/log.h"
#include "base/text.h"

#define LOOK_MS 200 /* how often the file is looked at while a model is waited for */
#define RETRY_FIRST_MS 5000
#define RETRY_MAX_MS (5 * 60 * 1000)

struct warmlist {
        const struct options *options;
        struct settings *current; /* of the file as it is now; NULL: as at the start */
        struct cache *cache;
        struct stager *stager;
        struct csi_node_object *node; /* may be NULL */
        pthread_t thread;
        int stop_fd;  /* eventfd */
        int watch_fd; /* inotify, or -1 */
};

enum round {
        ROUND_GOOD,  /* all is here */
        ROUND_BAD,   /* something failed */
        ROUND_STALE, /* there is another list */
        ROUND_STOP,
};

static const struct settings *settings_now(const struct warmlist *w) {
        return w->current ? w->current : w->options->settings;
}

/* ---- the file ---- */

static bool is_same_list(const struct settings *a, const struct settings *b) {
        if (a->n_warm != b->n_warm)
                return false;
        for (size_t i = 0; i < a->n_warm; i++)
                if (strcmp(a->warm[i].model, b->warm[i].model) != 0 || a->warm[i].pin != b->warm[i].pin ||
                    a->warm[i].required != b->warm[i].required)
                        return false;
        return true;
}

/* True: the list is another one now. */
static bool reload(struct warmlist *w) {
        _cleanup_(settings_freep) struct settings *fresh = NULL;
        struct error e = { 0 };

        if (options_load(&fresh, w->options, &e) < 0) {
                log_warning("%s has changed but is not usable, the warm list stays as it was: %s",
                            w->options->config, e.text);
                return false;
        }
        if (is_same_list(settings_now(w), fresh))
                return false;
        if (w->node && csi_node_object_set_warm(w->node, fresh->warm, fresh->n_warm) < 0) {
                log_warning("out of memory: the warm list stays as it was");
                return false;
        }
        log_info("the warm list has changed: %zu models", fresh->n_warm);
        settings_free(w->current);
        w->current = take_ptr(fresh);
        return true;
}

/* Waits for what happens; ROUND_GOOD: nothing has, within @timeout_ms. */
static enum round look(struct warmlist *w, int timeout_ms) {
        struct pollfd fds[] = { { .fd = w->stop_fd, .events = POLLIN },
                                { .fd = w->watch_fd, .events = POLLIN } };
        char events[4096];

        (void)poll(fds, w->watch_fd >= 0 ? 2 : 1, timeout_ms);
        if (fds[0].revents)
                return ROUND_STOP;
        if (w->watch_fd < 0 || !fds[1].revents)
                return ROUND_GOOD;
        while (read(w->watch_fd, events, sizeof events) > 0)
                ;
        return reload(w) ? ROUND_STALE : ROUND_GOOD;
}

/* ---- a round ---- */

static enum round warm_wait(struct warmlist *w, struct stage_job *job, struct stage_outcome *outcome,
                            struct error *e) {
        while (stage_job_wait(job, LOOK_MS, outcome, e) < 0) {
                if (e->kind != ERROR_IN_PROGRESS)
                        return ROUND_BAD;
                enum round seen = look(w, 0);
                if (seen != ROUND_GOOD)
                        return seen;
        }
        return ROUND_GOOD;
}

static int warm_done(struct warmlist *w, const struct settings_warm *item,
                     const struct stage_outcome *outcome, struct error *e) {
        char took[TEXT_SHORT];
        int r = item->pin ? cache_model_pin(w->cache, &outcome->key, true, 0, e) : 0;

        if (r >= 0 && outcome->result != STAGE_HIT)
                log_info("warmed %s in %s", item->model, text_format_duration(outcome->elapsed_ms, took));
        if (w->node)
                csi_node_object_wake(w->node);
        return r;
}

static enum round warm_one(struct warmlist *w, const struct settings_warm *item) {
        _cleanup_(oci_reference_freep) struct oci_reference *reference = NULL;
        _cleanup_(stage_job_leavep) struct stage_job *job = NULL;
        struct stage_outcome outcome;
        enum round round = ROUND_BAD;
        struct error e = { 0 };

        int r = oci_reference_parse(&reference, item->model, &e);
        if (r >= 0)
                r = stager_stage(&job, w->stager, &(struct stage_request){ .reference = reference }, &e);
        if (r >= 0)
                round = warm_wait(w, job, &outcome, &e);
        if (round == ROUND_GOOD && warm_done(w, item, &outcome, &e) < 0)
                round = ROUND_BAD;
        if (round == ROUND_BAD)
                log_warning("cannot warm %s: %s", item->model, e.text);
        return round;
}

static enum round warm_those(struct warmlist *w, bool required) {
        const struct settings *s = settings_now(w);
        enum round all = ROUND_GOOD;

        for (size_t i = 0; i < s->n_warm; i++) {
                if (s->warm[i].required != required)
                        continue;
                enum round one = look(w, 0);

                if (one == ROUND_GOOD)
                        one = warm_one(w, &s->warm[i]);
                if (one == ROUND_STALE || one == ROUND_STOP)
                        return one;
                if (one == ROUND_BAD)
                        all = one;
        }
        return all;
}

/* The node keeps its start-up taint until those that are required are here, so nothing goes before them. */
static enum round warm_all(struct warmlist *w) {
        enum round required = warm_those(w, true);

        if (required == ROUND_STALE || required == ROUND_STOP)
                return required;
        enum round others = warm_those(w, false);
        return others == ROUND_GOOD ? required : others;
}

/* Until there is another list, until it is time to try again (-1: never), or until it is told to stop. */
static enum round rest(struct warmlist *w, int64_t for_ms) {
        int64_t until = for_ms < 0 ? INT64_MAX : time_monotonic_ms() + for_ms;
        enum round seen = ROUND_GOOD;

        while (seen == ROUND_GOOD) {
                int64_t left = until - time_monotonic_ms();

                if (for_ms >= 0 && left <= 0)
                        break;
                seen = look(w, for_ms < 0 ? -1 : (int)left);
        }
        return seen;
}

static void *warmlist_main(void *arg) {
        struct warmlist *w = arg;
        int64_t retry_ms = RETRY_FIRST_MS;

        if (w->watch_fd >= 0)
                (void)reload(w); /* what was changed before it was watched */
        for (;;) {
                enum round round = warm_all(w);

                if (round == ROUND_GOOD || round == ROUND_BAD)
                        round = rest(w, round == ROUND_GOOD ? -1 : retry_ms);
                if (round == ROUND_STOP)
                        return NULL;
                /* Here because of another list, or because it is time to try again. */
                retry_ms = round == ROUND_STALE          ? RETRY_FIRST_MS
                           : retry_ms * 2 < RETRY_MAX_MS ? retry_ms * 2
                                                         : RETRY_MAX_MS;
        }
}

/* ---- life cycle ---- */

static int watch_directory(const char *file) {
        _cleanup_free_ char *copy = file ? strdup(file) : NULL;
        _cleanup_close_ int fd = -1;

        if (!copy)
                return -1;
        fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (fd < 0 || inotify_add_watch(fd, dirname(copy), IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE) < 0)
                return -1;
        return take_fd(fd);
}

int warmlist_start(struct warmlist **ret, const struct options *o, struct cache *c, struct stager *stager,
                   struct csi_node_object *node, struct error *e) {
        struct warmlist *w = calloc(1, sizeof *w);

        if (!w)
                return error_errno(e, ENOMEM, "cannot start warming");
        *w = (struct warmlist){ .options = o, .cache = c, .stager = stager, .node = node };
        w->watch_fd = watch_directory(o->config);
        w->stop_fd = eventfd(0, EFD_CLOEXEC);
        int r = w->stop_fd < 0 ? errno : pthread_create(&w->thread, NULL, warmlist_main, w);
        if (r != 0) {
                cleanup_close(&w->watch_fd);
                cleanup_close(&w->stop_fd);
                free(w);
                return error_errno(e, r, "cannot start warming");
        }
        *ret = w;
        return 0;
}

void warmlist_stop(struct warmlist *w) {
        if (!w)
                return;
        (void)eventfd_write(w->stop_fd, 1);
        pthread_join(w->thread, NULL);
        cleanup_close(&w->watch_fd);
        cleanup_close(&w->stop_fd);
        settings_free(w->current);
        free(w);
}
