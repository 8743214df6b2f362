/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blob: where one blob's bytes come from now, its route, and what the answers to range requests mean.
 *
 *   no route --locate--> route (an endpoint, or where it redirects to) --judge: LOCATE--> locate again
 *
 * A route is immutable once it is there. Older ones stay until the blob is freed, because transfers that were
 * started with them still use their headers. There are few: locate gives up when it was called LOCATES_MAX
 * times without a good answer in between.
 *
 * An endpoint that fails for good is not asked again for this blob (first_endpoint); the last one is the
 * registry itself. Threads: prepare, judge and the getters run on the engine's reactor, locate on another;
 * the lock guards what they share and is never held across a request.
 */
#include "oci/blob.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "base/text.h"
#include "oci/ask.h"
#include "oci/client_state.h"
#include "oci/content_range.h"
#include "oci/exchange.h"
#include "oci/layout.h"
#include "oci/url.h"

#define LOCATES_MAX 8u
#define FAILURES_BEFORE_ELSEWHERE 4u /* in a row, without a good answer */

struct route {
        struct route *older;
        struct curl_slist *headers;
        char *url, *host, *ca_pem; /* host: for people and budgets; ca_pem: NULL: the system's */
        bool redirected;           /* to another origin: the address may expire */
        size_t endpoint;           /* that led here */
};

struct oci_blob {
        struct oci_client *client;
        struct oci_reference *reference;
        struct oci_keyring *keyring;
        struct digest digest;
        uint64_t size;                  /* as the manifest says; an answer with another one is a failure */
        struct oci_endpoints endpoints; /* empty for a layout */
        int fd;                         /* a layout's file, or -1 */
        atomic_bool cancelled;          /* for good */
        pthread_mutex_t lock;           /* guards what follows */
        struct route *route;            /* the newest */
        bool has_ranges;
        bool ranges_failed;    /* a server took Range and then did not keep to it */
        size_t first_endpoint; /* those before it have failed */
        unsigned locates;      /* since the last good answer */
        unsigned failures;     /* transfers to be tried again, likewise */
        char trouble[256];     /* why locate() asks again; "": it does not */
};

/* What a judgement needs to know of the transfer. */
struct transfer_facts {
        const struct route *route;
        long status;
        uint64_t from, to;
        CURL *easy;
};

static struct route *route_free(struct route *r) {
        if (r) {
                curl_slist_free_all(r->headers);
                free(r->url);
                free(r->host);
                free(r->ca_pem);
                free(r);
        }
        return NULL;
}
DEFINE_CLEANUP(struct route *, route_free);

int oci_blob_new(struct oci_blob **ret, struct oci_client *c, const struct oci_reference *source,
                 const struct oci_keyring *keyring, const struct digest *digest, uint64_t size,
                 struct error *e) {
        _cleanup_(oci_blob_freep) struct oci_blob *b = calloc(1, sizeof *b);
        int r;

        if (!b)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        pthread_mutex_init(&b->lock, NULL);
        b->client = c;
        b->fd = -1;
        b->digest = *digest;
        b->size = size;
        b->keyring = oci_keyring_ref(keyring);
        if (oci_reference_copy(&b->reference, source) < 0)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        r = source->is_layout ? 0 : oci_endpoints_of(&b->endpoints, c->settings, source->host, e);
        if (r < 0)
                return r;
        *ret = take_ptr(b);
        return 0;
}

void oci_blob_free(struct oci_blob *b) {
        if (!b)
                return;
        while (b->route) {
                struct route *older = b->route->older;

                route_free(b->route);
                b->route = older;
        }
        if (b->fd >= 0)
                close(b->fd);
        oci_endpoints_done(&b->endpoints);
        oci_reference_free(b->reference);
        oci_keyring_free(b->keyring);
        pthread_mutex_destroy(&b->lock);
        free(b);
}

/* ---- locate ---- */

