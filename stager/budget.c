/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections are counted twice, for the node and for a host. A host has a place in the table while it has
 * connections; what was learned about it stays there until another host needs the place, and longer in the
 * profiles.
 */
#include "stager/budget.h"

#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PLACES_MORE 16u /* than connections: for blobs that wait for one */

static int add_rate(struct budget *b, const struct settings_registry *r) {
        struct budget_rate *entry = &b->rates[b->n_rates];

        entry->host = strdup(r->host);
        if (!entry->host)
                return -ENOMEM;
        bucket_init(&entry->bucket, r->bandwidth);
        b->n_rates++;
        return 0;
}

int budget_init(struct budget *b, const struct settings *s, struct hosts *profiles) {
        unsigned connections = s->engine.connections ? s->engine.connections : 1;
        unsigned per_host = s->engine.connections_per_host ? s->engine.connections_per_host : 1;
        const struct settings_amount *share = &s->engine.warm_share;

        *b = (struct budget){ .connections = connections,
                              .per_host = per_host < connections ? per_host : connections,
                              .warm_percent = share->is_percent ? share->percent : 100,
                              .profiles = profiles,
                              .n_hosts = connections + PLACES_MORE };
        bucket_init(&b->all, s->engine.bandwidth);
        bucket_init(&b->warming, s->engine.bandwidth ? 1 + s->engine.bandwidth / 100 * b->warm_percent : 0);
        b->hosts = calloc(b->n_hosts, sizeof *b->hosts);
        b->rates = calloc(s->n_registries + 1, sizeof *b->rates);
        int r = b->hosts && b->rates ? 0 : -ENOMEM;
        for (size_t i = 0; i < s->n_registries && r == 0; i++)
                if (s->registries[i].bandwidth > 0)
                        r = add_rate(b, &s->registries[i]);
        if (r < 0)
                budget_destroy(b);
        return r;
}

void budget_destroy(struct budget *b) {
        for (size_t i = 0; i < b->n_rates; i++)
                free(b->rates[i].host);
        free(b->rates);
        free(b->hosts);
        b->rates = NULL;
        b->hosts = NULL;
        b->n_rates = 0;
}

/* ---- connections ---- */

/* The host's own place, idle or not: it knows what the host bears. Else the first that nobody has had, or the
 * first that is free. */
static int find_place(const struct budget *b, const char *host) {
        int place = -EAGAIN;

        for (unsigned i = 0; i < b->n_hosts; i++) {
                const struct budget_host *h = &b->hosts[i];

                if (*h->name && strncmp(h->name, host, sizeof h->name - 1) == 0)
                        return (int)i;
                if (h->used + h->blobs == 0 && (place < 0 || (!*h->name && *b->hosts[place].name)))
                        place = (int)i;
        }
        return place;
}

int budget_join(struct budget *b, const char *host) {
        struct host_profile known = { .used_ms = 0 };
        int place = find_place(b, host);

        if (place < 0)
                return place;
        struct budget_host *h = &b->hosts[place];
        if (b->profiles)
                hosts_get(b->profiles, host, time_now_ms(), &known);
        if (!*h->name || strncmp(h->name, host, sizeof h->name - 1) != 0) {
                *h = (struct budget_host){ .noted_limit = known.pace.limit };
                snprintf(h->name, sizeof h->name, "%s", host);
                pacer_init(&h->pacer, b->per_host, known.pace.best, known.pace.limit);
        }
        if ((unsigned)place >= b->n_met)
                b->n_met = (unsigned)place + 1;
        h->ranges = known.ranges;
        h->blobs++;
        pacer_join(&h->pacer, h->blobs);
        return place;
}

void budget_leave(struct budget *b, int place) {
        b->hosts[place].blobs--;
}

unsigned budget_reach(const struct budget *b, int place, uint64_t now_ns) {
        unsigned n = pacer_connections(&b->hosts[place].pacer, now_ns);

        return n > 0 ? n : 1;
}

/* Of @n connections. */
static unsigned share_of(const struct budget *b, unsigned n) {
        unsigned share = n * b->warm_percent / 100;

        return share > 0 ? share : 1;
}

int budget_take(struct budget *b, int place, bool warm, uint64_t now_ns) {
        struct budget_host *h = &b->hosts[place];
        unsigned most = pacer_connections(&h->pacer, now_ns);

        if (b->used >= b->connections || h->used >= most)
                return -EAGAIN;
        if (warm && b->volumes > 0 &&
            (b->warm >= share_of(b, b->connections) || h->warm >= share_of(b, most)))
                return -EAGAIN;
        h->used++;
        h->warm += warm;
        b->used++;
        b->warm += warm;
        return 0;
}

void budget_give(struct budget *b, int place, bool warm) {
        b->hosts[place].used--;
        b->hosts[place].warm -= warm;
        b->used--;
        b->warm -= warm;
}

/* ---- bandwidth ---- */

static struct bucket *find_rate(const struct budget *b, const char *host) {
        for (size_t i = 0; i < b->n_rates; i++)
                if (strcasecmp(b->rates[i].host, host) == 0)
                        return &b->rates[i].bucket;
        return NULL;
}

struct bucket *budget_rate(const struct budget *b, const char *host, const char *registry) {
        struct bucket *own = find_rate(b, host);

        return own ? own : find_rate(b, registry);
}

int budget_wait_ms(struct budget *b, struct bucket *own, bool warm, uint64_t now_ns) {
        int wait = bucket_wait_ms(&b->all, now_ns);
        int of_host = own ? bucket_wait_ms(own, now_ns) : 0;
        int of_warming = warm && b->volumes > 0 ? bucket_wait_ms(&b->warming, now_ns) : 0;

        if (wait < of_host)
                wait = of_host;
        return wait < of_warming ? of_warming : wait;
}

void budget_spend(struct budget *b, struct bucket *own, bool warm, uint64_t bytes) {
        bucket_spend(&b->all, bytes);
        if (own)
                bucket_spend(own, bytes);
        if (warm && b->volumes > 0)
                bucket_spend(&b->warming, bytes);
}
