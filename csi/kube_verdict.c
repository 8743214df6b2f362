/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_verdict: the rules of trying again are those for registries (oci/exchange.h), with a deadline in
 * place of a number of tries: whoever asks the API server knows how long it can wait, and nobody else can
 * be asked.
 */
#include "csi/kube_verdict.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "oci/exchange.h"

#define TRY_MAX_MS 10000
#define TRY_MIN_MS 100         /* less is not worth waiting for */
#define STATUS_MAX (64u << 10) /* of a Status that we look at */
#define RETRY_AFTER_MAX_S 3600u

void csi_kube_course_begin(struct csi_kube_course *c, int64_t timeout_ms, int64_t now_ms) {
        c->timeout_ms = timeout_ms;
        c->deadline_ms = now_ms + timeout_ms;
        c->tried = 0;
        c->refreshed = false;
}

static int too_late(const struct csi_kube_course *c, struct error *e) {
        char text[TEXT_SHORT];

        return error_set(e, ERROR_TIMEOUT, "the API server at %s has not answered within %s", c->server,
                         text_format_duration(c->timeout_ms, text));
}

int64_t csi_kube_course_try_ms(const struct csi_kube_course *c, int64_t now_ms, struct error *e) {
        int64_t left = c->deadline_ms - now_ms;

        if (left <= 0) {
                (void)too_late(c, e);
                return 0;
        }
        return left < TRY_MAX_MS ? left : TRY_MAX_MS;
}

/* ---- Status ---- */

/* Cuts at a character's end. */
static void copy_message(char *out, size_t size, const char *message) {
        size_t len = 0, n;

        while (message[len] && (n = text_utf8_size(message + len, strlen(message + len))) > 0 &&
               len + n < size)
                len += n;
        memcpy(out, message, len);
        out[len] = '\0';
}

void csi_kube_status_read(struct csi_kube_status *ret, const char *body, size_t len) {
        _cleanup_json_ json_t *doc = NULL;
        const char *kind = NULL, *message = NULL;
        json_t *details = NULL;
        uint64_t seconds = 0;

        *ret = (struct csi_kube_status){ 0 };
        if (len == 0 || json_parse(&doc, body, len, STATUS_MAX, "status", NULL) < 0)
                return;
        if (json_get_string(&kind, doc, "kind", NULL) < 0 || strcmp(kind, "Status") != 0)
                return;
        if (json_opt_string(&message, doc, "message", "", NULL) == 0)
                copy_message(ret->message, sizeof ret->message, message);
        if (json_opt_object(&details, doc, "details", NULL) == 0 && details &&
            json_opt_size(&seconds, details, "retryAfterSeconds", 0, NULL) == 0)
                ret->retry_after_seconds =
                    seconds < RETRY_AFTER_MAX_S ? (unsigned)seconds : RETRY_AFTER_MAX_S;
}

/* ---- what it means ---- */

static int status_error(struct error *e, const struct csi_kube_course *c, long status,
                        const struct csi_kube_status *said) {
        const char *message = said->message;
        char http[32];

        snprintf(http, sizeof http, "HTTP %ld", status);
        if (!*message || (c->secret && *c->secret && strstr(message, c->secret)))
                message = http;
        switch (status) {
        case 400:
        case 422:
                return error_set(e, ERROR_INVALID, "the API server does not take it: %s", message);
        case 401:
                return error_set(e, ERROR_UNAUTHENTICATED,
                                 "the API server does not accept the token in %s: %s", c->account, message);
        case 403:
                return error_set(e, ERROR_DENIED, "the API server denies it: %s", message);
        case 404:
                return error_set(e, ERROR_NOT_FOUND, "the API server does not find it: %s", message);
        case 409:
                return error_set(e, ERROR_EXISTS, "the API server sees a conflict: %s", message);
        case 429:
                return error_set(e, ERROR_UNAVAILABLE, "the API server at %s is too busy (%s)", c->server,
                                 message);
        default:
                return error_set(e, ERROR_UNAVAILABLE,
                                 status == 408 || status >= 500
                                     ? "the API server at %s failed (%s)"
                                     : "%s gives an answer that makes no sense (%s)",
                                 c->server, message);
        }
}

