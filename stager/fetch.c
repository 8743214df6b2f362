/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch: the ranges of one blob that are asked for, or will be.
 *
 *   0 ............. pos---------->end ......... pos------>end   next ...................... size
 *   here            a range, asked for   here   another one     no range, no segments yet
 *
 * Ranges are kept by position, so the first that is READY is the one nearest to the front. New ones are only
 * made behind all others and only while the fetch's share of the arena lasts; one that is complete is gone.
 * But for a retry a range begins and ends where segments do: one segment belongs to one range.
 *
 * A range that fails goes on where it stopped. Its tries are counted only in a row: PROGRESS bytes forgive
 * them. There are never more ranges than segments in the arena, however large the blob.
 */
#include "stager/fetch.h"

#include "base/log.h"
#include "base/text.h"
#include "stager/copy.h"
#include "stager/place.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PROGRESS ((uint64_t)16 << 10) /* fewer bytes than this do not count as progress */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000
#define REFUSED_FIRST_MS 20 /* of a range that a host did not bear besides our others, the second time */
#define REFUSED_MAX 6u
#define SERVER_WAIT_MAX_MS (120 * 1000) /* no Retry-After makes us wait for longer */

void fetch_init(struct fetch *f, struct arena *a, struct window *w, struct regions *g, struct oci_blob *b,
                uint64_t size) {
        *f = (struct fetch){ .blob = b, .window = w, .arena = a, .regions = g, .size = size, .place = -1 };
        f->end = &f->ranges;
        pthread_mutex_init(&f->lock, NULL);
}

static void drop_ranges(struct fetch *f) {
        while (f->ranges) {
                struct range *r = f->ranges;

                f->ranges = r->next;
                free(r);
        }
        f->end = &f->ranges;
        f->n_ready = 0;
}

void fetch_destroy(struct fetch *f) {
        drop_ranges(f);
        pthread_mutex_destroy(&f->lock);
}

void fetch_reset(struct fetch *f) {
        drop_ranges(f);
        f->probe.state = PROBE_NONE;
        f->streaming = f->failed = false;
}

void fetch_set_host(struct fetch *f, const char *host) {
        LOCK_SCOPE(&f->lock);
        snprintf(f->host, sizeof f->host, "%s", host ? host : "");
        f->host_version++;
}

void fetch_copy_host(struct fetch *f, char *host, size_t size) {
        LOCK_SCOPE(&f->lock);
        snprintf(host, size, "%s", f->host);
}

void fetch_copy_trouble(const struct fetch *f, char trouble[static TRANSFER_TROUBLE_SIZE]) {
        LOCK_SCOPE((pthread_mutex_t *)&f->lock);
        bool goes_on = f->received >= f->trouble_at + PROGRESS;

        snprintf(trouble, TRANSFER_TROUBLE_SIZE, "%s", goes_on ? "" : f->trouble);
}

static void note_trouble(struct fetch *f, const struct error *e) {
        LOCK_SCOPE(&f->lock);
        snprintf(f->trouble, sizeof f->trouble, "%.*s", (int)sizeof f->trouble - 1, e ? e->text : "");
        f->trouble_at = f->received;
}

static void fail(struct fetch *f, const struct error *e) {
        f->failed = true;
        window_fail(f->window, e);
}

static void fail_memory(struct fetch *f) {
        struct error e;

        error_errno(&e, ENOMEM, "fetch a blob");
        fail(f, &e);
}

/* READY, where @link points. */
static struct range *range_put(struct fetch *f, struct range **link, uint64_t pos, uint64_t end) {
        struct range *r = calloc(1, sizeof *r);

        if (!r)
                return NULL;
        *r = (struct range){ .next = *link, .link = link, .pos = pos, .mark = pos, .end = end, .rate = -1 };
        if (r->next)
                r->next->link = &r->next;
        else
                f->end = &r->next;
        *link = r;
        f->n_ready++;
        return r;
}

