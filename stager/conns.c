/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conns: a fixed number of connections, each an easy handle that is used again and again.
 *
 *   conn:  idle -> busy (one range of one fetch) -> idle
 *                   \-> paused (a stream without memory or credit) -> busy
 *
 * An answer is judged twice: its headers before the first byte is stored, and the whole when it ends.
 *
 *   all of the range is here  the range is gone
 *   RETRY, LOCATE             the range waits for its time, or until the blob has been located again
 *   NO_RANGES                 all requests of the blob are dropped, one stream takes their place
 *   FATAL                     the transfer fails
 *
 * While a request runs its range may become shorter (fetch_split()): then the connection is closed at the new
 * end. curl's connections live in the multi handle and are kept open from range to range.
 */
#include "base/log.h"
#include "base/metrics.h"
#include "base/text.h"
#include "stager/conns_state.h"

#include <assert.h>
#include <malloc.h>

#define IDLE_MS 60000                   /* conns_run() is called again after that in any case */
#define PEER_BYTES ((uint64_t)64 << 10) /* fewer say nothing about a connection */

static void note_first_byte(struct conn *c) {
        curl_off_t sent_us = 0, first_us = 0;

        lap_first_byte(&c->lap, time_monotonic_ns());
        curl_easy_getinfo(c->easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us);
        curl_easy_getinfo(c->easy, CURLINFO_STARTTRANSFER_TIME_T, &first_us);
        if (first_us > sent_us)
                pacer_first_byte(&conn_host(c)->pacer, (uint64_t)(first_us - sent_us) * 1000);
}

/* Ranges wait longer and longer for a host that is away, each for itself; the first one that is answered is a
 * sign for all. */
static void note_answer(struct conn *c) {
        if (!conn_host(c)->away)
                return;
        conn_host(c)->away = false;
        for (struct fetch *f = c->conns->fetches; f; f = f->next)
                if (f->place == c->place)
                        fetch_host_is_back(f);
}

/* Judged once an answer, at its first byte. */
static bool headers_are_good(struct conn *c) {
        if (!c->judged) {
                c->verdict = oci_blob_judge_headers(c->fetch->blob, c->easy, c->from, c->to, &c->error);
                c->judged = true;
                if (c->verdict == OCI_VERDICT_OK) {
                        note_first_byte(c);
                        note_answer(c);
                }
        }
        return c->verdict == OCI_VERDICT_OK;
}

/* curl gives all that was refused again, although a part of it may have found room. */
static bool take(struct conn *c, const char *data, size_t len) {
        struct fetch_limits l = { .segments = 0 }; /* only a stream takes memory as it goes */
        size_t before = c->taken < len ? c->taken : len;

        if (c->range->stream)
                l = conns_limits(c->conns, c->fetch);
        size_t n = fetch_store(c->fetch, &l, c->range, data + before, len - before);
        if (c->range->stream)
                budget_spend(&c->conns->budget, c->rate, c->warm, n);
        pacer_received(&conn_host(c)->pacer, n);
        c->counted += n;
        c->received += n;
        c->fetch->received += n;
        bool all = before + n == len;
        c->taken = all ? c->taken - before : before + n;
        return all;
}

static int credit_wait_ms(struct conn *c) {
        return budget_wait_ms(&c->conns->budget, c->rate, c->warm, time_monotonic_ns());
}

static size_t on_data(char *data, size_t size, size_t n, void *userdata) {
        struct conn *c = userdata;
        size_t len = size * n;

        assert(c->magic == CONN_MAGIC && c->fetch);
        if (!headers_are_good(c) || c->range->pos == c->range->end)
                return CURL_WRITEFUNC_ERROR;
        if ((c->range->stream && credit_wait_ms(c) > 0) || !take(c, data, len)) {
                c->paused = true;
                return CURL_WRITEFUNC_PAUSE;
        }
        return c->range->pos == c->range->end && c->range->end < c->to ? CURL_WRITEFUNC_ERROR : len;
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
        budget_give(&c->conns->budget, c->place, c->warm);
        c->conns->busy--;
        c->counted = 0;
        c->fetch = NULL;
        c->range = NULL;
}

void conn_start(struct conn *c, struct fetch *f, struct range *r) {
        struct error e = { .kind = ERROR_NONE };

        c->fetch = f;
        c->range = r;
        c->from = r->pos;
        c->to = r->end;
        c->judged = c->paused = false;
        c->taken = 0;
        c->received = 0;
        c->verdict = OCI_VERDICT_OK;
        c->error.kind = ERROR_NONE;
        lap_begin(&c->lap, time_monotonic_ns());
        r->rate = -1;
        f->connections++;
        c->conns->busy++;
        if (!r->stream)
                budget_spend(&c->conns->budget, c->rate, c->warm, r->end - r->pos);
        if (prepare(c, &e) < 0) {
                make_idle(c);
                fetch_ended(f, r, &(struct fetch_end){ .verdict = OCI_VERDICT_FATAL }, &e);
        }
}