/* Opens the file once; the first bytes are read from it each time. */
static int layout_locate(struct oci_blob *b, void *data, size_t cap, size_t *ret_len, struct error *e) {
        _cleanup_close_ int fd = -1;
        uint64_t size = 0;
        ssize_t n;

        if (b->fd < 0) {
                fd = oci_layout_open(b->reference, b->client->settings->policy.layouts, &b->digest, &size, e);
                if (fd < 0)
                        return fd;
                if (size != b->size)
                        return error_set(e, ERROR_DATA_LOSS,
                                         "%s: a blob's file has %llu bytes and the manifest says %llu; copy "
                                         "the layout again",
                                         b->reference->text, (unsigned long long)size,
                                         (unsigned long long)b->size);
                b->fd = take_fd(fd);
        }
        n = cap ? pread(b->fd, data, cap < b->size ? cap : (size_t)b->size, 0) : 0;
        if (n < 0)
                return error_errno(e, errno, "%s: cannot read a blob's file", b->reference->text);
        *ret_len = (size_t)n;
        return 0;
}

static int wrong_size(const struct oci_blob *b, const char *host, uint64_t size, struct error *e) {
        char text[DIGEST_TEXT_SIZE];

        return error_set(e, ERROR_DATA_LOSS, "%s has %llu bytes as %s of %s, and the manifest says %llu",
                         host, (unsigned long long)size, digest_format(&b->digest, text), b->reference->text,
                         (unsigned long long)b->size);
}

/* 416, although what was asked for lies in the blob: it has another size there, or ranges are not understood
 * after all (ERROR_UNAVAILABLE). */
static int range_refused(const struct oci_blob *b, const char *host, const char *content_range,
                         struct error *e) {
        struct oci_content_range range = { .to = 0 };
        char text[DIGEST_TEXT_SIZE];

        bool told = content_range && oci_content_range_parse(&range, content_range) == 0 && range.has_total;
        if (told && range.total != b->size)
                return wrong_size(b, host, range.total, e);
        digest_format(&b->digest, text);
        if (told)
                return error_set(e, ERROR_UNAVAILABLE,
                                 "%s refuses ranges of %s of %s that it says it has (416)", host, text,
                                 b->reference->text);
        return error_set(
            e, ERROR_DATA_LOSS,
            "%s refuses a range of %s of %s (416): it has less than the %llu bytes that the manifest says",
            host, text, b->reference->text, (unsigned long long)b->size);
}

/* Checks the answer to "the first bytes, please". *ret_ranges: the server has understood. */
static int first_answer_check(bool *ret_ranges, const struct oci_blob *b, const struct oci_http_response *a,
                              const char *host, size_t asked, struct error *e) {
        struct oci_content_range range = { .to = 0 };
        uint64_t expected = asked < b->size ? asked : b->size;

        if (a->status == 200) {
                if (a->body.len > b->size || (!a->was_cut && a->body.len != b->size))
                        return wrong_size(b, host, a->body.len, e);
                *ret_ranges = false;
                return 0;
        }
        bool parsed = a->content_range && oci_content_range_parse(&range, a->content_range) == 0;

        if (parsed && range.has_total && range.total != b->size)
                return wrong_size(b, host, range.total, e);
        bool whole = a->body.len == range.to || (a->was_cut && a->body.len < range.to);
        if (!parsed || !range.has_range || range.from != 0 || range.to > expected || !whole)
                return error_set(e, ERROR_UNAVAILABLE,
                                 "%s answered a request for a range with something else", host);
        *ret_ranges = true;
        return 0;
}

/* Our headers are on it only if it stays at the endpoint itself. */
static int route_new(struct route **ret, const struct oci_blob *b, const struct oci_answer *a,
                     size_t endpoint, struct error *e) {
        _cleanup_(route_freep) struct route *t = calloc(1, sizeof *t);
        const struct oci_endpoint *ep = &b->endpoints.list[endpoint];
        int r;

        if (!t)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        t->redirected = a->redirected;
        t->endpoint = endpoint;
        t->url = strdup(a->url);
        t->host = a->redirected ? oci_url_host(a->url) : strdup(ep->host);
        if (!t->url || !t->host)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        r = oci_client_ca(&t->ca_pem, b->client, t->host, e);
        if (r == 0)
                r = oci_ask_headers(&t->headers, ep, a->redirected, a->authorization, NULL, e);
        if (r == 0)
                *ret = take_ptr(t);
        return r;
}

static bool is_cancelled(void *blob) {
        struct oci_blob *b = blob;

        return atomic_load(&b->cancelled);
}

static void note_trouble(void *blob, const char *why) {
        struct oci_blob *b = blob;

        LOCK_SCOPE(&b->lock);
        snprintf(b->trouble, sizeof b->trouble, "%s", why ? why : "");
}