static struct range *range_new(struct fetch *f, uint64_t pos, uint64_t end) {
        return range_put(f, f->end, pos, end);
}

static void range_set_state(struct fetch *f, struct range *r, enum range_state state) {
        f->n_ready += (state == RANGE_READY) - (r->state == RANGE_READY);
        r->state = state;
}

int fetch_begin(struct fetch *f, uint64_t got) {
        uint64_t held = window_next(f->window);

        return got >= held || range_new(f, got, held) ? 0 : -ENOMEM;
}

void fetch_probe(struct fetch *f, uint64_t pos) {
        LOCK_SCOPE(&f->lock);
        uint64_t left = f->size - pos;

        f->probe.pos = pos;
        f->probe.range = (struct range){ .pos = pos,
                                         .mark = pos,
                                         .end = pos + (left < FETCH_PROBE_SIZE ? left : FETCH_PROBE_SIZE) };
        f->probe.state = PROBE_ASKED;
}

bool fetch_is_probing(struct fetch *f) {
        LOCK_SCOPE(&f->lock);
        return f->probe.state == PROBE_ASKED || f->probe.state == PROBE_RUNNING;
}

size_t fetch_probed(struct fetch *f, uint64_t pos, const char **ret) {
        LOCK_SCOPE(&f->lock);

        if (f->probe.state != PROBE_HERE || pos < f->probe.pos || pos >= f->probe.range.end)
                return 0;
        *ret = f->probe.data + (pos - f->probe.pos);
        return (size_t)(f->probe.range.end - pos);
}

/* The probe's range, RUNNING, if it is to be asked for now; else NULL. */
static struct range *next_probe(struct fetch *f, int64_t now_ms, int64_t *ret_wait_ms) {
        LOCK_SCOPE(&f->lock);
        struct range *r = &f->probe.range;

        if (f->probe.state != PROBE_ASKED)
                return NULL;
        if (r->not_before_ms > now_ms) {
                if (r->not_before_ms - now_ms < *ret_wait_ms)
                        *ret_wait_ms = r->not_before_ms - now_ms;
                return NULL;
        }
        f->probe.state = PROBE_RUNNING;
        r->state = RANGE_RUNNING;
        return r;
}

static void end_probe(struct fetch *f, bool here) {
        {
                LOCK_SCOPE(&f->lock);
                if (f->probe.state == PROBE_NONE)
                        return;
                f->probe.state = here ? PROBE_HERE : PROBE_NONE;
        }
        window_tell(f->window);
}

/* Takes @n segments (the last ones of the blob: fewer) and puts them at the window's end, as far as it may
 * grow. */
static bool extend(struct fetch *f, size_t n, size_t limit) {
        struct segment *segments[FETCH_MAX_RANGE_SEGMENTS];
        uint64_t left = f->size - window_next(f->window);
        uint64_t most = (left + SEGMENT_SIZE - 1) / SEGMENT_SIZE;
        size_t used = 0;

        if (n > FETCH_MAX_RANGE_SEGMENTS)
                n = FETCH_MAX_RANGE_SEGMENTS;
        if (n > most)
                n = (size_t)most;
        /* Segments that are taken and given back would wake others for nothing, and they us. */
        if (regions_are_held(f->regions, f->window) || !arena_take(f->arena, segments, n, &f->held, limit))
                return false;
        while (used < n && window_next(f->window) < f->size &&
               regions_extend(f->regions, f->window, segments[used]))
                used++;
        for (size_t i = used; i < n; i++)
                arena_unref(f->arena, segments[i]);
        return used > 0;
}

/* A new range behind all others, with its segments; NULL: no memory now, or nothing left. */
static struct range *next_new(struct fetch *f, const struct fetch_limits *l) {
        uint64_t pos = window_next(f->window);

        if (f->streaming || pos >= f->size || !extend(f, l->range_segments, l->segments))
                return NULL;
        struct range *r = range_new(f, pos, window_next(f->window));
        if (!r)
                fail_memory(f);
        return r;
}

