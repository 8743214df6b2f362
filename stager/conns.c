/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conns: a fixed number of connections, each an easy handle that is used again and again.
 *
 *   conn:  idle -> busy (one range of one fetch) -> idle
 *                   \-> paused (a stream without memory or credit) -> busy
 *
 * Idle connections go round robin over the fetches, one range each, so that a small blob does not wait behind
 * a large one. Each fetch may hold its share of the arena: when one more comes the shares shrink, and who
 * holds more gets no new range until it has read that off.
 *
 * An answer is judged twice: its headers before the first byte is stored, and the whole when it ends.
 *
 *   all of the range is here  the range is gone
 *   RETRY, LOCATE             the range waits for its time, or until the blob has been located again
 *   NO_RANGES                 all requests of the blob are dropped, one stream takes their place (degrade())
 *   FATAL                     the transfer fails
 *
 * curl's connections live in the multi handle and are kept open from range to range.
 */
#include "stager/conns.h"

#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"

#include <assert.h>

#define CONN_MAGIC 0x434f4e4eu
#define IDLE_MS 60000 /* conns_run() is called again after that in any case */

struct conn {
        unsigned magic;
        struct conns *conns;
        CURL *easy;
        struct fetch *fetch;      /* NULL: idle */
        struct range *range;      /* RUNNING; NULL: idle */
        uint64_t from, to;        /* as asked for; [from, to) */
        int place;                /* in the budget */
        bool judged, paused;      /* the headers are; on_data() refused what curl gave, until resume() */
        size_t taken;             /* of what curl gives again after a pause */
        enum oci_verdict verdict; /* of the headers */
        struct error error;       /* why, unless the verdict is OK */
        uint64_t counted;         /* bytes for the metric, not yet added */
};

struct conns {
        struct arena *arena;
        struct sockets *sockets;
        struct budget budget;
        struct conn *all;
        unsigned n;            /* engine.connections */
        size_t range_segments; /* engine.rangeSize; small blobs get shorter ranges, see limits_of() */
        unsigned per_host;     /* engine.connectionsPerHost */
        struct fetch *fetches; /* the next one's turn is the first's */
        unsigned n_fetches;
};

static size_t at_least_one(size_t n) {
        return n > 0 ? n : 1;
}

/* A fetch has at least four ranges under way if memory lasts, and a small blob is shared by the connections
 * that it may have. */
static struct fetch_limits limits_of(const struct conns *c, const struct fetch *f) {
        struct fetch_limits l = { .segments =
                                      arena_segments(c->arena, ARENA_WINDOW) / at_least_one(c->n_fetches) };
        size_t part = (size_t)((f->size / c->per_host + SEGMENT_SIZE - 1) / SEGMENT_SIZE);

        l.segments = at_least_one(l.segments);
        l.range_segments = c->range_segments;
        if (l.range_segments > l.segments / 4)
                l.range_segments = l.segments / 4;
        if (l.range_segments > part)
                l.range_segments = part;
        l.range_segments = at_least_one(l.range_segments);
        return l;
}

/* Judged once an answer, at its first byte. */
static bool headers_are_good(struct conn *c) {
        if (!c->judged) {
                c->verdict = oci_blob_judge_headers(c->fetch->blob, c->easy, c->from, c->to, &c->error);
                c->judged = true;
        }
        return c->verdict == OCI_VERDICT_OK;
}

/* curl gives all that was refused again, although a part of it may have found room. */
static bool take(struct conn *c, const char *data, size_t len) {
        struct fetch_limits l = limits_of(c->conns, c->fetch);
        size_t before = c->taken < len ? c->taken : len;
        size_t n = fetch_store(c->fetch, &l, c->range, data + before, len - before);

        if (c->range->stream)
                budget_spend(&c->conns->budget, n);
        c->counted += n;
        c->fetch->received += n;
        bool all = before + n == len;
        c->taken = all ? c->taken - before : before + n;
        return all;
}

static size_t on_data(char *data, size_t size, size_t n, void *userdata) {
        struct conn *c = userdata;
        struct conns *all = c->conns;
        size_t len = size * n;

        assert(c->magic == CONN_MAGIC && c->fetch);
        if (!headers_are_good(c) || c->range->pos == c->range->end)
                return CURL_WRITEFUNC_ERROR;
        if ((c->range->stream && budget_wait_ms(&all->budget, time_monotonic_ns()) > 0) ||
            !take(c, data, len)) {
                c->paused = true;
                return CURL_WRITEFUNC_PAUSE;
        }
        return len;
}

static int prepare(struct conn *c, struct error *e) {
        int r = oci_blob_prepare(c->fetch->blob, c->easy, c->from, c->to, e);

        if (r < 0)
                return r;
        curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
        curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_data);
        curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
        if (curl_multi_add_handle(sockets_multi(c->conns->sockets), c->easy) != CURLM_OK)
                return error_errno(e, ENOMEM, "start a request");
        return 0;
}

