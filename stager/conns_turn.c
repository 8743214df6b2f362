/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose turn it is: volumes before warming; of these the job that has the fewest connections, and of its
 * blobs the one that has the fewest. So blobs share a host's connections, a small blob does not wait behind a
 * large one, and a job of many blobs does not crowd out a job of one.
 *
 * A fetch gets no connection when its host or its class has as many as it may, when its bandwidth is spent,
 * or when it has nothing to ask for: its share of the arena is full, or all of the blob is asked for. In the
 * latter case a connection that is left over takes the second half of a slow range that would be the last to
 * come.
 *
 * Ranges are as long as engine.rangeSize, shorter where memory is short, where the bandwidth is limited, and
 * towards the blob's end, so that all connections come to the end at about the same time.
 */
#include "base/metrics.h"
#include "base/text.h"
#include "stager/conns_state.h"

#include <float.h>

#define RANGES_LEFT 2u /* what is left of a blob is divided into so many for each connection */
#define SPLIT_NS 250e6 /* what a range still needs at least to be worth a split */
#define SPLIT_LAST_NS 1000e6
#define SLOWER 2.0 /* times, than the median */

static size_t at_least_one(size_t n) {
        return n > 0 ? n : 1;
}

static void lower(size_t *n, size_t most) {
        if (*n > most)
                *n = at_least_one(most);
}

struct fetch_limits conns_limits(const struct conns *c, const struct fetch *f) {
        size_t whole = arena_segments(c->arena, ARENA_WINDOW) / at_least_one(c->n_fetches);
        struct fetch_limits l = { .segments = at_least_one(whole), .range_segments = c->range_segments };
        const struct budget_host *h = &c->budget.hosts[f->place];
        size_t n = budget_reach(&c->budget, f->place, time_monotonic_ns()) / at_least_one(h->blobs);
        uint64_t left = f->size - window_next(f->window);

        n = at_least_one(n);
        lower(&l.range_segments, l.segments / (n + n / 4 > 4 ? n + n / 4 : 4));
        lower(&l.range_segments, (size_t)(left / (RANGES_LEFT * n) / SEGMENT_SIZE) + 1);
        if (c->budget.all.rate > 0)
                lower(&l.range_segments, (size_t)(c->budget.all.rate / 4 / SEGMENT_SIZE));
        if (f->rate && f->rate->rate > 0)
                lower(&l.range_segments, (size_t)(f->rate->rate / 4 / SEGMENT_SIZE));
        return l;
}

static struct conn *idle_conn(struct conns *c) {
        for (unsigned i = 0; c->busy < c->n && i < c->n; i++)
                if (!c->all[i].fetch)
                        return &c->all[i];
        return NULL;
}

/* The fetch's place in the budget is that of the host that its bytes come from now. */
static bool meet_host(struct conns *c, struct fetch *f) {
        char host[HOSTS_NAME_MAX];
        unsigned version = f->host_version;

        if (f->place >= 0 && f->met_version == version)
                return true;
        if (f->place >= 0)
                budget_leave(&c->budget, f->place);
        fetch_copy_host(f, host, sizeof host);
        f->place = budget_join(&c->budget, host);
        f->met_version = version;
        if (f->place < 0)
                return false;
        f->rate = budget_rate(&c->budget, host, oci_blob_registry(f->blob));
        return true;
}

static bool has_ranges(struct conns *c, const struct fetch *f) {
        struct budget_host *h = &c->budget.hosts[f->place];

        if (!oci_blob_has_ranges(f->blob)) {
                if (h->ranges != HOST_RANGES_BROKEN)
                        conns_note_ranges(c, h, HOST_RANGES_IGNORED);
                return false;
        }
        if (h->ranges != HOST_RANGES_BROKEN)
                return true;
        oci_blob_forgo_ranges(f->blob);
        return false;
}

static void wait_for(int64_t *wait_ms, int64_t ms) {
        if (ms > 0 && ms < *wait_ms)
                *wait_ms = ms;
}

/* In the tail only: a range that is clearly slower than others, or that cannot be compared with others, which
 * are through long since. What its server has sent ahead is lost, so one that is nearly as fast as any, or
 * nearly through, is left alone. */
static struct range *split(struct conns *c, struct fetch *f) {
        const struct budget_host *h = &c->budget.hosts[f->place];
        double rate = h->median > 0 ? h->median / SLOWER : DBL_MAX;

        if (window_next(f->window) < f->size)
                return NULL;
        struct range *r =
            fetch_split(f, rate, (h->median > 0 ? SPLIT_NS : SPLIT_LAST_NS) + 2 * h->pacer.latency_ns);
        if (r)
                metric_add(REGISTRY_RETRIES, 1, oci_blob_registry(f->blob), "split");
        return r;
}

/* Something to ask for; the fetch is stalled when there is nothing although a connection is to be had. */
static struct range *next_range(struct conns *c, struct fetch *f, uint64_t now_ns, int64_t *wait_ms) {
        struct fetch_limits l = conns_limits(c, f);
        struct range *r = fetch_next(f, &l, (int64_t)(now_ns / 1000000), wait_ms);

        f->stalled = !r;
        return r || f->streaming ? r : split(c, f);
}

/* One request for @f, if there is something to ask for and a connection to its host is to be had. */
static bool start_one(struct conns *c, struct fetch *f, uint64_t now_ns, int64_t *wait_ms) {
        struct conn *x = idle_conn(c);
        bool warm = !f->urgent;

        if (!x || !meet_host(c, f))
                return false;
        if (!f->streaming && !has_ranges(c, f))
                conns_degrade(c, f);
        int credit = budget_wait_ms(&c->budget, f->rate, warm, now_ns);
        if (credit > 0 || budget_take(&c->budget, f->place, warm, now_ns) < 0) {
                wait_for(wait_ms, credit);
                wait_for(wait_ms, pacer_wait_ms(&c->budget.hosts[f->place].pacer, now_ns));
                return false;
        }
        struct range *r = next_range(c, f, now_ns, wait_ms);
        if (!r) {
                budget_give(&c->budget, f->place, warm);
                return false;
        }
        x->place = f->place;
        x->warm = warm;
        x->rate = f->rate;
        conn_start(x, f, r);
        return true;
}

/* Connections of the job that @f belongs to. */
static unsigned of_group(const struct conns *c, const struct fetch *f) {
        unsigned n = 0;

        for (const struct fetch *x = c->fetches; x; x = x->next)
                if (x == f || (f->group && x->group == f->group))
                        n += x->connections;
        return n;
}

static bool is_before(const struct conns *c, const struct fetch *a, const struct fetch *b) {
        if (a->urgent != b->urgent)
                return a->urgent;
        unsigned x = of_group(c, a), y = of_group(c, b);

        return x != y ? x < y : a->connections < b->connections;
}

/* Of those that may have work, NULL: none. */
static struct fetch *next_fetch(const struct conns *c) {
        struct fetch *best = NULL;

        for (struct fetch *f = c->fetches; f; f = f->next)
                if (!f->passed && (!best || is_before(c, f, best)))
                        best = f;
        return best;
}

void conns_start_all(struct conns *c, int64_t *ret_wait_ms) {
        uint64_t now = time_monotonic_ns();
        struct fetch *f;

        c->budget.volumes = 0;
        for (f = c->fetches; f; f = f->next) {
                f->passed = false;
                c->budget.volumes += f->urgent;
        }
        while ((f = next_fetch(c)))
                f->passed = !start_one(c, f, now, ret_wait_ms);
}