/* The first that is due, NULL: none. */
static struct range *next_ready(struct fetch *f, int64_t now_ms, int64_t *ret_wait_ms) {
        unsigned left = f->n_ready;

        for (struct range *r = f->ranges; r && left > 0; r = r->next) {
                if (r->state != RANGE_READY)
                        continue;
                if (r->not_before_ms <= now_ms)
                        return r;
                if (r->not_before_ms - now_ms < *ret_wait_ms)
                        *ret_wait_ms = r->not_before_ms - now_ms;
                left--;
        }
        return NULL;
}

struct range *fetch_next(struct fetch *f, const struct fetch_limits *l, int64_t now_ms,
                         int64_t *ret_wait_ms) {
        if (f->failed || window_is_locating(f->window))
                return NULL;
        struct range *r = next_probe(f, now_ms, ret_wait_ms);

        if (r)
                return r;
        r = next_ready(f, now_ms, ret_wait_ms);
        if (!r)
                r = next_new(f, l);
        if (!r)
                return NULL;
        range_set_state(f, r, RANGE_RUNNING);
        if (!r->stream)
                r->mark = r->pos;
        return r;
}

/* A full segment is written from here, before the reader can be through with it. */
static void show(struct fetch *f, struct segment *s) {
        if (s->got == s->len && s->file)
                place_segment(s);
        window_show(f->window, s);
}

/* What came since the last time that the reader was told is shown now; the range may wait for long. */
static void show_rest(struct fetch *f, const struct range *r) {
        struct segment *s = r->pos < r->end ? window_at(f->window, r->pos) : NULL;

        if (s && s->got > s->fill)
                show(f, s);
}

void fetch_become_stream(struct fetch *f) {
        char host[sizeof f->host];

        for (const struct range *r = f->ranges; r; r = r->next)
                show_rest(f, r);
        drop_ranges(f);
        end_probe(f, false);
        f->streaming = true;
        struct range *stream = range_new(f, 0, f->size);
        if (!stream)
                fail_memory(f);
        else
                stream->stream = true;
        fetch_copy_host(f, host, sizeof host);
        log_debug(FETCH, "%s does not honour ranges: one stream", host);
}

/* Into the segments that are held, showing the reader each time there is enough to be woken for. */
static void copy(struct fetch *f, struct range *r, const char *data, size_t len) {
        while (len > 0 && r->pos < r->end) {
                struct segment *s = window_at(f->window, r->pos);
                size_t n = s->len - s->got;

                if (n > len)
                        n = len;
                copy_streaming(s->data + s->got, data, n);
                s->got += n;
                r->pos += n;
                data += n;
                len -= n;
                if (s->got == s->len || s->got - s->fill >= WINDOW_STEP)
                        show(f, s);
        }
}

/* Segments for all bytes before @end? */
static bool reserve(struct fetch *f, uint64_t end, size_t limit) {
        while (window_next(f->window) < end)
                if (!extend(f, 1, limit))
                        return false;
        return true;
}

bool fetch_may_go_on(struct fetch *f, const struct fetch_limits *l, const struct range *r) {
        return r->pos == r->end || reserve(f, r->pos + 1, l->segments);
}

/* Takes a piece of at most @len bytes: skips what is here already, or fills one segment. 0: no memory. */
static size_t store_piece(struct fetch *f, const struct fetch_limits *l, struct range *r, const char *data,
                          size_t len) {
        uint64_t known = window_missing(f->window, r->pos) - r->pos;

        if (known > 0) {
                size_t n = known < len ? (size_t)known : len;

                r->pos += n;
                return n;
        }
        if (!reserve(f, r->pos + 1, l->segments))
                return 0;
        const struct segment *s = window_at(f->window, r->pos);
        size_t room = (size_t)(s->pos + s->len - r->pos); /* what follows may be here already */
        size_t n = len < room ? len : room;
        copy(f, r, data, n);
        return n;
}