bool oci_blob_trouble(const struct oci_blob *b, char *ret, size_t size) {
        LOCK_SCOPE((pthread_mutex_t *)&b->lock);
        snprintf(ret, size, "%s", b->trouble);
        return *b->trouble;
}

void oci_blob_cancel(struct oci_blob *b) {
        atomic_store(&b->cancelled, true);
}

/* One endpoint. Whatever answers is the route from now on. */
static int locate_at(struct oci_blob *b, size_t endpoint, void *data, size_t cap, size_t *ret_len,
                     struct error *e) {
        const struct oci_endpoint *ep = &b->endpoints.list[endpoint];
        _cleanup_answer_ struct oci_answer a = { 0 };
        _cleanup_(route_freep) struct route *t = NULL;
        char text[DIGEST_TEXT_SIZE], path[sizeof "blobs/" + DIGEST_TEXT_SIZE];
        bool ranges = false;
        int r;

        snprintf(path, sizeof path, "blobs/%s", digest_format(&b->digest, text));
        struct oci_ask q = { .reference = b->reference,
                             .keyring = b->keyring,
                             .path = path,
                             .cancel = { is_cancelled, b, note_trouble },
                             .ranged = b->size > 0,
                             .max_body = b->size == 0 ? 0
                                         : cap > 0    ? cap
                                                      : 1,
                             .max_tries = endpoint + 1 < b->endpoints.n ? OCI_TRIES_MIRROR : 0 };

        r = oci_ask_endpoint(&a, b->client, ep, &q, e);
        if (r < 0 && a.response.status == 404)
                return error_set(e, ERROR_NOT_FOUND, "%s does not have %s of %s", ep->host, text,
                                 b->reference->text);
        if (r < 0 && a.response.status == 416)
                return range_refused(b, ep->host, a.response.content_range, e);
        if (r == 0)
                r = first_answer_check(&ranges, b, &a.response, ep->host, q.max_body, e);
        if (r == 0)
                r = route_new(&t, b, &a, endpoint, e);
        if (r < 0)
                return r;
        if (cap > 0 && a.response.body.len > 0)
                memcpy(data, a.response.body.data, a.response.body.len);
        *ret_len = cap > 0 ? a.response.body.len : 0;
        assert(t);
        LOCK_SCOPE(&b->lock);
        t->older = b->route;
        b->route = take_ptr(t);
        b->has_ranges = ranges && !b->ranges_failed;
        return 0;
}

/* Where to begin, or a failure if there was no progress for too long. */
static int locate_begin(size_t *ret, struct oci_blob *b, struct error *e) {
        LOCK_SCOPE(&b->lock);
        if (++b->locates > LOCATES_MAX)
                return error_set(e, ERROR_UNAVAILABLE, "%s gives addresses for %s that do not work",
                                 b->reference->host, b->reference->text);
        *ret = b->first_endpoint;
        return 0;
}

int oci_blob_locate(struct oci_blob *b, void *data, size_t cap, size_t *ret_len, struct error *e) {
        size_t i = 0;
        int r;

        if (b->reference->is_layout)
                return layout_locate(b, data, cap, ret_len, e);
        r = locate_begin(&i, b, e);
        if (r < 0)
                return r;
        for (;; i++) {
                struct error failure = { 0 };

                r = locate_at(b, i, data, cap, ret_len, &failure);
                if (r == 0)
                        return 0;
                if (!oci_error_is_elsewhere(&failure) || i + 1 >= b->endpoints.n)
                        return error_copy(e, &failure);
        }
}

/* ---- getters ---- */

bool oci_blob_is_layout(const struct oci_blob *b) {
        return b->reference->is_layout;
}

int oci_blob_file(const struct oci_blob *b) {
        return b->fd;
}

/* Stays valid until the blob is freed. */
static const struct route *route_now(const struct oci_blob *b) {
        LOCK_SCOPE((pthread_mutex_t *)&b->lock);
        return b->route;
}

bool oci_blob_has_ranges(const struct oci_blob *b) {
        LOCK_SCOPE((pthread_mutex_t *)&b->lock);
        return b->fd >= 0 || b->has_ranges;
}

void oci_blob_forgo_ranges(struct oci_blob *b) {
        LOCK_SCOPE(&b->lock);
        b->ranges_failed = true;
        b->has_ranges = false;
}

const char *oci_blob_registry(const struct oci_blob *b) {
        return b->reference->is_layout ? "oci-layout" : b->reference->host;
}

