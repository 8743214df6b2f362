/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange: the rules of trying again.
 *
 *   an answer of 408, 429, 5xx       OCI_TRIES_STATUS times: the server is alive
 *   no answer                        OCI_TRIES_TRANSPORT times: a pod waits for nothing
 *   either, with somebody else to ask   OCI_TRIES_MIRROR times (the caller's max_tries)
 *
 * Not tried again: certificates that are not trusted, a server without TLS, answers that are too long. They
 * do not get better by themselves, and a person has to see them soon.
 */
#include "oci/exchange.h"

#include <stdio.h>

#include "base/metrics.h"
#include "base/text.h"
#include "oci/retry_after.h"
#include "oci/url.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 5000
#define RETRY_AFTER_MAX_MS 30000

const char *oci_retry_reason(CURLcode code, long status) {
        switch (code) {
        case CURLE_OK:
                return status == 429 ? "throttled" : status == 408 || status >= 500 ? "status" : NULL;
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
                return "dns";
        case CURLE_COULDNT_CONNECT:
                return "connect";
        case CURLE_OPERATION_TIMEDOUT:
                return "timeout";
        case CURLE_GOT_NOTHING:
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
        case CURLE_PARTIAL_FILE:
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_WEIRD_SERVER_REPLY: /* libcurl has closed that connection */
                return "reset";
        default:
                return NULL;
        }
}

int64_t oci_retry_wait_ms(unsigned tried, const char *retry_after) {
        int64_t wait = BACKOFF_FIRST_MS;

        if (retry_after && oci_retry_after_parse(&wait, retry_after, time_now_ms()) == 0)
                return wait < RETRY_AFTER_MAX_MS ? wait : RETRY_AFTER_MAX_MS;
        wait = BACKOFF_FIRST_MS;
        for (unsigned i = 1; i < tried && wait < BACKOFF_MAX_MS; i++)
                wait *= 2;
        if (wait > BACKOFF_MAX_MS)
                wait = BACKOFF_MAX_MS;
        return time_jitter(wait); /* a node full of clients does not come at once */
}

void oci_count_request(const char *registry, long status) {
        char code[16];

        snprintf(code, sizeof code, "%ld", status);
        metric_add(REGISTRY_REQUESTS, 1, registry, code);
}

/* A server that answers is alive and may be patient with; one that does not keeps a pod waiting for nothing.
 */
static unsigned tries_allowed(const struct oci_exchange *x, const struct oci_http_response *r) {
        unsigned n = r->status ? OCI_TRIES_STATUS : OCI_TRIES_TRANSPORT;

        return x->max_tries > 0 && x->max_tries < n ? x->max_tries : n;
}

/* Says why the request is sent again; no @why: it is over. */
static void tell(const struct oci_http_request *req, const char *why) {
        if (req->cancel.retrying)
                req->cancel.retrying(req->cancel.userdata, why);
}

static void tell_trouble(const struct oci_http_request *req, const struct oci_http_response *a,
                         const struct error *failure) {
        _cleanup_free_ char *host = NULL;
        char text[256];

        if (!a->status) {
                tell(req, failure->text);
                return;
        }
        host = oci_url_host(req->target.url);
        snprintf(text, sizeof text, "%.200s answered with HTTP %ld", host ? host : "the registry", a->status);
        tell(req, text);
}

int oci_exchange(struct oci_http_response *ret, const struct oci_exchange *x,
                 const struct oci_http_request *req, struct error *e) {
        struct error failure = { 0 };

        for (unsigned tried = 1;; tried++) {
                _cleanup_response_ struct oci_http_response a = { 0 };
                int r = oci_http_perform(&a, x->http, req, &failure);
                const char *reason = oci_retry_reason(a.code, a.status);
                bool hopeless = r < 0 && failure.kind != ERROR_UNAVAILABLE;

                oci_count_request(x->registry, a.status);
                if (hopeless || !reason || tried >= tries_allowed(x, &a)) {
                        if (tried > 1)
                                tell(req, NULL);
                        *ret = a;
                        a = (struct oci_http_response){ 0 };
                        return r < 0 ? error_copy(e, &failure) : 0;
                }
                metric_add(REGISTRY_RETRIES, 1, x->registry, reason);
                tell_trouble(req, &a, &failure);
                if (!oci_cancel_sleep(&req->cancel, oci_retry_wait_ms(tried, a.retry_after)))
                        return error_set(e, ERROR_CANCELLED, "cancelled while waiting to ask %s again",
                                         x->registry);
        }
}