static void make_idle(struct conn *c) {
        struct fetch *f = c->fetch;

        if (c->counted > 0)
                metric_add(FETCHED_BYTES, (double)c->counted, oci_blob_registry(f->blob));
        f->connections--;
        budget_give(&c->conns->budget, c->place);
        c->counted = 0;
        c->fetch = NULL;
        c->range = NULL;
}

/* Hands @r over to the idle @c. A request that cannot even begin fails the transfer. */
static void start(struct conn *c, struct fetch *f, struct range *r, int place) {
        struct error e = { .kind = ERROR_NONE };

        c->fetch = f;
        c->range = r;
        c->from = r->pos;
        c->to = r->end;
        c->place = place;
        c->judged = c->paused = false;
        c->taken = 0;
        c->verdict = OCI_VERDICT_OK;
        c->error.kind = ERROR_NONE;
        f->connections++;
        if (!r->stream)
                budget_spend(&c->conns->budget, r->end - r->pos);
        if (prepare(c, &e) < 0) {
                make_idle(c);
                fetch_ended(f, r, &(struct fetch_end){ .verdict = OCI_VERDICT_FATAL }, &e);
        }
}

/* All requests of @f, without a word to it. */
static void abort_requests(struct conns *c, const struct fetch *f) {
        for (unsigned i = 0; i < c->n; i++) {
                struct conn *x = &c->all[i];

                if (x->fetch != f)
                        continue;
                curl_multi_remove_handle(sockets_multi(c->sockets), x->easy);
                make_idle(x);
        }
}

/* The words of oci's own requests. */
static const char *retry_reason(enum oci_verdict verdict, CURL *easy) {
        long code = 0;

        if (verdict == OCI_VERDICT_LOCATE)
                return "expired";
        if (verdict == OCI_VERDICT_NO_RANGES)
                return "ranges";
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
        return code == 429 ? "throttled" : code >= 400 ? "status" : "reset";
}

static bool is_throttling(CURL *easy) {
        long code = 0;

        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
        return code == 429 || code == 503;
}

/* The server does not do ranges: what runs is thrown away, one stream begins. */
static void degrade(struct conns *c, struct fetch *f) {
        abort_requests(c, f);
        fetch_become_stream(f);
}

/* One request is over: verdict, budget, metrics, and the range back to its fetch. */
static void finished(struct conn *c, CURLcode code) {
        struct fetch *f = c->fetch;
        struct range *r = c->range;
        struct error e = { .kind = ERROR_NONE };
        int64_t wait_ms = 0;

        if (code == CURLE_OK && r->pos < r->end && (c->verdict == OCI_VERDICT_OK))
                code = CURLE_PARTIAL_FILE;
        enum oci_verdict v = oci_blob_judge(f->blob, c->easy, code, c->from, c->to, &wait_ms, &e);
        if (c->verdict != OCI_VERDICT_OK) {
                v = c->verdict;
                e = c->error;
        }
        if (r->pos == r->end)
                v = OCI_VERDICT_OK; /* whatever became of the connection: all that was asked for is here */
        else if (v == OCI_VERDICT_OK)
                v = OCI_VERDICT_RETRY;
        if (v != OCI_VERDICT_OK && e.kind == ERROR_NONE)
                error_set(&e, ERROR_UNAVAILABLE, "%s: the answer ended early", oci_blob_registry(f->blob));
        curl_multi_remove_handle(sockets_multi(c->conns->sockets), c->easy);
        bool throttled = v == OCI_VERDICT_RETRY && is_throttling(c->easy);
        if (throttled)
                budget_throttled(&c->conns->budget, c->place);
        else if (v == OCI_VERDICT_OK)
                budget_answered(&c->conns->budget, c->place);
        make_idle(c);
        if (v != OCI_VERDICT_OK && v != OCI_VERDICT_FATAL)
                metric_add(REGISTRY_RETRIES, 1, oci_blob_registry(f->blob), retry_reason(v, c->easy));
        if (v == OCI_VERDICT_NO_RANGES && !f->streaming)
                degrade(c->conns, f);
        else
                fetch_ended(f, r,
                            &(struct fetch_end){ .verdict = v,
                                                 .throttled = throttled,
                                                 .wait_ms = wait_ms,
                                                 .now_ms = time_monotonic_ms() },
                            &e);
}

static void collect(struct conns *c) {
        CURLMsg *m;
        int left;

        while ((m = curl_multi_info_read(sockets_multi(c->sockets), &left))) {
                struct conn *x;
                CURLcode code = m->data.result; /* the message dies with the handle's removal */

                if (m->msg != CURLMSG_DONE)
                        continue;
                curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
                assert(x->magic == CONN_MAGIC && x->fetch);
                finished(x, code);
        }
}