size_t fetch_store(struct fetch *f, const struct fetch_limits *l, struct range *r, const char *data,
                   size_t len) {
        size_t beyond = len > r->end - r->pos ? len - (size_t)(r->end - r->pos) : 0;
        size_t wanted = len - beyond, taken = 0;

        if (r == &f->probe.range) {
                memcpy(f->probe.data + (r->pos - f->probe.pos), data, wanted);
                r->pos += wanted;
                return len;
        }
        if (!r->stream) {
                copy(f, r, data, wanted);
                return len;
        }
        while (taken < wanted) {
                size_t n = store_piece(f, l, r, data + taken, wanted - taken);

                if (n == 0)
                        return taken;
                taken += n;
        }
        return len;
}

static void range_free(struct fetch *f, struct range *r) {
        range_set_state(f, r, RANGE_RUNNING);
        *r->link = r->next;
        if (r->next)
                r->next->link = r->link;
        else
                f->end = r->link;
        free(r);
}

static int64_t backoff_ms(unsigned tries) {
        int64_t wait = BACKOFF_FIRST_MS;

        while (tries-- > 1 && wait < BACKOFF_MAX_MS)
                wait *= 2;
        if (wait > BACKOFF_MAX_MS)
                wait = BACKOFF_MAX_MS;
        return time_jitter(wait); /* many nodes see the same failure */
}

/* A probe that fails is not worth much trouble: the bulk, which waits for it, will say what is wrong. */
static void probe_ended(struct fetch *f, const struct fetch_end *end) {
        struct range *r = &f->probe.range;

        if (r->pos == r->end || end->verdict == OCI_VERDICT_FATAL || ++r->tries >= FETCH_PROBE_TRIES ||
            end->wait_ms > BACKOFF_MAX_MS) {
                end_probe(f, r->pos == r->end);
                return;
        }
        if (end->verdict == OCI_VERDICT_LOCATE)
                window_ask_locate(f->window);
        LOCK_SCOPE(&f->lock);
        r->not_before_ms = end->now_ms + (end->wait_ms > 0 ? end->wait_ms : backoff_ms(r->tries));
        f->probe.state = PROBE_ASKED;
}

/*
 * How long a range waits that has failed. One that made progress goes on at once: the connection broke. One
 * that was refused while others of ours run takes the place of one of them (the budget sees to it that we do
 * not become more again, for as long as the host asks); so it waits only if that is refused again. All others
 * wait longer each time, and for what the host asks.
 */
static int64_t wait_of(struct range *r, const struct fetch_end *end, bool progress, bool crowded) {
        if (crowded) {
                int64_t wait = REFUSED_FIRST_MS * (((int64_t)1 << r->refusals) - 1);

                r->refusals += r->refusals < REFUSED_MAX;
                return time_jitter(wait);
        }
        int64_t wait = progress ? 0 : backoff_ms(r->tries);
        if (wait < end->wait_ms)
                wait = end->wait_ms;
        return wait < SERVER_WAIT_MAX_MS ? wait : SERVER_WAIT_MAX_MS;
}

/* Has it been tried often enough, and for long enough? */
static bool is_hopeless(const struct range *r, const struct fetch_end *end) {
        return r->tries >= (r->stream ? FETCH_MAX_RESTARTS : FETCH_MAX_TRIES) &&
               (!end->away || end->now_ms - r->since_ms >= FETCH_AWAY_MS);
}

