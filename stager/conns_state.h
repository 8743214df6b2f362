/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conns_state: what the files of conns share. Internal to conns*.c; the reactor's own.
 *
 *   conns.c        requests: begun, received, ended, judged
 *   conns_turn.c   whose turn it is to have a connection, and how long its range becomes
 *   conns_watch.c  how it goes: the pace of each host, stragglers, what is kept of a host
 */
#pragma once

#include "stager/conns.h"

#define CONN_MAGIC 0x434f4e4eu

struct conn {
        unsigned magic;
        struct conns *conns;
        CURL *easy;
        struct fetch *fetch;      /* NULL: idle */
        struct range *range;      /* RUNNING; NULL: idle */
        uint64_t from, to;        /* as asked for; [from, to) */
        int place;                /* in the budget */
        bool warm;                /* its class when it was taken from the budget */
        struct bucket *rate;      /* that streams spend as they go; NULL: none */
        bool judged, paused;      /* the headers are; on_data() refused what curl gave, until resume() */
        size_t taken;             /* of what curl gives again after a pause */
        enum oci_verdict verdict; /* of the headers */
        struct error error;       /* why, unless the verdict is OK */
        uint64_t counted;         /* bytes for the metric, not yet added */
        uint64_t received;        /* bytes of this request */
        struct lap lap;
};

struct conns {
        struct arena *arena;
        struct sockets *sockets;
        struct hosts *hosts; /* the engine's */
        struct budget budget;
        struct conn *all;
        unsigned n, busy;      /* engine.connections; of these at work */
        size_t range_segments; /* engine.rangeSize; see limits_of() */
        struct fetch *fetches;
        unsigned n_fetches;
        uint64_t watched_ns; /* conns_watch() last */
        bool is_time;        /* it was in this turn */
};

static inline struct budget_host *conn_host(const struct conn *c) {
        return &c->conns->budget.hosts[c->place];
}

/* conns.c */
void conn_start(struct conn *c, struct fetch *f, struct range *r); /* place, warm and rate are set */
void conn_cut_off(struct conn *c, unsigned pieces);   /* what is left of its range is for @pieces others */
void conns_degrade(struct conns *c, struct fetch *f); /* no ranges: one stream from now on */

/* conns_turn.c */
struct fetch_limits conns_limits(const struct conns *c, const struct fetch *f);
/* Gives idle connections work. *ret_wait_ms is lowered to the time until there may be more. */
void conns_start_all(struct conns *c, int64_t *ret_wait_ms);

/* conns_watch.c */
void conns_watch(struct conns *c); /* before others get the connections that it frees */
/* After that. *ret_wait_ms is lowered likewise. */
void conns_pace(struct conns *c, int64_t *ret_wait_ms);
void conns_note_ranges(struct conns *c, struct budget_host *h, enum host_ranges r);
