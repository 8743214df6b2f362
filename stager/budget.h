/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget: how many connections the node may have, how many of them to one host, and at which rate bytes may
 * be asked for. No I/O and no threads: the reactor's own.
 *
 * There are two classes: volumes that somebody waits for, and warming. While there are volumes, warming gets
 * no more than its share of the node's connections, of each host's, and of the bandwidth. That volumes have
 * their turn first is conns_turn.c's business.
 */
#pragma once

#include "base/error.h"
#include "base/settings.h"
#include "stager/bucket.h"
#include "stager/hosts.h"
#include "stager/pacer.h"
#include "stager/straggler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct budget_host {
        char name[HOSTS_NAME_MAX]; /* "host[:port]"; "": nobody's. May be stale while the place is free */
        unsigned blobs;            /* that come from there now; 0, and no connections: the place is free */
        unsigned used, warm;       /* connections, and of these for warming */
        bool away;                 /* nobody answered there, and nobody has since */
        enum host_ranges ranges;   /* as the profile said when the last blob came */
        struct pacer pacer;
        struct peers peers;
        unsigned noted_limit, noted_used; /* that the profile knows of */
        double median;                    /* of its requests' rates, bytes a second; 0: not known */
        uint64_t cut_ns;                  /* when a request was cut off last */
};

struct budget_rate { /* an entry of `registries` with a bandwidth */
        char *host;
        struct bucket bucket;
};

struct budget {
        unsigned connections, per_host; /* at most */
        unsigned warm_percent;          /* engine.warmShare */
        unsigned used, warm;            /* now */
        unsigned volumes;               /* fetches that are not for warming */
        struct hosts *profiles;         /* where a host's first numbers come from; may be NULL */
        struct budget_host *hosts;      /* places */
        unsigned n_hosts, n_met;        /* those behind n_met were never used */
        struct bucket all, warming;     /* the node's, and warming's share of it */
        struct budget_rate *rates;      /* of hosts */
        size_t n_rates;
};

/* What it needs of @s is copied; @profiles is kept by reference. -ENOMEM. */
int budget_init(struct budget *b, const struct settings *s, struct hosts *profiles);
void budget_destroy(struct budget *b);

/* One more blob comes from @host: its place; -EAGAIN: all places are taken by others. */
int budget_join(struct budget *b, const char *host);
void budget_leave(struct budget *b, int place);
/* How many connections @place could have if nobody else wanted any; at least one. */
unsigned budget_reach(const struct budget *b, int place, uint64_t now_ns);
/* One more connection there: 0, to be given back; -EAGAIN: not now. */
int budget_take(struct budget *b, int place, bool warm, uint64_t now_ns);
void budget_give(struct budget *b, int place, bool warm);

/* The bandwidth of @host; if it has none of its own, that of @registry, which has sent us there. NULL: it is
 * not limited. */
struct bucket *budget_rate(const struct budget *b, const char *host, const char *registry);
/* Milliseconds until something may be asked for again; 0: now. @own: as budget_rate() has said. */
int budget_wait_ms(struct budget *b, struct bucket *own, bool warm, uint64_t now_ns);
void budget_spend(struct budget *b, struct bucket *own, bool warm, uint64_t bytes);
