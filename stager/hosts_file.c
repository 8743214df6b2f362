/* SPDX-License-Identifier: Apache-2.0 */
/*
 * {"version": 1, "hosts": [{"host", "used", "ranges", "rangesSeen", "best", "rate", "limit", "limitSeen",
 *                           "latency"}]}
 *
 * The file lies where only the daemon writes, and is read as if anybody did: what it says is no more than
 * where to begin.
 */
#include "base/json.h"
#include "base/path.h"
#include "stager/hosts_table.h"

#include <stdio.h>
#include <string.h>

#define FILE_MAX ((size_t)256 << 10)
#define VERSION 1
#define CONNECTIONS_MAX 512u
#define RATE_MAX ((uint64_t)1 << 50)
#define LATENCY_MAX ((uint64_t)600 * 1000 * 1000)
#define FORGOTTEN_MS ((int64_t)90 * 24 * 60 * 60 * 1000) /* not used for so long */

static bool is_name(const char *s) {
        size_t len = strlen(s);

        if (len == 0 || len >= HOSTS_NAME_MAX)
                return false;
        for (; *s; s++)
                if (*s <= ' ' || *s > '~')
                        return false;
        return true;
}

static int parse_ranges(enum host_ranges *ret, const char *text) {
        for (int i = 0; i < _HOST_RANGES_MAX; i++)
                if (strcmp(text, host_ranges_name((enum host_ranges)i)) == 0) {
                        *ret = (enum host_ranges)i;
                        return 0;
                }
        return -EINVAL;
}

/* False: it makes no sense. */
static bool parse_host(struct host_profile *ret, const json_t *o, int64_t now_ms) {
        const char *name, *ranges;
        uint64_t used, ranges_seen, best, rate, limit, limit_seen, latency;
        struct error e;

        *ret = (struct host_profile){ .used_ms = 0 };
        if (!json_is_object(o) || json_get_string(&name, o, "host", &e) < 0 || !is_name(name) ||
            json_get_size(&used, o, "used", &e) < 0 || json_opt_string(&ranges, o, "ranges", "", &e) < 0 ||
            parse_ranges(&ret->ranges, ranges) < 0 ||
            json_opt_size(&ranges_seen, o, "rangesSeen", 0, &e) < 0 ||
            json_opt_size(&best, o, "best", 0, &e) < 0 || best > CONNECTIONS_MAX ||
            json_opt_size(&rate, o, "rate", 0, &e) < 0 || rate > RATE_MAX ||
            json_opt_size(&limit, o, "limit", 0, &e) < 0 || limit > CONNECTIONS_MAX ||
            json_opt_size(&limit_seen, o, "limitSeen", 0, &e) < 0 ||
            json_opt_size(&latency, o, "latency", 0, &e) < 0 || latency > LATENCY_MAX)
                return false;
        if ((int64_t)used > now_ms || now_ms - (int64_t)used > FORGOTTEN_MS)
                return false;
        snprintf(ret->name, sizeof ret->name, "%s", name);
        ret->used_ms = (int64_t)used;
        ret->ranges_ms = (int64_t)ranges_seen;
        ret->limit_ms = (int64_t)limit_seen;
        ret->pace = (struct host_pace){
                .best = (unsigned)best, .limit = (unsigned)limit, .rate = rate, .latency_us = latency
        };
        return true;
}

static void take(struct hosts *h, const json_t *list, int64_t now_ms) {
        struct host_profile p;
        size_t i;
        json_t *o;

        LOCK_SCOPE(&h->lock);
        json_array_foreach (list, i, o)
                if (h->n < HOSTS_MAX && parse_host(&p, o, now_ms))
                        *hosts_claim(h, p.name) = p;
}

static int read_file(struct hosts *h, int dir_fd, const char *name, int64_t now_ms, struct error *e) {
        _cleanup_free_ char *data = NULL;
        _cleanup_json_ json_t *root = NULL;
        uint64_t version = 0;
        json_t *list = NULL;
        size_t len = 0;
        int r = path_read_file(&data, &len, dir_fd, name, FILE_MAX, e);

        if (r == -ENOENT)
                return 0;
        if (r < 0 || (r = json_parse(&root, data, len, FILE_MAX, name, e)) < 0 ||
            (r = json_get_size(&version, root, "version", e)) < 0 ||
            (r = json_opt_array(&list, root, "hosts", e)) < 0)
                return r;
        if (version != VERSION)
                return error_set(e, ERROR_INVALID, "%s has version %llu, this is %d", name,
                                 (unsigned long long)version, VERSION);
        if (list)
                take(h, list, now_ms);
        return 0;
}

int hosts_load(struct hosts *h, int dir_fd, const char *name, int64_t now_ms, struct error *e) {
        int r = read_file(h, dir_fd, name, now_ms, e);

        LOCK_SCOPE(&h->lock);
        h->changed = r < 0; /* then a good one takes its place */
        return r;
}

static json_t *host_json(const struct host_profile *p) {
        return json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "host", p->name, "used",
                         (json_int_t)p->used_ms, "ranges", host_ranges_name(p->ranges), "rangesSeen",
                         (json_int_t)p->ranges_ms, "best", (json_int_t)p->pace.best, "rate",
                         (json_int_t)p->pace.rate, "limit", (json_int_t)p->pace.limit, "limitSeen",
                         (json_int_t)p->limit_ms, "latency", (json_int_t)p->pace.latency_us);
}

/* The text of the file; NULL: out of memory, or nothing has changed (*ret_changed). */
static char *dump(struct hosts *h, bool *ret_changed) {
        _cleanup_json_ json_t *root = json_object();
        json_t *list = json_array();

        if (!root || json_object_set_new(root, "version", json_integer(VERSION)) < 0 ||
            json_object_set_new(root, "hosts", list) < 0)
                return NULL;
        {
                LOCK_SCOPE(&h->lock);
                *ret_changed = h->changed;
                h->changed = false;
                for (size_t i = 0; i < h->n; i++)
                        if (json_array_append_new(list, host_json(&h->list[i])) < 0)
                                return NULL;
        }
        return json_dumps(root, JSON_INDENT(1));
}

int hosts_save(struct hosts *h, int dir_fd, const char *name, struct error *e) {
        bool changed = true;
        _cleanup_free_ char *text = dump(h, &changed);
        int r;

        if (!changed)
                return 0;
        r = text ? path_write_file(dir_fd, name, text, strlen(text), 0600, e)
                 : error_errno(e, ENOMEM, "write %s", name);
        if (r < 0) {
                LOCK_SCOPE(&h->lock);
                h->changed = true; /* the next one tries again */
        }
        return r;
}
