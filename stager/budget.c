/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections are counted twice, for the node and for a host. A host has a place in the table while it has
 * connections. What it bears is learnt from its answers; more than per_host it never gets.
 *
 *   429, 503                         limit = its connections less the one that was refused, at least 1
 *   GOOD_BEFORE_MORE good answers    limit + 1, once there is a limit
 *
 * The rate is a bucket that may go below zero: a whole range is spent when it is asked for, and nothing more
 * is asked for until the bucket has filled again. It holds at most BURST_MS worth of bytes, so that an idle
 * node does not save up.
 */
#include "stager/budget.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BURST_MS 250
#define GOOD_BEFORE_MORE 16u
#define RATE_MAX ((uint64_t)1 << 50) /* more is no limit */

int budget_init(struct budget *b, unsigned connections, unsigned per_host, uint64_t rate) {
        *b = (struct budget){ .connections = connections,
                              .per_host = per_host,
                              .rate = rate < RATE_MAX ? rate : 0 };
        b->hosts = calloc(connections, sizeof *b->hosts);
        return b->hosts ? 0 : -ENOMEM;
}

void budget_destroy(struct budget *b) {
        free(b->hosts);
        b->hosts = NULL;
}

int budget_take(struct budget *b, const char *host) {
        int place = -1;

        if (b->used >= b->connections)
                return -EAGAIN;
        for (unsigned i = 0; i < b->connections; i++) {
                struct budget_host *h = &b->hosts[i];

                if (h->used > 0 && strncmp(h->name, host, sizeof h->name - 1) == 0) {
                        if (h->used >= b->per_host || (h->limit > 0 && h->used >= h->limit))
                                return -EAGAIN;
                        place = (int)i;
                        break;
                }
                if (h->used == 0 && place < 0)
                        place = (int)i;
        }
        struct budget_host *h = &b->hosts[place];
        if (h->used == 0 && strncmp(h->name, host, sizeof h->name - 1) != 0) {
                *h = (struct budget_host){ .used = 0 };
                snprintf(h->name, sizeof h->name, "%s", host);
        }
        h->used++;
        b->used++;
        return place;
}

void budget_give(struct budget *b, int place) {
        b->hosts[place].used--;
        b->used--;
}

void budget_throttled(struct budget *b, int place) {
        struct budget_host *h = &b->hosts[place];

        h->limit = h->used > 1 ? h->used - 1 : 1;
        h->good = 0;
}

void budget_answered(struct budget *b, int place) {
        struct budget_host *h = &b->hosts[place];

        if (h->limit == 0 || ++h->good < GOOD_BEFORE_MORE)
                return;
        h->good = 0;
        h->limit++;
}

int budget_wait_ms(struct budget *b, uint64_t now_ns) {
        if (b->rate == 0)
                return 0;
        uint64_t ms = (now_ns - b->refilled_ns) / 1000000;

        if (b->refilled_ns == 0)
                ms = BURST_MS;
        if (ms > 0) {
                double most = (double)b->rate * BURST_MS / 1000.0 + 1.0;
                double credit = (double)b->credit + (double)b->rate * (double)ms / 1000.0;

                b->credit = (int64_t)(credit < most ? credit : most);
                b->refilled_ns = now_ns;
        }
        if (b->credit > 0)
                return 0;
        double wait = (double)(1 - b->credit) * 1000.0 / (double)b->rate + 1.0;
        return wait > 1000.0 ? 1000 : (int)wait;
}

void budget_spend(struct budget *b, uint64_t bytes) {
        if (b->rate > 0)
                b->credit -= (int64_t)bytes;
}
