/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every WATCH_NS: each request's rate, stragglers, and what is to be kept of each host; the pacer is told
 * every turn how many connections its host has.
 *
 * A straggler is cut off: its connection is closed, and what its range lacks goes to others. Of one host no
 * more than one in CUT_NS, and a range no more than CUTS_MAX times: that host is slow then, and starting over
 * does not help.
 */
#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"
#include "stager/conns_state.h"

#define WATCH_NS UINT64_C(25000000)
#define WATCH_MS 25
#define CUT_NS UINT64_C(100000000)
#define CUTS_MAX 3u

void conns_note_ranges(struct conns *c, struct budget_host *h, enum host_ranges r) {
        if (h->ranges == r)
                return;
        h->ranges = r;
        if (c->hosts)
                hosts_note_ranges(c->hosts, h->name, r, time_now_ms());
}

static void note_pace(struct conns *c, struct budget_host *h) {
        const struct host_pace pace = { .best = h->pacer.best,
                                        .limit = h->pacer.limit,
                                        .rate = h->pacer.rate,
                                        .latency_us = (uint64_t)(h->pacer.latency_ns / 1000) };

        h->noted_limit = h->pacer.limit;
        log_debug(FETCH, "%s: %u connections, best %u, limit %u", h->name, h->pacer.target, pace.best,
                  pace.limit);
        if (c->hosts)
                hosts_note_pace(c->hosts, h->name, &pace, time_now_ms());
}

static bool is_watched(const struct conn *x) {
        return x->fetch && !x->range->stream && x->range != &x->fetch->probe.range &&
               x->range->pos < x->range->end;
}

static void look_at_requests(struct conns *c, uint64_t now_ns) {
        for (unsigned i = 0; i < c->n; i++) {
                struct conn *x = &c->all[i];

                if (!is_watched(x))
                        continue;
                lap_look(&x->lap, x->received, now_ns);
                x->range->rate = x->lap.rate;
        }
}

static void look_at_peers(struct conns *c, uint64_t now_ns) {
        const struct lap *laps[PEERS_MAX];

        for (unsigned k = 0; k < c->budget.n_met; k++) {
                struct budget_host *h = &c->budget.hosts[k];
                size_t n = 0;

                for (unsigned i = 0; h->used > 0 && i < c->n && n < PEERS_MAX; i++)
                        if (is_watched(&c->all[i]) && conn_host(&c->all[i]) == h)
                                laps[n++] = &c->all[i].lap;
                h->median = n > 0 ? peers_median(&h->peers, laps, n, now_ns) : 0;
        }
}

/* Idle connections that @f could have, to share the rest of a range. */
static unsigned spare(const struct conns *c, const struct fetch *f, uint64_t now_ns) {
        unsigned reach = budget_reach(&c->budget, f->place, now_ns), used = c->budget.hosts[f->place].used;

        return f->stalled && reach > used ? reach - used : 1;
}

static void cut_stragglers(struct conns *c, uint64_t now_ns) {
        for (unsigned i = 0; i < c->n; i++) {
                struct conn *x = &c->all[i];

                if (!is_watched(x) || x->range->cuts >= CUTS_MAX || now_ns - conn_host(x)->cut_ns < CUT_NS)
                        continue;
                struct budget_host *h = conn_host(x);
                if (!lap_is_straggler(&x->lap, h->median, h->pacer.latency_ns, x->fetch->stalled, now_ns))
                        continue;
                log_debug(FETCH,
                          "%s: a request is starved (%.0f KiB/s, others %.0f): its rest goes elsewhere",
                          h->name, x->lap.rate / 1024, h->median / 1024);
                metric_add(REGISTRY_RETRIES, 1, oci_blob_registry(x->fetch->blob), "slow");
                h->cut_ns = now_ns;
                conn_cut_off(x, spare(c, x->fetch, now_ns));
        }
}

void conns_watch(struct conns *c) {
        uint64_t now = time_monotonic_ns();

        c->is_time = now - c->watched_ns >= WATCH_NS;
        if (!c->is_time)
                return;
        c->watched_ns = now;
        look_at_requests(c, now);
        look_at_peers(c, now);
        cut_stragglers(c, now);
}

void conns_pace(struct conns *c, int64_t *ret_wait_ms) {
        uint64_t now = time_monotonic_ns();

        if (c->busy > 0 && *ret_wait_ms > WATCH_MS)
                *ret_wait_ms = WATCH_MS;
        for (unsigned i = 0; i < c->budget.n_met; i++) {
                struct budget_host *h = &c->budget.hosts[i];

                if (h->used + h->noted_used == 0)
                        continue;
                if (pacer_look(&h->pacer, h->used, now) || h->noted_limit != h->pacer.limit)
                        note_pace(c, h);
                if ((!c->is_time && h->used > 0) || h->noted_used == h->used)
                        continue;
                h->noted_used = h->used;
                if (c->hosts)
                        hosts_note_connections(c->hosts, h->name, h->used, time_now_ms());
        }
}
