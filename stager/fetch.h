/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch: which bytes of one blob are to be asked for next, and what becomes of those that come. No I/O:
 * conns.c asks and tells. The reactor's own, but for the host and the counters.
 *
 *   range:  READY --(handed out)--> RUNNING --(all there)--> gone
 *             ^                         |
 *             +---(failed: waits)-------+
 *
 * A range that runs may be cut off, so that others take over what it lacks, or be split, so that another one
 * takes its second half while it goes on.
 *
 * The segments of a range are taken when it is made, so a range that runs never waits for memory, and the
 * range at the window's front always has its own: the front always moves on. A server without ranges gives
 * one stream instead, which takes segments as it goes and is paused when there are none; it starts from zero
 * after a failure and skips what is here already.
 */
#pragma once

#include "oci/blob.h"
#include "stager/bucket.h"
#include "stager/engine.h"
#include "stager/regions.h"

#include <stdatomic.h>

#define FETCH_MAX_TRIES 6u     /* in a row without progress, and */
#define FETCH_AWAY_MS 30000    /* for so long, if the host was away: it may be restarting */
#define FETCH_MAX_RESTARTS 20u /* likewise, of a stream: each has to come as far as the best one first */
#define FETCH_MAX_RANGE_SEGMENTS 1024u
#define FETCH_PROBE_SIZE ((size_t)32 << 10)
#define FETCH_PROBE_TRIES 3u

enum range_state { RANGE_READY, RANGE_RUNNING };

struct range {
        struct range *next, **link; /* by position; what points to it */
        enum range_state state;
        bool stream;           /* the whole blob from zero */
        uint64_t pos, end;     /* next byte to receive; one past the last */
        uint64_t mark;         /* pos when it was last handed out; of a stream the furthest ever */
        unsigned tries;        /* in a row without progress */
        int64_t since_ms;      /* monotonic; of the first of these tries */
        unsigned refusals;     /* in a row, of a host that bears only our other requests */
        unsigned cuts;         /* how often it was cut off */
        double rate;           /* bytes a second while it is RUNNING; negative: not known yet */
        int64_t not_before_ms; /* monotonic; of a READY one that has failed */
        bool away;             /* it waits for nothing but that somebody answers */
};

/* A look at a few bytes far ahead of the window, which will come a second time when it is their turn. */
struct probe {
        struct range range; /* not in a list; the reactor's while the state is PROBE_RUNNING */
        enum { PROBE_NONE, PROBE_ASKED, PROBE_RUNNING, PROBE_HERE } state; /* guarded by fetch.lock */
        uint64_t pos;
        char data[FETCH_PROBE_SIZE];
};

struct fetch {
        struct fetch *next;    /* the reactor's list */
        struct oci_blob *blob; /* these three are the transfer's and the engine's */
        struct window *window;
        struct arena *arena;
        struct regions *regions; /* the transfer's: how the window is cut, and what is written where */
        uint64_t size;           /* of the blob */
        struct range *ranges;    /* not complete yet, by position */
        struct range **end;      /* where the next one is put */
        unsigned n_ready;        /* of these, READY */
        struct probe probe;
        bool streaming; /* the only range is the whole blob; for good, until fetch_reset() */
        bool failed;    /* the window has the reason */
        unsigned held;  /* segments; guarded by the arena */

        uint64_t group;           /* of fetches that share their turns: those of a job; 0: it is alone */
        int place;                /* in the budget, of the host that it comes from; negative: none */
        unsigned met_version;     /* host_version of that */
        struct bucket *rate;      /* of that host; NULL: unlimited */
        bool passed, stalled;     /* had its turn and could do nothing; had nothing to ask for then */
        atomic_bool urgent;       /* a volume waits for it; any thread sets it */
        atomic_uint host_version; /* how often host was set */

        atomic_uint connections;
        atomic_uint_fast64_t received, retries;
        pthread_mutex_t lock; /* guards what follows */
        char host[256];
        char trouble[TRANSFER_TROUBLE_SIZE]; /* why a range failed last */
        uint64_t trouble_at;                 /* received by then */
};

struct fetch_limits {
        size_t segments;       /* that one fetch may hold */
        size_t range_segments; /* of one range */
};

/* All are kept by reference; @size: of the blob. */
void fetch_init(struct fetch *f, struct arena *a, struct window *w, struct regions *g, struct oci_blob *b,
                uint64_t size);
void fetch_destroy(struct fetch *f);
/* From the start, on the blob thread, while the reactor does not have it. Counters go on. */
void fetch_reset(struct fetch *f);
void fetch_set_host(struct fetch *f, const char *host); /* any thread */
void fetch_copy_host(struct fetch *f, char *host, size_t size);
/* Any thread: why nothing has come since a range failed; "": something has. */
void fetch_copy_trouble(const struct fetch *f, char trouble[static TRANSFER_TROUBLE_SIZE]);
/* The first @got bytes are here: asks for the rest of the first segment, if there is one. -ENOMEM */
int fetch_begin(struct fetch *f, uint64_t got);

/* The blob thread's: asks for the bytes from @pos on; none is being asked for. WINDOW_NEWS when they are
 * here, or are not going to come. */
void fetch_probe(struct fetch *f, uint64_t pos);
bool fetch_is_probing(struct fetch *f);
/* What the last probe brought from @pos on, until the next fetch_probe(). */
size_t fetch_probed(struct fetch *f, uint64_t pos, const char **ret);

/* The range to ask for now, RUNNING, or NULL. *ret_wait_ms is lowered to the time until one becomes due. */
struct range *fetch_next(struct fetch *f, const struct fetch_limits *l, int64_t now_ms, int64_t *ret_wait_ms);
/* The server does not do ranges: one stream from now on. No range is RUNNING. */
void fetch_become_stream(struct fetch *f);

/* Takes what came for a range and returns how many bytes of it: fewer than @len (a stream only) when there is
 * no memory now; the rest is to be given again later. Bytes beyond the end are taken and dropped. */
size_t fetch_store(struct fetch *f, const struct fetch_limits *l, struct range *r, const char *data,
                   size_t len);
/* Would fetch_store() take at least one more byte of a stream? */
bool fetch_may_go_on(struct fetch *f, const struct fetch_limits *l, const struct range *r);

struct fetch_end {
        enum oci_verdict verdict; /* OK: but not all is there unless pos == end */
        bool throttled;           /* the host says that we are too many */
        bool away;                /* nobody answers for it: no connection, or a gateway that says so */
        unsigned others;          /* our connections to it besides this one */
        int64_t wait_ms;          /* as the host asks */
        int64_t now_ms;
};
/* The request ended. @e: why it failed. */
void fetch_ended(struct fetch *f, struct range *r, const struct fetch_end *end, const struct error *e);
/* Somebody answers again: what waits for that is asked for at once. */
void fetch_host_is_back(struct fetch *f);
/* The request was cut off. What it lacks is for the next to ask, in up to @pieces ranges, by segments. */
void fetch_cut(struct fetch *f, struct range *r, unsigned pieces);
/* There is nothing to ask for: takes the second half of the range that will be the last to arrive of those
 * that are slower than @rate (bytes a second) and need more than @least_ns. RUNNING, or NULL. */
struct range *fetch_split(struct fetch *f, double rate, double least_ns);