/* Taken out before its end, a request takes its connection with it. */
void conn_cut_off(struct conn *c, unsigned pieces) {
        struct fetch *f = c->fetch;
        struct range *r = c->range;

        curl_multi_remove_handle(sockets_multi(c->conns->sockets), c->easy);
        make_idle(c);
        fetch_cut(f, r, pieces);
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

static bool is_away(CURL *easy, CURLcode code) {
        long status = 0;

        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        return (code != CURLE_OK && status == 0) || (status >= 502 && status <= 504);
}

/* What runs is thrown away, one stream begins. */
void conns_degrade(struct conns *c, struct fetch *f) {
        abort_requests(c, f);
        fetch_become_stream(f);
}

/* What the host is to learn from it. The connection has not been given back. */
static void tell_host(struct conn *c, enum oci_verdict v, int64_t wait_ms, bool throttled) {
        struct budget_host *h = conn_host(c);
        uint64_t now = time_monotonic_ns();

        if (throttled)
                pacer_refused(&h->pacer, h->used, c->lap.sent_ns, now, wait_ms);
        if (v == OCI_VERDICT_NO_RANGES)
                conns_note_ranges(c->conns, h, HOST_RANGES_BROKEN);
        if (v != OCI_VERDICT_OK)
                return;
        pacer_answered(&h->pacer, now);
        if (c->range->stream)
                return;
        if (c->received >= PEER_BYTES)
                peers_add(&h->peers, &c->lap, c->received, now);
        if (h->ranges == HOST_RANGES_UNKNOWN || h->ranges == HOST_RANGES_IGNORED)
                conns_note_ranges(c->conns, h, HOST_RANGES_HONOURED);
}

/* What @c's request has come to. */
static enum oci_verdict verdict_of(struct conn *c, CURLcode code, int64_t *ret_wait_ms, struct error *e) {
        const struct range *r = c->range;
        bool complete = r->pos == r->end; /* then it does not matter what became of the connection */

        if (complete)
                code = CURLE_OK;
        else if (code == CURLE_OK && c->verdict == OCI_VERDICT_OK)
                code = CURLE_PARTIAL_FILE;
        enum oci_verdict v = oci_blob_judge(c->fetch->blob, c->easy, code, c->from, c->to, ret_wait_ms, e);
        if (c->verdict != OCI_VERDICT_OK) {
                v = c->verdict;
                error_copy(e, &c->error);
        }
        if (complete)
                return OCI_VERDICT_OK;
        if (v == OCI_VERDICT_OK)
                v = OCI_VERDICT_RETRY;
        if (e->kind == ERROR_NONE)
                error_set(e, ERROR_UNAVAILABLE, "%s: the answer ended early",
                          oci_blob_registry(c->fetch->blob));
        return v;
}

/* One request is over: verdict, budget, metrics, and the range back to its fetch. */
static void finished(struct conn *c, CURLcode code) {
        struct fetch *f = c->fetch;
        struct range *r = c->range;
        struct error e = { .kind = ERROR_NONE };
        struct fetch_end end = { .now_ms = time_monotonic_ms() };

        end.verdict = verdict_of(c, code, &end.wait_ms, &e);
        curl_multi_remove_handle(sockets_multi(c->conns->sockets), c->easy);
        end.throttled = end.verdict == OCI_VERDICT_RETRY && is_throttling(c->easy);
        end.away = end.verdict == OCI_VERDICT_RETRY && is_away(c->easy, code);
        end.others = conn_host(c)->used - 1;
        conn_host(c)->away |= end.away;
        tell_host(c, end.verdict, end.wait_ms, end.throttled);
        make_idle(c);
        if (end.verdict != OCI_VERDICT_OK && end.verdict != OCI_VERDICT_FATAL)
                metric_add(REGISTRY_RETRIES, 1, oci_blob_registry(f->blob),
                           retry_reason(end.verdict, c->easy));
        if (end.verdict == OCI_VERDICT_NO_RANGES && !f->streaming)
                conns_degrade(c->conns, f);
        else
                fetch_ended(f, r, &end, &e);
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

/* on_data() runs inside curl_easy_pause() and may pause again. */
static void resume(struct conns *c, int64_t *wait_ms) {
        for (unsigned i = 0; i < c->n; i++) {
                struct conn *x = &c->all[i];

                if (!x->fetch || !x->paused)
                        continue;
                struct fetch_limits l = conns_limits(c, x->fetch);
                int credit = credit_wait_ms(x);
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
        conns_watch(c);
        conns_start_all(c, &wait_ms);
        conns_pace(c, &wait_ms);
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
        if (f->place >= 0)
                budget_leave(&c->budget, f->place);
        f->place = -1;
        if (c->n_fetches == 0)
                (void)malloc_trim(0); /* of what curl received into */
}

int conns_new(struct conns **ret, const struct settings *s, struct arena *a, struct sockets *sockets,
              struct hosts *hosts, struct error *e) {
        _cleanup_(conns_freep) struct conns *c = calloc(1, sizeof *c);

        if (!c)
                return error_errno(e, ENOMEM, "engine connections");
        c->arena = a;
        c->sockets = sockets;
        c->hosts = hosts;
        c->range_segments = s->engine.range_size > SEGMENT_SIZE ? s->engine.range_size / SEGMENT_SIZE : 1;
        unsigned n = s->engine.connections ? s->engine.connections : 1;
        c->all = calloc(n, sizeof *c->all);
        if (!c->all || budget_init(&c->budget, s, hosts) < 0)
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
