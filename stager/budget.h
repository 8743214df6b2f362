/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget: how many connections the node may have, how many of them to one host, and at which rate bytes may
 * be asked for. No I/O and no threads: the reactor's own.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUDGET_HOST_MAX 256

struct budget_host {
        char name[BUDGET_HOST_MAX]; /* "host[:port]"; may be stale while the place is free */
        unsigned used;              /* connections; 0: the place is free */
        unsigned limit;             /* what the host was seen to bear; 0: nothing is known against it */
        unsigned good;              /* answers since the limit was last moved */
};

struct budget {
        unsigned connections, per_host, used; /* at most, of one host at most, now */
        struct budget_host *hosts;            /* as many as connections */
        uint64_t rate;                        /* bytes a second; 0: unlimited */
        int64_t credit;                       /* bytes that may be asked for; negative: wait */
        uint64_t refilled_ns;                 /* monotonic; 0: never */
};

int budget_init(struct budget *b, unsigned connections, unsigned per_host, uint64_t rate); /* -ENOMEM */
void budget_destroy(struct budget *b);

/* One more connection to @host: its place, to be given back; -EAGAIN: not now. */
int budget_take(struct budget *b, const char *host);
void budget_give(struct budget *b, int place);

/* The host said that we are too many (429, 503): as many as are left of us is the limit now, at least one.
 * After some good answers one more is tried. Call both before the connection is given back. */
void budget_throttled(struct budget *b, int place);
void budget_answered(struct budget *b, int place);

/* Milliseconds until something may be asked for again; 0: now. */
int budget_wait_ms(struct budget *b, uint64_t now_ns);
void budget_spend(struct budget *b, uint64_t bytes);