/* Back to READY with a time to wait, or the end of the transfer after too many tries. */
static void try_again(struct fetch *f, struct range *r, const struct fetch_end *end, const struct error *e) {
        bool progress = r->pos >= r->mark + PROGRESS;
        /* A host that bears only our other connections has not failed. */
        bool crowded = end->throttled && f->connections + end->others > 0;

        if (progress)
                r->tries = r->refusals = 0;
        if (!crowded && r->tries++ == 0)
                r->since_ms = end->now_ms;
        f->retries++;
        note_trouble(f, e);
        if (is_hopeless(r, end)) {
                fail(f, e);
                return;
        }
        int64_t wait = wait_of(r, end, progress && !r->stream, crowded);
        if (r->stream) {
                r->mark = r->pos > r->mark ? r->pos : r->mark;
                r->pos = 0;
        }
        r->not_before_ms = end->now_ms + wait;
        r->away = end->away && end->wait_ms <= 0;
        range_set_state(f, r, RANGE_READY);
        log_debug(FETCH, "bytes %" PRIu64 "-%" PRIu64 " again in %" PRId64 " ms (try %u): %s", r->pos,
                  r->end - 1, wait, r->tries, e ? e->text : "");
}

void fetch_ended(struct fetch *f, struct range *r, const struct fetch_end *end, const struct error *e) {
        if (r == &f->probe.range) {
                probe_ended(f, end);
                return;
        }
        show_rest(f, r);
        if (r->pos == r->end) {
                range_free(f, r);
                return;
        }
        if (end->verdict == OCI_VERDICT_FATAL) {
                fail(f, e);
                return;
        }
        try_again(f, r, end, e);
        if (end->verdict == OCI_VERDICT_LOCATE)
                window_ask_locate(f->window);
}

void fetch_host_is_back(struct fetch *f) {
        for (struct range *r = f->ranges; r; r = r->next)
                if (r->state == RANGE_READY && r->away)
                        r->not_before_ms = 0;
}

/* The start of the segment that has the byte in the middle of what @r lacks, or, if it has arrived there, of
 * the next one; the end of @r: there is none. */
static uint64_t middle_of(const struct fetch *f, const struct range *r, uint64_t middle) {
        const struct segment *s = window_at(f->window, middle);

        if (!s)
                return r->end;
        uint64_t cut = s->pos > r->pos ? s->pos : s->pos + s->len;
        return cut < r->end ? cut : r->end;
}

/* [@cut, end) of @r becomes a range of its own, behind it. NULL: no memory; @r stays whole. */
static struct range *take_rest(struct fetch *f, struct range *r, uint64_t cut) {
        struct range *rest = range_put(f, &r->next, cut, r->end);

        if (rest)
                r->end = cut;
        return rest;
}

void fetch_cut(struct fetch *f, struct range *r, unsigned pieces) {
        show_rest(f, r);
        if (r->pos == r->end) { /* its last byte was here */
                range_free(f, r);
                return;
        }
        f->retries++;
        r->cuts++;
        r->not_before_ms = 0;
        range_set_state(f, r, RANGE_READY);
        for (; pieces > 1; pieces--) {
                uint64_t cut = middle_of(f, r, r->pos + (r->end - r->pos) / pieces);
                struct range *rest = cut < r->end ? take_rest(f, r, cut) : NULL;

                if (!rest)
                        return;
                rest->cuts = r->cuts;
                r = rest;
        }
}

struct range *fetch_split(struct fetch *f, double rate, double least_ns) {
        struct range *slowest = NULL;
        double longest = least_ns;

        if (f->failed || f->streaming || window_is_locating(f->window))
                return NULL;
        for (struct range *r = f->ranges; r; r = r->next) {
                double left = (double)(r->end - r->pos) * 1e9 / (r->rate > 1 ? r->rate : 1);

                if (r->state != RANGE_RUNNING || r->rate < 0 || r->rate >= rate || left <= longest)
                        continue;
                longest = left;
                slowest = r;
        }
        if (!slowest)
                return NULL;
        uint64_t cut = middle_of(f, slowest, slowest->pos + (slowest->end - slowest->pos) / 2);
        struct range *rest = cut < slowest->end ? take_rest(f, slowest, cut) : NULL;
        if (!rest)
                return NULL;
        range_set_state(f, rest, RANGE_RUNNING);
        return rest;
}