static bool is_distrust(CURLcode code) {
        return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_ISSUER_ERROR ||
               code == CURLE_SSL_CACERT_BADFILE;
}

static int transport_error(struct error *e, const struct csi_kube_course *c,
                           const struct oci_http_response *a) {
        const char *detail = *a->detail ? a->detail : curl_easy_strerror(a->code);

        if (a->code == CURLE_OPERATION_TIMEDOUT)
                return too_late(c, e);
        if (is_distrust(a->code))
                return error_set(
                    e, ERROR_UNAVAILABLE,
                    "the certificate of the API server at %s is not trusted (%s): check %s/ca.crt", c->server,
                    detail, c->account);
        if (a->code == CURLE_WEIRD_SERVER_REPLY || a->code == CURLE_USE_SSL_FAILED)
                return error_set(e, ERROR_UNAVAILABLE, "what answers at %s is not the API server", c->server);
        return error_set(e, ERROR_UNAVAILABLE, "the API server at %s cannot be reached: %s", c->server,
                         detail);
}

/* Not less than our own back-off, whatever the server says: it may say "0". Waiting is of use only if there
 * is time for a try behind it. */
static bool can_wait(int64_t *ret_wait_ms, const struct csi_kube_course *c, const struct oci_http_response *a,
                     const struct csi_kube_status *said, int64_t now_ms) {
        char seconds[16];
        const char *asked = a->retry_after;

        if (!oci_retry_reason(a->code, a->status))
                return false;
        if (!asked && said->retry_after_seconds > 0) {
                snprintf(seconds, sizeof seconds, "%u", said->retry_after_seconds);
                asked = seconds;
        }
        int64_t own_ms = oci_retry_wait_ms(c->tried, NULL), asked_ms = oci_retry_wait_ms(c->tried, asked);
        *ret_wait_ms = own_ms > asked_ms ? own_ms : asked_ms;
        return *ret_wait_ms + TRY_MIN_MS <= c->deadline_ms - now_ms;
}

enum csi_kube_next csi_kube_judge(int64_t *ret_wait_ms, struct csi_kube_course *c,
                                  const struct oci_http_response *a, int performed,
                                  const struct error *sent_error, int64_t now_ms, struct error *e) {
        struct csi_kube_status said = { 0 };

        if (performed < 0 && sent_error->kind == ERROR_INVALID) {
                (void)error_set(e, ERROR_UNAVAILABLE, "the API server at %s: %s", c->server,
                                sent_error->text);
                return CSI_KUBE_FAIL;
        }
        if (performed < 0 && sent_error->kind == ERROR_CANCELLED) { /* oci speaks of a registry */
                (void)error_set(e, ERROR_CANCELLED, "cancelled while waiting for the API server");
                return CSI_KUBE_FAIL;
        }
        if (performed < 0 && sent_error->kind != ERROR_UNAVAILABLE) { /* out of memory */
                (void)error_copy(e, sent_error);
                return CSI_KUBE_FAIL;
        }
        if (a->status >= 200 && a->status < 300)
                return CSI_KUBE_DONE;
        c->tried++;
        if (!c->refreshed && (a->status == 401 || is_distrust(a->code))) {
                c->refreshed = true;
                return CSI_KUBE_REFRESH;
        }
        if (a->status > 0)
                csi_kube_status_read(&said, buf_text(&a->body), a->body.len);
        if (can_wait(ret_wait_ms, c, a, &said, now_ms))
                return CSI_KUBE_WAIT;
        if (a->status > 0)
                (void)status_error(e, c, a->status, &said);
        else
                (void)transport_error(e, c, a);
        return CSI_KUBE_FAIL;
}