static struct conn *idle_conn(struct conns *c) {
        for (unsigned i = 0; i < c->n; i++)
                if (!c->all[i].fetch)
                        return &c->all[i];
        return NULL;
}

/* One request for @f, if there is something to ask for and a connection to its host is to be had. */
static bool start_one(struct conns *c, struct fetch *f, int64_t now_ms, int64_t *wait_ms) {
        char host[BUDGET_HOST_MAX];
        struct conn *x = idle_conn(c);

        if (!x)
                return false;
        if (!f->streaming && !oci_blob_has_ranges(f->blob))
                degrade(c, f);
        fetch_copy_host(f, host, sizeof host);
        int place = budget_take(&c->budget, host);
        if (place < 0)
                return false;
        struct fetch_limits l = limits_of(c, f);
        struct range *r = fetch_next(f, &l, now_ms, wait_ms);
        if (!r) {
                budget_give(&c->budget, place);
                return false;
        }
        start(x, f, r, place);
        return true;
}

/* The first fetch becomes the last. */
static void rotate(struct conns *c) {
        struct fetch *f = c->fetches, **end = &c->fetches;

        if (!f || !f->next)
                return;
        c->fetches = f->next;
        f->next = NULL;
        while (*end)
                end = &(*end)->next;
        *end = f;
}

/* One request for each fetch in turn, until a whole round has found nothing to start. */
static void start_all(struct conns *c, int64_t *wait_ms) {
        int64_t now = time_monotonic_ms();

        for (unsigned refused = 0; refused < c->n_fetches; rotate(c)) {
                int credit = budget_wait_ms(&c->budget, time_monotonic_ns());

                if (credit > 0) {
                        *wait_ms = credit < *wait_ms ? credit : *wait_ms;
                        return;
                }
                refused = start_one(c, c->fetches, now, wait_ms) ? 0 : refused + 1;
        }
}

/* on_data() runs inside curl_easy_pause() and may pause again. */
static void resume(struct conns *c, int64_t *wait_ms) {
        for (unsigned i = 0; i < c->n; i++) {
                struct conn *x = &c->all[i];

                if (!x->fetch || !x->paused)
                        continue;
                struct fetch_limits l = limits_of(c, x->fetch);
                int credit = budget_wait_ms(&c->budget, time_monotonic_ns());
                if (credit > 0)
                        *wait_ms = credit < *wait_ms ? credit : *wait_ms;
                if (credit > 0 || !fetch_may_go_on(x->fetch, &l, x->range))
                        continue;
                x->paused = false;
                curl_easy_pause(x->easy, CURLPAUSE_CONT);
        }
}

int conns_run(struct conns *c) {
        int64_t wait_ms = IDLE_MS;

        collect(c);
        resume(c, &wait_ms);
        start_all(c, &wait_ms);
        return (int)wait_ms;
}

void conns_attach(struct conns *c, struct fetch *f) {
        f->next = c->fetches;
        c->fetches = f;
        c->n_fetches++;
}

void conns_detach(struct conns *c, struct fetch *f) {
        struct fetch **link = &c->fetches;

        while (*link && *link != f)
                link = &(*link)->next;
        assert(*link);
        *link = f->next;
        c->n_fetches--;
        abort_requests(c, f);
}

int conns_new(struct conns **ret, const struct settings *s, struct arena *a, struct sockets *sockets,
              struct error *e) {
        _cleanup_(conns_freep) struct conns *c = calloc(1, sizeof *c);

        if (!c)
                return error_errno(e, ENOMEM, "engine connections");
        c->arena = a;
        c->sockets = sockets;
        c->per_host = s->engine.connections_per_host ? s->engine.connections_per_host : 1;
        c->range_segments = at_least_one((size_t)(s->engine.range_size / SEGMENT_SIZE));
        unsigned n = s->engine.connections ? s->engine.connections : 1;
        c->all = calloc(n, sizeof *c->all);
        if (!c->all || budget_init(&c->budget, n, c->per_host, s->engine.bandwidth) < 0)
                return error_errno(e, ENOMEM, "engine connections");
        for (; c->n < n; c->n++) {
                CURL *easy = curl_easy_init();

                if (!easy)
                        return error_errno(e, ENOMEM, "engine connections");
                c->all[c->n] = (struct conn){ .magic = CONN_MAGIC, .conns = c, .easy = easy };
        }
        *ret = take_ptr(c);
        return 0;
}

void conns_free(struct conns *c) {
        if (!c)
                return;
        assert(c->n_fetches == 0);
        for (unsigned i = 0; i < c->n; i++)
                curl_easy_cleanup(c->all[i].easy);
        budget_destroy(&c->budget);
        free(c->all);
        free(c);
}
