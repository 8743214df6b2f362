/* SPDX-License-Identifier: Apache-2.0 */
/* The table. It is small and looked at when a connection to another host begins, so it is searched from end
 * to end. Reading and writing the file: hosts_file.c. */
#include "stager/hosts_table.h"

#include <stdio.h>
#include <string.h>

#define BELIEVED_MS ((int64_t)24 * 60 * 60 * 1000) /* refusals, ranges that were not honoured */

const char *host_ranges_name(enum host_ranges r) {
        static const char *const names[] = {
                [HOST_RANGES_UNKNOWN] = "",
                [HOST_RANGES_HONOURED] = "honoured",
                [HOST_RANGES_IGNORED] = "ignored",
                [HOST_RANGES_BROKEN] = "broken",
        };
        _Static_assert(sizeof names / sizeof *names == _HOST_RANGES_MAX, "one name each");

        return names[r];
}

struct hosts *hosts_new(void) {
        struct hosts *h = calloc(1, sizeof *h);

        if (!h)
                return NULL;
        pthread_mutex_init(&h->lock, NULL);
        h->refs = 1;
        return h;
}

struct hosts *hosts_ref(struct hosts *h) {
        h->refs++;
        return h;
}

void hosts_unref(struct hosts *h) {
        if (!h || --h->refs > 0)
                return;
        pthread_mutex_destroy(&h->lock);
        free(h);
}

static struct host_profile *find(struct hosts *h, const char *name) {
        for (size_t i = 0; i < h->n; i++)
                if (strcmp(h->list[i].name, name) == 0)
                        return &h->list[i];
        return NULL;
}

struct host_profile *hosts_claim(struct hosts *h, const char *name) {
        struct host_profile *p = find(h, name);

        if (p)
                return p;
        if (h->n < HOSTS_MAX) {
                p = &h->list[h->n++];
        } else {
                p = &h->list[0];
                for (size_t i = 1; i < h->n; i++)
                        if (h->list[i].used_ms < p->used_ms)
                                p = &h->list[i];
        }
        *p = (struct host_profile){ .used_ms = 0 };
        snprintf(p->name, sizeof p->name, "%s", name);
        return p;
}

static bool is_old(int64_t then_ms, int64_t now_ms) {
        return now_ms - then_ms > BELIEVED_MS || then_ms > now_ms; /* the clock may have been wrong */
}

/* What is not believed any more goes. */
static void age(struct host_profile *p, int64_t now_ms) {
        if (p->ranges > HOST_RANGES_HONOURED && is_old(p->ranges_ms, now_ms))
                p->ranges = HOST_RANGES_UNKNOWN;
        if (p->pace.limit > 0 && is_old(p->limit_ms, now_ms))
                p->pace.limit = 0;
}

void hosts_get(struct hosts *h, const char *name, int64_t now_ms, struct host_profile *ret) {
        LOCK_SCOPE(&h->lock);
        struct host_profile *p = find(h, name);

        *ret = (struct host_profile){ .used_ms = 0 };
        if (!p)
                return;
        age(p, now_ms);
        *ret = *p;
}

void hosts_note_ranges(struct hosts *h, const char *name, enum host_ranges r, int64_t now_ms) {
        LOCK_SCOPE(&h->lock);
        struct host_profile *p = hosts_claim(h, name);

        h->changed = h->changed || p->ranges != r || is_old(p->ranges_ms, now_ms);
        p->ranges = r;
        p->ranges_ms = p->used_ms = now_ms;
}

void hosts_note_pace(struct hosts *h, const char *name, const struct host_pace *pace, int64_t now_ms) {
        LOCK_SCOPE(&h->lock);
        struct host_profile *p = hosts_claim(h, name);

        if (pace->limit > 0 && pace->limit != p->pace.limit)
                p->limit_ms = now_ms;
        p->pace = *pace;
        p->used_ms = now_ms;
        h->changed = true;
}

void hosts_note_connections(struct hosts *h, const char *name, unsigned n, int64_t now_ms) {
        LOCK_SCOPE(&h->lock);
        struct host_profile *p = hosts_claim(h, name);

        p->connections = n;
        p->used_ms = now_ms;
}

static int compare(const void *a, const void *b) {
        const struct host_profile *x = a, *y = b;

        return x->used_ms != y->used_ms ? (x->used_ms < y->used_ms ? 1 : -1) : strcmp(x->name, y->name);
}

int hosts_list(struct hosts *h, int64_t now_ms, struct host_profile **ret, size_t *ret_n) {
        LOCK_SCOPE(&h->lock);
        struct host_profile *copy = calloc(h->n + 1, sizeof *copy);

        if (!copy)
                return -ENOMEM;
        for (size_t i = 0; i < h->n; i++) {
                age(&h->list[i], now_ms);
                copy[i] = h->list[i];
        }
        qsort(copy, h->n, sizeof *copy, compare);
        *ret = copy;
        *ret_n = h->n;
        return 0;
}
