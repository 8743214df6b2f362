/* SPDX-License-Identifier: Apache-2.0 */
/*
 * straggler: which request is starved: far slower than others to the same host at the same time. No I/O and
 * no clock of its own.
 *
 * A lap watches one request. It begins with the request, and its rate is that of the last LAP to two LAPs
 * since the first byte, so a connection that was fast once is not fast for ever. Peers are what others do:
 * those that run now; if there are too few, those that ended a moment ago. When the whole link becomes slow
 * all that run are slow, and nobody is starved.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEERS_MAX 32u /* that are remembered, or compared with */

struct lap {
        uint64_t sent_ns, first_ns;             /* the request, its first byte; 0: none yet */
        uint64_t mark_ns, older_ns;             /* when the two were made */
        uint64_t mark_received, older_received; /* bytes by then */
        double rate;                            /* bytes a second, by lap_look(); negative: not known yet */
        uint64_t observed_ns;                   /* for how long */
};

void lap_begin(struct lap *l, uint64_t now_ns);
void lap_first_byte(struct lap *l, uint64_t now_ns);
void lap_look(struct lap *l, uint64_t received, uint64_t now_ns); /* all bytes since it began */

struct peers {
        struct {
                uint64_t ended_ns;
                double rate;
        } ended[PEERS_MAX]; /* a ring */
        unsigned next;
};
/* A request has ended, with so many bytes. */
void peers_add(struct peers *p, const struct lap *l, uint64_t received, uint64_t now_ns);
/* The median rate of the @n that run (their lap_look() is fresh) and, where these are few, of the latest that
 * ended; 0: too few. */
double peers_median(const struct peers *p, const struct lap *const *running, size_t n, uint64_t now_ns);

/* Is it to be cut off? @median: of the others. @latency_ns: what the host needs to the first byte.
 * @is_waited_for: nothing else can be done until it is through; then it is given less time to show that it is
 * worth it. */
bool lap_is_straggler(const struct lap *l, double median, double latency_ns, bool is_waited_for,
                      uint64_t now_ns);
