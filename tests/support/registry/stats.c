/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters lie in a search tree by path, the last requests in a ring. One lock guards all; it is held for a
 * few instructions per request, never while bytes go out. A reset keeps the nodes of the tree (requests under
 * way point to them) and zeroes what they count. Those requests are still under way but count no more, for
 * their client may have had all of the answer before the reset.
 */
#include "stats.h"

#include "base/cleanup.h"

#include <search.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define RING 10000
#define PATHS_MAX 50000 /* what comes beyond is counted under "other" */

struct stats_path {
        char *path;
        uint64_t requests, bytes, now, max;
        unsigned status[600];
};

struct logged {
        char method[8], path[200], range[48], host[64], scheme[16];
        int status;
        enum listener listener;
        uint64_t bytes;
        int64_t start_ns, end_ns;
};

static struct {
        pthread_mutex_t lock; /* guards what follows */
        void *paths;
        size_t n_paths;
        uint64_t requests, bytes, tokens, entered, resets;
        unsigned schemes[_LISTENER_MAX][3]; /* basic, bearer, other */
        int connections, max_connections;
        struct logged ring[RING];
} stats = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const char *const schemes[] = { "basic", "bearer", "other" };

static int64_t now_ns(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int compare(const void *a, const void *b) {
        return strcmp(((const struct stats_path *)a)->path, ((const struct stats_path *)b)->path);
}

static struct stats_path *find_path(const char *path) {
        struct stats_path key = { .path = (char *)path };
        struct stats_path **node = tfind(&key, &stats.paths, compare);

        if (node)
                return *node;
        if (stats.n_paths == PATHS_MAX)
                key.path = (char *)"other";
        struct stats_path *p = calloc(1, sizeof *p);

        if (!p || !(p->path = strdup(key.path)) || !(node = tsearch(p, &stats.paths, compare)))
                abort();
        if (*node != p) {
                free(p->path);
                free(p);
        } else
                stats.n_paths++;
        return *node;
}

/* 0: no credentials, else the place in schemes[] plus one. */
static unsigned scheme_of(const struct http_request *r) {
        return !r->authorization[0]                               ? 0
               : strncasecmp(r->authorization, "Basic ", 6) == 0  ? 1
               : strncasecmp(r->authorization, "Bearer ", 7) == 0 ? 2
                                                                  : 3;
}

void stats_enter(struct stats_entry *ret, const struct http_request *r) {
        LOCK_SCOPE(&stats.lock);
        struct stats_path *p = find_path(r->path);
        unsigned scheme = scheme_of(r);

        if (++p->now > p->max)
                p->max = p->now;
        if (scheme > 0)
                stats.schemes[r->listener][scheme - 1]++;
        *ret = (struct stats_entry){
                .path = p, .number = ++stats.entered, .resets = stats.resets, .start_ns = now_ns()
        };
}

void stats_sent(const struct stats_entry *e, uint64_t bytes) {
        LOCK_SCOPE(&stats.lock);
        if (e->resets != stats.resets)
                return;
        e->path->bytes += bytes;
        stats.bytes += bytes;
}

void stats_leave(const struct stats_entry *e, const struct http_request *r, int status, uint64_t bytes) {
        LOCK_SCOPE(&stats.lock);
        e->path->now--;
        if (e->resets != stats.resets)
                return;
        struct logged *l = &stats.ring[stats.requests++ % RING];
        unsigned scheme = scheme_of(r);

        e->path->requests++;
        e->path->status[status >= 0 && status < 600 ? status : 0]++;
        *l = (struct logged){ .status = status, .listener = r->listener, .bytes = bytes };
        l->start_ns = e->start_ns;
        l->end_ns = now_ns();
        snprintf(l->method, sizeof l->method, "%.7s", r->method);
        snprintf(l->path, sizeof l->path, "%.199s", r->path);
        snprintf(l->range, sizeof l->range, "%.47s", r->range);
        snprintf(l->host, sizeof l->host, "%.63s", r->host);
        snprintf(l->scheme, sizeof l->scheme, "%s", scheme > 0 ? schemes[scheme - 1] : "");
}

void stats_token(void) {
        LOCK_SCOPE(&stats.lock);
        stats.tokens++;
}

void stats_connection(int delta) {
        LOCK_SCOPE(&stats.lock);
        stats.connections += delta;
        if (stats.connections > stats.max_connections)
                stats.max_connections = stats.connections;
}

static json_t *path_json(const struct stats_path *p) {
        json_t *status = json_object();
        char number[16];

        for (unsigned i = 0; i < 600; i++)
                if (p->status[i] > 0) {
                        snprintf(number, sizeof number, "%u", i);
                        json_object_set_new(status, number, json_integer(p->status[i]));
                }
        return json_pack("{s:I, s:I, s:I, s:I, s:o}", "requests", (json_int_t)p->requests, "bytes",
                         (json_int_t)p->bytes, "now", (json_int_t)p->now, "maxConcurrent", (json_int_t)p->max,
                         "status", status);
}

static void add_path(const void *node, VISIT which, void *closure) {
        const struct stats_path *p = *(struct stats_path *const *)node;

        if ((which == postorder || which == leaf) && p->requests + p->now > 0)
                json_object_set_new(closure, p->path, path_json(p));
}

static json_t *requests_json(void) {
        json_t *list = json_array();

        for (uint64_t i = stats.requests > RING ? stats.requests - RING : 0; i < stats.requests; i++) {
                const struct logged *l = &stats.ring[i % RING];

                json_array_append_new(
                    list,
                    json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:s, s:b, s:s, s:I, s:I}", "method", l->method,
                              "path", l->path, "range", l->range, "host", l->host, "status", l->status,
                              "bytes", (json_int_t)l->bytes, "listener", listener_names[l->listener],
                              "authorized", l->scheme[0] != '\0', "scheme", l->scheme, "startNs",
                              (json_int_t)l->start_ns, "endNs", (json_int_t)l->end_ns));
        }
        return list;
}