const char *oci_blob_host(const struct oci_blob *b) {
        const struct route *t = route_now(b);

        return t ? t->host : oci_blob_registry(b);
}

bool oci_blob_distrust(struct oci_blob *b) {
        LOCK_SCOPE(&b->lock);
        if (!b->route || b->route->endpoint + 1 >= b->endpoints.n)
                return false;
        if (b->first_endpoint <= b->route->endpoint)
                b->first_endpoint = b->route->endpoint + 1;
        return true;
}

/* ---- transfers ---- */

int oci_blob_prepare(struct oci_blob *b, CURL *easy, uint64_t from, uint64_t to, struct error *e) {
        const struct route *t = route_now(b);
        char range[48];

        if (!t)
                return error_set(e, ERROR_INTERNAL, "a blob of %s was asked for before it was located",
                                 b->reference->text);
        const struct oci_http_target target = { .url = t->url,
                                                .headers = t->headers,
                                                .ca_pem = t->ca_pem,
                                                .plain_http = !oci_url_is_https(t->url) };

        if (oci_http_prepare(easy, &target) < 0)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        if (to <= from || !oci_blob_has_ranges(b))
                return 0;
        snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)from, (unsigned long long)to - 1);
        if (curl_easy_setopt(easy, CURLOPT_RANGE, range) != CURLE_OK)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        return 0;
}

/* The route that @easy was prepared with; there may be a newer one by now. */
static const struct route *route_of(const struct oci_blob *b, CURL *easy) {
        const struct route *newest = route_now(b);
        char *url = NULL;

        if (curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &url) == CURLE_OK && url)
                for (const struct route *t = newest; t; t = t->older)
                        if (strcmp(t->url, url) == 0)
                                return t;
        return newest;
}

/* 206: a server that sends another range than it was asked for is not asked for ranges again. */
static enum oci_verdict judge_range(const struct oci_blob *b, const struct transfer_facts *f,
                                    struct error *e) {
        struct oci_content_range range;
        struct curl_header *h;

        bool parsed = curl_easy_header(f->easy, "Content-Range", 0, CURLH_HEADER, -1, &h) == CURLHE_OK &&
                      oci_content_range_parse(&range, h->value) == 0;

        if (parsed && range.has_total && range.total != b->size) {
                wrong_size(b, f->route->host, range.total, e);
                return OCI_VERDICT_FATAL;
        }
        if (!parsed || !range.has_range || range.from != f->from || range.to != f->to) {
                error_set(e, ERROR_UNAVAILABLE, "%s answered a request for a range with something else",
                          f->route->host);
                return OCI_VERDICT_NO_RANGES;
        }
        return OCI_VERDICT_OK;
}

/* 200: all of it. That is right if all of it was asked for, with Range or without. */
static enum oci_verdict judge_whole(const struct oci_blob *b, const struct transfer_facts *f,
                                    struct error *e) {
        curl_off_t len = -1;

        curl_easy_getinfo(f->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &len);
        if (len >= 0 && (uint64_t)len != b->size) {
                wrong_size(b, f->route->host, (uint64_t)len, e);
                return OCI_VERDICT_FATAL;
        }
        if (f->from == 0 && f->to == b->size)
                return OCI_VERDICT_OK;
        error_set(e, ERROR_UNAVAILABLE, "%s ignores ranges", f->route->host);
        return OCI_VERDICT_NO_RANGES;
}

static enum oci_verdict judge_refusal(const struct oci_blob *b, const struct transfer_facts *f,
                                      struct error *e) {
        struct curl_header *h = NULL;
        struct error why;

        (void)curl_easy_header(f->easy, "Content-Range", 0, CURLH_HEADER, -1, &h);
        range_refused(b, f->route->host, h ? h->value : NULL, &why);
        error_copy(e, &why);
        return why.kind == ERROR_UNAVAILABLE ? OCI_VERDICT_NO_RANGES : OCI_VERDICT_FATAL;
}

/* By the status alone. A refusal at an address we were sent to means that the address has expired. */
static enum oci_verdict judge_status(const struct oci_blob *b, const struct transfer_facts *f,
                                     struct error *e) {
        if (f->status == 206)
                return judge_range(b, f, e);
        if (f->status == 200)
                return judge_whole(b, f, e);
        if (f->status == 416)
                return judge_refusal(b, f, e);
        oci_status_error(e, b->reference, f->route->host, f->status, NULL);
        if (oci_retry_reason(CURLE_OK, f->status))
                return OCI_VERDICT_RETRY;
        if (f->status < 400 || f->status == 401 || f->route->redirected)
                return OCI_VERDICT_LOCATE;
        return OCI_VERDICT_FATAL;
}

