/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread goes through the list, one model after the other, then sleeps until the file changes (inotify on
 * its directory, because Kubernetes swaps a symbolic link to update a ConfigMap), until it is time to try
 * what failed again, or until it is told to stop. A broken file keeps the list as it was.
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

#define RETRY_FIRST_MS 5000 /* after a failure; doubles each time */
#define RETRY_MAX_MS (5 * 60 * 1000)

struct warmlist {
        const struct settings *settings; /* of the start */
        struct settings *current;        /* of the file as it is now; NULL: as at the start */
        const char *config;
        struct cache *cache;
        struct stager *stager;
        pthread_t thread;
        int stop_fd;           /* eventfd */
        int watch_fd;          /* inotify, or -1 */
        pthread_mutex_t lock;  /* guards the two below */
        struct stage_job *job; /* that the thread waits for */
        bool stopping;
};

/* stage_job_wait() that warmlist_stop() can end. False: not ready, or stopping. */
static bool warm_wait(struct warmlist *w, struct stage_job *job, struct stage_outcome *outcome,
                      struct error *e) {
        {
                LOCK_SCOPE(&w->lock);
                if (w->stopping)
                        return false;
                w->job = job;
        }
        int r = stage_job_wait(job, -1, outcome, e);
        LOCK_SCOPE(&w->lock);
        w->job = NULL;
        return r >= 0;
}

/* Stages one model and pins it if that is asked for. False: it is to be tried again. */
static bool warm_one(struct warmlist *w, const struct settings_warm *item) {
        _cleanup_(oci_reference_freep) struct oci_reference *reference = NULL;
        _cleanup_(stage_job_leavep) struct stage_job *job = NULL;
        struct stage_outcome outcome;
        struct error e = { 0 };
        char took[TEXT_SHORT];

        int r = oci_reference_parse(&reference, item->model, &e);
        if (r >= 0)
                r = stager_stage(&job, w->stager, &(struct stage_request){ .reference = reference }, &e);
        if (r >= 0 && warm_wait(w, job, &outcome, &e)) {
                r = item->pin ? cache_model_pin(w->cache, &outcome.key, true, 0, &e) : 0;
                if (r >= 0 && outcome.result != STAGE_HIT)
                        log_info("warmed %s in %s", reference->text,
                                 text_format_duration(outcome.elapsed_ms, took));
                if (r >= 0)
                        return true;
        }
        LOCK_SCOPE(&w->lock);
        if (!w->stopping)
                log_warning("cannot warm %s: %s", item->model, e.text);
        return false;
}

static bool warm_all(struct warmlist *w) {
        const struct settings *s = w->current ? w->current : w->settings;
        bool all = true;

        for (size_t i = 0; i < s->n_warm; i++)
                all = warm_one(w, &s->warm[i]) && all;
        return all;
}

static void reload(struct warmlist *w) {
        struct settings *fresh = NULL;
        struct error e = { 0 };
        char events[4096];

        while (read(w->watch_fd, events, sizeof events) > 0)
                ;
        if (settings_new(&fresh, &e) < 0 || settings_load_file(fresh, w->config, &e) < 0 ||
            settings_check(fresh, &e) < 0) {
                log_warning("%s has changed but is not usable, the warm list stays as it was: %s", w->config,
                            e.text);
                settings_free(fresh);
                return;
        }
        settings_free(w->current);
        w->current = fresh;
}

/* Until the file changes (then it has been read), @timeout_ms has passed (-1: never), or false: stop. */
static bool sleep_until_needed(struct warmlist *w, int timeout_ms) {
        struct pollfd fds[] = { { .fd = w->stop_fd, .events = POLLIN },
                                { .fd = w->watch_fd, .events = POLLIN } };

        (void)poll(fds, w->watch_fd >= 0 ? 2 : 1, timeout_ms);
        if (fds[0].revents)
                return false;
        if (w->watch_fd >= 0 && fds[1].revents)
                reload(w);
        return true;
}

static void *warmlist_main(void *arg) {
        struct warmlist *w = arg;
        int retry_ms = RETRY_FIRST_MS;

        for (;;) {
                bool all = warm_all(w);
                if (!sleep_until_needed(w, all ? -1 : retry_ms))
                        return NULL;
                retry_ms = all ? RETRY_FIRST_MS : retry_ms * 2 < RETRY_MAX_MS ? retry_ms * 2 : RETRY_MAX_MS;
        }
}

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

int warmlist_start(struct warmlist **ret, const struct settings *s, const char *config, struct cache *c,
                   struct stager *stager, struct error *e) {
        struct warmlist *w = calloc(1, sizeof *w);

        if (!w)
                return error_errno(e, ENOMEM, "cannot start warming");
        *w = (struct warmlist){ .settings = s, .config = config, .cache = c, .stager = stager };
        pthread_mutex_init(&w->lock, NULL);
        w->watch_fd = watch_directory(config);
        w->stop_fd = eventfd(0, EFD_CLOEXEC);
        int r = w->stop_fd < 0 ? errno : pthread_create(&w->thread, NULL, warmlist_main, w);
        if (r != 0) {
                cleanup_close(&w->watch_fd);
                cleanup_close(&w->stop_fd);
                pthread_mutex_destroy(&w->lock);
                free(w);
                return error_errno(e, r, "cannot start warming");
        }
        *ret = w;
        return 0;
}

void warmlist_stop(struct warmlist *w) {
        if (!w)
                return;
        {
                LOCK_SCOPE(&w->lock);
                w->stopping = true;
                if (w->job)
                        stage_job_interrupt(w->job);
        }
        (void)eventfd_write(w->stop_fd, 1);
        pthread_join(w->thread, NULL);
        cleanup_close(&w->watch_fd);
        cleanup_close(&w->stop_fd);
        settings_free(w->current);
        pthread_mutex_destroy(&w->lock);
        free(w);
}