static json_t *schemes_json(void) {
        json_t *all = json_object();

        for (unsigned i = 0; i < _LISTENER_MAX; i++) {
                json_t *list = json_array();

                for (unsigned k = 0; k < 3; k++)
                        if (stats.schemes[i][k] > 0)
                                json_array_append_new(list, json_string(schemes[k]));
                json_object_set_new(all, listener_names[i], list);
        }
        return all;
}

json_t *stats_json(bool with_requests) {
        json_t *paths = json_object(), *ret;

        LOCK_SCOPE(&stats.lock);
        twalk_r(stats.paths, add_path, paths);
        ret = json_pack("{s:I, s:I, s:I, s:i, s:i, s:o, s:o}", "requests", (json_int_t)stats.requests,
                        "bytes", (json_int_t)stats.bytes, "tokens", (json_int_t)stats.tokens, "connections",
                        stats.connections, "maxConnections", stats.max_connections, "paths", paths, "schemes",
                        schemes_json());
        if (ret && with_requests)
                json_object_set_new(ret, "log", requests_json());
        return ret;
}

static void zero_path(const void *node, VISIT which, void *closure) {
        struct stats_path *p = *(struct stats_path *const *)node;

        (void)closure;
        if (which != postorder && which != leaf)
                return;
        p->requests = p->bytes = 0;
        p->max = p->now;
        memset(p->status, 0, sizeof p->status);
}

void stats_reset(void) {
        LOCK_SCOPE(&stats.lock);
        twalk_r(stats.paths, zero_path, NULL);
        stats.requests = stats.bytes = stats.tokens = stats.entered = 0;
        stats.resets++;
        stats.max_connections = stats.connections;
        memset(stats.schemes, 0, sizeof stats.schemes);
}