/* What follows for the blob: other endpoints are asked before anything is fatal, and nobody locates for ever.
 */
static enum oci_verdict settle(struct oci_blob *b, const struct route *t, enum oci_verdict v) {
        bool others = t->endpoint + 1 < b->endpoints.n;

        LOCK_SCOPE(&b->lock);
        if (v == OCI_VERDICT_NO_RANGES) {
                b->ranges_failed = true;
                b->has_ranges = false;
        }
        if (v == OCI_VERDICT_RETRY && b->failures >= FAILURES_BEFORE_ELSEWHERE && (others || t->redirected)) {
                b->failures = 0;
                v = others ? OCI_VERDICT_FATAL : OCI_VERDICT_LOCATE;
        }
        if (v == OCI_VERDICT_FATAL && others) {
                if (b->first_endpoint <= t->endpoint)
                        b->first_endpoint = t->endpoint + 1;
                v = OCI_VERDICT_LOCATE;
        }
        if (v == OCI_VERDICT_LOCATE && b->locates >= LOCATES_MAX)
                v = OCI_VERDICT_FATAL;
        return v;
}

/* False: the blob was never located. */
static bool facts_of(struct transfer_facts *ret, const struct oci_blob *b, CURL *easy, uint64_t from,
                     uint64_t to) {
        *ret = (struct transfer_facts){ .route = route_of(b, easy), .from = from, .to = to, .easy = easy };
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &ret->status);
        return ret->route != NULL;
}

enum oci_verdict oci_blob_judge_headers(struct oci_blob *b, CURL *easy, uint64_t from, uint64_t to,
                                        struct error *e) {
        struct transfer_facts f;

        if (!facts_of(&f, b, easy, from, to))
                return OCI_VERDICT_FATAL;
        return settle(b, f.route, judge_status(b, &f, e));
}

/* Nothing was answered, or the answer broke off. */
static enum oci_verdict judge_failure(const struct transfer_facts *f, CURLcode code, struct error *e) {
        if (code == CURLE_WRITE_ERROR) {
                error_set(e, ERROR_UNAVAILABLE, "%s sent more than it was asked for", f->route->host);
                return OCI_VERDICT_RETRY;
        }
        code = oci_http_code(code, f->route->url, !oci_url_is_https(f->route->url));
        oci_http_error(e, code, f->route->url, NULL);
        return oci_retry_reason(code, 0) ? OCI_VERDICT_RETRY : OCI_VERDICT_FATAL;
}

/* What the server asks for. How long to wait otherwise is the asker's to say: it knows which of its ranges
 * failed how often. */
static int64_t wait_for(CURL *easy) {
        struct curl_header *h;

        if (curl_easy_header(easy, "Retry-After", 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
                return 0;
        return oci_retry_wait_ms(1, h->value);
}

enum oci_verdict oci_blob_judge(struct oci_blob *b, CURL *easy, CURLcode code, uint64_t from, uint64_t to,
                                int64_t *ret_wait_ms, struct error *e) {
        struct transfer_facts f;
        enum oci_verdict v;

        *ret_wait_ms = 0;
        if (!facts_of(&f, b, easy, from, to)) {
                error_set(e, ERROR_INTERNAL, "a transfer of %s was judged that was never prepared",
                          b->reference->text);
                return OCI_VERDICT_FATAL;
        }
        oci_count_request(b->reference->host, f.status);
        v = f.status ? judge_status(b, &f, e) : OCI_VERDICT_OK;
        if (v == OCI_VERDICT_OK && code != CURLE_OK)
                v = judge_failure(&f, code, e);
        if (v == OCI_VERDICT_OK) {
                LOCK_SCOPE(&b->lock);
                b->locates = b->failures = 0;
                return v;
        }
        if (v == OCI_VERDICT_RETRY) {
                LOCK_SCOPE(&b->lock);
                b->failures++;
        }
        v = settle(b, f.route, v);
        if (v == OCI_VERDICT_RETRY)
                *ret_wait_ms = wait_for(easy);
        return v;
}
