/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes go out in slices: from a layout with sendfile(), from memory with send() (those that repeat too),
 * computed ones through a buffer. A slice ends at the cut and around the wrong byte, so the fast way knows nothing of faults.
 *
 * "Every k-th" needs counters that all connections share; they start anew when the knobs change.
 */
#include "body.h"

#include <poll.h>
#include <search.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>

#define SLICE SYNTHETIC_SLICE

static struct {
        atomic_uint_fast64_t blobs, resets, truncations, stalls, flips;
        atomic_uint_fast64_t sent; /* bytes of bodies, over all connections */
        pthread_mutex_t lock;      /* guards what follows */
        void *reset_ranges;        /* tree of "digest end": those that were reset already */
        int64_t next_ns;           /* when the next slice of anybody may go out, if there is a total */
} shared = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int64_t now_ns(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int compare(const void *a, const void *b) {
        return strcmp(a, b);
}

void body_counters_reset(void) {
        LOCK_SCOPE(&shared.lock);
        shared.blobs = shared.resets = shared.truncations = shared.stalls = shared.flips = shared.sent = 0;
        tdestroy(shared.reset_ranges, free);
        shared.reset_ranges = NULL;
        shared.next_ns = 0;
}

bool body_fails(const struct knobs *k) {
        uint64_t n = ++shared.blobs, every = knob_number(k, fail_every);

        return n <= knob_number(k, fail_first) || (every > 0 && n % every == 0);
}

/* A range is known by its end: a client that goes on where it was cut asks for a new start. */
static bool first_of_range(const char *digest, uint64_t end) {
        char key[128];

        snprintf(key, sizeof key, "%s %llu", digest, (unsigned long long)end);
        LOCK_SCOPE(&shared.lock);
        if (tfind(key, &shared.reset_ranges, compare))
                return false;
        char *copy = strdup(key);

        if (!copy || !tsearch(copy, &shared.reset_ranges, compare))
                abort();
        return true;
}

static bool kth(atomic_uint_fast64_t *counter, uint64_t every) {
        return every > 0 && ++*counter % every == 0;
}

static bool wants_reset(const struct knobs *k, const char *digest, uint64_t end) {
        return kth(&shared.resets, knob_number(k, reset_every)) &&
               (!knob_number(k, reset_once) || first_of_range(digest, end));
}

void body_plan_flip(struct body_plan *ret, const struct knobs *k, const char *digest, uint64_t start,
                    uint64_t end) {
        const char *which = knob_text(k, flip_blob);
        uint64_t at = knob_number(k, flip_at), times = knob_number(k, flip_times);

        *ret = (struct body_plan){ .end = BODY_WHOLE, .cut = end - start, .flip_at = at };
        if (which[0] && strncmp(digest, which, strlen(which)) == 0 && at >= start && at < end)
                ret->flip = times == 0 || ++shared.flips <= times;
}

void body_plan(struct body_plan *ret, const struct knobs *k, const char *digest, uint64_t start,
               uint64_t end) {
        const struct {
                enum body_end end;
                uint64_t after;
        } cuts[] = { { BODY_RESET, knob_number(k, reset_after) },
                     { BODY_TRUNCATED, knob_number(k, truncate_after) },
                     { BODY_STALLED, knob_number(k, stall_after) } };

        body_plan_flip(ret, k, digest, start, end);
        for (unsigned i = 0; i < sizeof cuts / sizeof *cuts; i++) {
                if (cuts[i].after == 0 || cuts[i].after >= ret->cut)
                        continue;
                if (cuts[i].end == BODY_RESET && !wants_reset(k, digest, end))
                        continue;
                if (cuts[i].end == BODY_TRUNCATED &&
                    !kth(&shared.truncations, knob_number(k, truncate_every)))
                        continue;
                if (cuts[i].end == BODY_STALLED && !kth(&shared.stalls, knob_number(k, stall_every)))
                        continue;
                ret->end = cuts[i].end;
                ret->cut = cuts[i].after;
        }
}

bool body_wait(const struct http_connection *c, int64_t ns) {
        struct pollfd p = { .fd = c->fd, .events = POLLRDHUP };
        struct timespec t = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
        int n;

        do
                n = ppoll(&p, 1, ns < 0 ? NULL : &t, NULL);
        while (n < 0 && errno == EINTR);
        return n == 0;
}

/* One queue for all connections: each slice takes its time from the end of it. */
static bool wait_for_share(const struct http_connection *c, uint64_t total, size_t len) {
        int64_t now = now_ns(), start;

        {
                LOCK_SCOPE(&shared.lock);
                start = shared.next_ns > now ? shared.next_ns : now;
                shared.next_ns = start + (int64_t)((double)len * 1e9 / (double)total);
        }
        return start <= now || body_wait(c, start - now);
}

static bool send_file(struct http_connection *c, int fd, uint64_t offset, size_t len) {
        off_t at = (off_t)offset;

        while (len > 0) {
                ssize_t n = sendfile(c->fd, fd, &at, len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                len -= (size_t)n;
        }
        return true;
}

static bool read_slice(const struct content *content, uint64_t offset, uint8_t *buf, size_t len) {
        if (content->fd >= 0)
                return pread(content->fd, buf, len, (off_t)offset) == (ssize_t)len;
        if (content->synthetic)
                return synthetic_read(content->synthetic, offset, buf, len);
        memcpy(buf, content->data + offset, len);
        return true;
}

static bool send_slice(struct http_connection *c, const struct content *content, uint64_t offset, size_t len,
                       bool flip, uint8_t *buf) {
        if (content->fd >= 0 && !flip)
                return send_file(c, content->fd, offset, len);
        const uint8_t *kept = content->synthetic && !flip ? synthetic_peek(content->synthetic, offset) : NULL;
        if (kept)
                return http_write(c, kept, len, false);
        if (!read_slice(content, offset, buf, len))
                return false;
        if (flip)
                buf[0] ^= 0xff;
        return http_write(c, buf, len, false);
}

/* The slice that begins at @at: up to the wrong byte, or that byte alone. */
static size_t slice_at(const struct body_plan *plan, uint64_t at, uint64_t end, bool *ret_flip) {
        uint64_t len = end - at < SLICE ? end - at : SLICE;

        *ret_flip = plan->flip && at == plan->flip_at;
        if (*ret_flip)
                return 1;
        if (plan->flip && at < plan->flip_at && plan->flip_at - at < len)
                len = plan->flip_at - at;
        return (size_t)len;
}

static bool finish(struct http_connection *c, enum body_end end) {
        struct linger reset = { .l_onoff = 1 };

        if (end == BODY_STALLED)
                body_wait(c, -1);
        if (end == BODY_RESET)
                setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        return end == BODY_WHOLE;
}

/* What happens after so many bytes (@all) to all clients together; true: this connection is to be reset. */
static bool reset_after(const struct knobs *k, uint64_t all, size_t len) {
        uint64_t every = knob_number(k, reset_total), die = knob_number(k, die_after);

        if (die > 0 && all >= die)
                raise(SIGKILL);
        return every > 0 && all / every != (all - len) / every;
}

bool body_send(struct http_connection *c, const struct content *content, uint64_t start, uint64_t end,
               const struct knobs *k, const struct body_plan *plan, const struct stats_entry *stats,
               uint64_t *ret_sent) {
        _cleanup_free_ uint8_t *buf = malloc(SLICE);
        uint64_t at = start, stop = start + plan->cut < end ? start + plan->cut : end;
        uint64_t total = knob_number(k, total);
        bool good = buf, reset = false;

        while (good && !reset && at < stop) {
                bool flip;
                size_t len = slice_at(plan, at, stop, &flip);
                /* Before they go out: who has the last of them may ask for more before this thread runs. */
                uint64_t all = atomic_fetch_add(&shared.sent, len) + len;

                good = (total == 0 || wait_for_share(c, total, len)) &&
                       send_slice(c, content, at, len, flip, buf);
                reset = good && reset_after(k, all, len);
                if (good) {
                        at += len;
                        stats_sent(stats, len);
                }
        }
        *ret_sent = at - start;
        return good && finish(c, reset ? BODY_RESET : plan->end);
}

void body_pace(struct http_connection *c, const struct knobs *k) {
        uint64_t every = knob_number(k, starve_every), pace = knob_number(k, pace);

        if (every > 0 && c->number % every == 0)
                pace = knob_number(k, starve_rate);
        if (pace == c->pace)
                return;
        uint64_t rate = pace > 0 ? pace : UINT64_MAX;

        if (setsockopt(c->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate) == 0)
                c->pace = pace;
}
