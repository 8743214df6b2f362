/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http: libcurl, one request at a time and session.
 *
 *   oci_http_perform: session out of the pool -> easy handle set up
 *                     -> multi loop (wakes up to look at `cancel`)
 *                     -> headers copied out -> session back into the pool
 *
 * The loop is a multi handle's, although it runs one transfer, because curl_easy_perform() calls its progress
 * function only about once a second while nothing arrives. Connections belong to the session's multi handle
 * and stay warm there. The pool keeps IDLE_SESSIONS; more are made when more threads ask at once, and freed
 * when they are given back.
 *
 * oci_http_prepare() is for the engine's transfers too (blob.c): their handles are not reset, so what one
 * transfer sets and the next does not want has to be listed there.
 *
 * What a hostile server can do to us is bounded by libcurl's cap on headers, max_body, and TOTAL_TIMEOUT_MS.
 */
#include "oci/http.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/text.h"
#include "oci/url.h"

#define CANCEL_POLL_MS 100
#define CONNECT_TIMEOUT_MS 10000L
#define TOTAL_TIMEOUT_MS 120000L /* of one small request */
#define LOW_SPEED_BYTES 1024L    /* a second, over LOW_SPEED_SECONDS: slower is dead */
#define LOW_SPEED_SECONDS 20L
#define RECEIVE_BUFFER (512L * 1024) /* 2.5 times less CPU than curl's 16 KiB on plain HTTP */
#define IDLE_SESSIONS 8u

struct session {
        struct session *next;
        CURLM *multi;                 /* has the connections */
        CURL *easy;                   /* reset before each request */
        char detail[CURL_ERROR_SIZE]; /* libcurl's words for the last failure */
};

struct oci_http {
        pthread_mutex_t lock; /* guards what follows */
        struct session *idle; /* the one used last comes first */
        unsigned n_idle;
};

/* What the write callback knows. */
struct sink {
        struct buf *body;
        size_t max;     /* bytes */
        bool cut, full; /* more is wanted to be cut; there was more */
};

bool oci_cancel_wanted(const struct oci_cancel *c) {
        return c->cancelled && c->cancelled(c->userdata);
}

bool oci_cancel_sleep(const struct oci_cancel *c, int64_t ms) {
        int64_t until = time_monotonic_ms() + ms;

        for (;;) {
                int64_t left = until - time_monotonic_ms();

                if (oci_cancel_wanted(c))
                        return false;
                if (left <= 0)
                        return true;
                (void)poll(NULL, 0, (int)(left < CANCEL_POLL_MS ? left : CANCEL_POLL_MS));
        }
}

/* libcurl's sockets are not CLOEXEC by themselves, and the daemon starts helpers. */
static curl_socket_t open_socket(void *userdata, curlsocktype purpose, struct curl_sockaddr *a) {
        (void)userdata;
        (void)purpose;
        return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

int oci_http_prepare(CURL *easy, const struct oci_http_target *t) {
        struct curl_blob ca = { .data = (void *)t->ca_pem, .flags = CURL_BLOB_COPY };
        bool ok = true;

        ca.len = t->ca_pem ? strlen(t->ca_pem) : 0;
#define SET(option, value) ok = curl_easy_setopt(easy, option, value) == CURLE_OK && ok
        SET(CURLOPT_URL, t->url);
        SET(CURLOPT_HTTPHEADER, t->headers);
        SET(CURLOPT_PROTOCOLS_STR, t->plain_http ? "http,https" : "https");
        SET(CURLOPT_CAINFO_BLOB,
            t->ca_pem ? &ca : NULL); /* instead of the bundle; the system's directory still counts */
        SET(CURLOPT_CAPATH, t->only_ca ? NULL : curl_version_info(CURLVERSION_NOW)->capath);
        SET(CURLOPT_PROXY, t->direct ? "" : NULL); /* NULL: as the environment says */
        SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        SET(CURLOPT_SSL_VERIFYPEER, 1L);
        SET(CURLOPT_SSL_VERIFYHOST, 2L);
        SET(CURLOPT_USERAGENT, "modelstage/" MODELSTAGE_VERSION);
        SET(CURLOPT_NOBODY, 0L);
        SET(CURLOPT_HTTPGET, 1L); /* also takes back POST and HEAD */
        SET(CURLOPT_POSTFIELDS, NULL);
        SET(CURLOPT_CUSTOMREQUEST, NULL);
        SET(CURLOPT_HTTPGET, 1L);
        SET(CURLOPT_RANGE, NULL);
        SET(CURLOPT_RESUME_FROM_LARGE, (curl_off_t)0);
        SET(CURLOPT_ACCEPT_ENCODING, NULL); /* digests are over the bytes on the wire */
        SET(CURLOPT_FOLLOWLOCATION, 0L);
        SET(CURLOPT_UNRESTRICTED_AUTH, 0L);
        SET(CURLOPT_USERPWD, NULL);
        SET(CURLOPT_XOAUTH2_BEARER, NULL);
        SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
        SET(CURLOPT_FAILONERROR, 0L);
        SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        /* Refused while a transfer that never had a connection has left its buffer behind (libcurl 7.88): the
         * next transfer uses that one, which has this size. */
        (void)curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
        SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
        SET(CURLOPT_LOW_SPEED_LIMIT, LOW_SPEED_BYTES);
        SET(CURLOPT_LOW_SPEED_TIME, LOW_SPEED_SECONDS);
        SET(CURLOPT_TIMEOUT_MS, 0L);
        SET(CURLOPT_TCP_KEEPALIVE, 1L);
        SET(CURLOPT_NOSIGNAL, 1L);
        SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
#undef SET
        return ok ? 0 : -ENOMEM;
}

/* Never more than max bytes; whether more is a failure or the end is told by `cut`. */
static size_t on_body(char *p, size_t size, size_t n, void *userdata) {
        struct sink *s = userdata;
        size_t len = size * n, room = s->max - s->body->len;

        if (len <= room)
                return buf_append(s->body, p, len) < 0 ? 0 : len;
        s->full = true;
        if (s->cut)
                (void)buf_append(s->body, p, room);
        return CURL_WRITEFUNC_ERROR;
}

static void session_free(struct session *s) {
        curl_easy_cleanup(s->easy);
        curl_multi_cleanup(s->multi);
        free(s);
}
DEFINE_CLEANUP(struct session *, session_free);

/* The one that was used last, because its connections are the warmest. NULL: out of memory. */
static struct session *session_take(struct oci_http *h) {
        _cleanup_(session_freep) struct session *s = NULL;

        {
                LOCK_SCOPE(&h->lock);
                if (h->idle) {
                        s = h->idle;
                        h->idle = s->next;
                        h->n_idle--;
                        return take_ptr(s);
                }
        }
        s = calloc(1, sizeof *s);
        if (!s)
                return NULL;
        s->easy = curl_easy_init();
        s->multi = curl_multi_init();
        return s->easy && s->multi ? take_ptr(s) : NULL;
}

/* The pool keeps a few; the others take their connections with them. @fit: its handle can be prepared again;
 * one that could not may be broken for good. */
static void session_give_back(struct oci_http *h, struct session *s, bool fit) {
        if (fit) {
                LOCK_SCOPE(&h->lock);
                if (h->n_idle < IDLE_SESSIONS) {
                        s->next = h->idle;
                        h->idle = take_ptr(s);
                        h->n_idle++;
                }
        }
        if (s)
                session_free(s);
}

static int session_set_up(struct session *s, const struct oci_http_request *req, struct sink *sink) {
        const char *sent = req->method ? req->body : req->form;
        long timeout_ms = req->timeout_ms > 0 ? (long)req->timeout_ms : TOTAL_TIMEOUT_MS;
        bool ok;

        curl_easy_reset(s->easy);
        s->detail[0] = '\0';
        if (oci_http_prepare(s->easy, &req->target) < 0)
                return -ENOMEM;
        ok = curl_easy_setopt(s->easy, CURLOPT_ERRORBUFFER, s->detail) == CURLE_OK;
        ok = curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK && ok;
        ok = curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, sink) == CURLE_OK && ok;
        ok = curl_easy_setopt(s->easy, CURLOPT_TIMEOUT_MS, timeout_ms) == CURLE_OK && ok;
        if (req->head)
                ok = curl_easy_setopt(s->easy, CURLOPT_NOBODY, 1L) == CURLE_OK && ok;
        if (sent) {
                ok = curl_easy_setopt(s->easy, CURLOPT_POST, 1L) == CURLE_OK && ok;
                ok = curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(sent)) == CURLE_OK && ok;
                ok = curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, sent) == CURLE_OK && ok;
        }
        if (req->method)
                ok = curl_easy_setopt(s->easy, CURLOPT_CUSTOMREQUEST, req->method) == CURLE_OK && ok;
        return ok ? 0 : -ENOMEM;
}

/* Until the transfer is over or cancelled (then CURLE_ABORTED_BY_CALLBACK). */
static CURLcode session_run(struct session *s, const struct oci_http_request *req) {
        const struct oci_cancel *cancel = &req->cancel;
        int timeout_ms = cancel->cancelled ? CANCEL_POLL_MS : 1000;

        if (curl_multi_add_handle(s->multi, s->easy) != CURLM_OK)
                return CURLE_OUT_OF_MEMORY;
        for (;;) {
                CURLMsg *m;
                int running, left;

                if (curl_multi_perform(s->multi, &running) != CURLM_OK)
                        return CURLE_FAILED_INIT;
                while ((m = curl_multi_info_read(s->multi, &left)))
                        if (m->msg == CURLMSG_DONE)
                                return oci_http_code(m->data.result, req->target.url, req->target.plain_http);
                if (oci_cancel_wanted(cancel))
                        return CURLE_ABORTED_BY_CALLBACK;
                if (curl_multi_poll(s->multi, NULL, 0, timeout_ms, NULL) != CURLM_OK)
                        return CURLE_FAILED_INIT;
        }
}

/* The @index-th header of that name in the final answer, or NULL; to be freed. */
static char *header_copy(CURL *easy, const char *name, size_t index) {
        struct curl_header *h;

        if (curl_easy_header(easy, name, index, CURLH_HEADER, -1, &h) != CURLHE_OK)
                return NULL;
        return strdup(h->value);
}

/* Copies, because the handle forgets them with the next request. */
static void response_fill(struct oci_http_response *r, CURL *easy) {
        char *location = NULL;

        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &r->status);
        if (r->status == 0)
                return;
        curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &location);
        r->location = location ? strdup(location) : NULL;
        r->content_type = header_copy(easy, "Content-Type", 0);
        r->content_range = header_copy(easy, "Content-Range", 0);
        r->content_digest = header_copy(easy, "Docker-Content-Digest", 0);
        r->retry_after = header_copy(easy, "Retry-After", 0);
        for (size_t i = 0; i < OCI_HTTP_CHALLENGES_MAX; i++) {
                r->challenges[i] = header_copy(easy, "WWW-Authenticate", i);
                if (!r->challenges[i])
                        break;
        }
}

void oci_http_response_done(struct oci_http_response *r) {
        free(r->location);
        free(r->content_type);
        free(r->content_range);
        free(r->content_digest);
        free(r->retry_after);
        for (size_t i = 0; i < OCI_HTTP_CHALLENGES_MAX; i++)
                free(r->challenges[i]);
        buf_free(&r->body);
        *r = (struct oci_http_response){ 0 };
}

/* OpenSSL's words for an answer in plain text where a handshake was expected. */
static bool says_no_tls(const char *detail) {
        return strstr(detail, "wrong version number") || strstr(detail, "packet length too long") ||
               strstr(detail, "http request") || strstr(detail, "record layer failure");
}

static bool broke_off(CURLcode code) {
        return code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_OPERATION_TIMEDOUT;
}

static long status_of(CURL *easy) {
        long status = 0;

        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        return status;
}

/* Runs the request on @s, which has been set up, and says what came of it. */
static int session_perform(struct oci_http_response *r, struct session *s, struct sink *sink,
                           const struct oci_http_request *req, struct error *e) {
        r->code = session_run(s, req);
        if (r->code == CURLE_SSL_CONNECT_ERROR && says_no_tls(s->detail))
                r->code =
                    CURLE_USE_SSL_FAILED; /* unlike a broken handshake, this is not worth trying again */
        if (r->code == CURLE_WRITE_ERROR && sink->full && req->cut) {
                r->code = CURLE_OK;
                r->was_cut = true;
        }
        if (req->cut && r->body.len > 0 && broke_off(r->code) && status_of(s->easy) == 206) {
                r->code = CURLE_OK; /* these bytes are as good as any; the asker goes on behind them */
                r->was_cut = true;
        }
        if (r->code == CURLE_OK)
                response_fill(r, s->easy);
        else
                snprintf(r->detail, sizeof r->detail, "%.*s", OCI_HTTP_DETAIL_MAX - 1, s->detail);
        curl_multi_remove_handle(s->multi, s->easy);
        if (r->code == CURLE_OK)
                return 0;
        if (r->code == CURLE_ABORTED_BY_CALLBACK)
                return error_set(e, ERROR_CANCELLED, "cancelled while waiting for a registry");
        if (sink->full)
                return error_set(e, ERROR_INVALID,
                                 "the answer is longer than the %zu bytes that are allowed for it",
                                 req->max_body);
        return oci_http_error(e, r->code, req->target.url, s->detail);
}

int oci_http_perform(struct oci_http_response *ret, struct oci_http *h, const struct oci_http_request *req,
                     struct error *e) {
        struct sink sink = { .body = &ret->body, .max = req->max_body, .cut = req->cut };
        struct session *s = session_take(h);
        int r;

        /* Even a failure leaves what has arrived in @ret: the caller releases it in any case. */
        *ret = (struct oci_http_response){ .code = CURLE_OUT_OF_MEMORY, .body = BUF_INIT(req->max_body) };
        if (!s)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        bool fit = session_set_up(s, req, &sink) == 0;
        r = fit ? session_perform(ret, s, &sink, req, e) : error_set(e, ERROR_INTERNAL, "out of memory");
        session_give_back(h, s, fit);
        if (log_enabled_topics & (1u << LOG_TOPIC_HTTP)) {
                _cleanup_free_ char *shown = oci_url_shown(req->target.url);

                log_debug(HTTP, "%s %s: %ld %s",
                          req->method ? req->method
                          : req->form ? "POST"
                          : req->head ? "HEAD"
                                      : "GET",
                          shown ? shown : "", ret->status, curl_easy_strerror(ret->code));
        }
        return r;
}

/* Reading an answer, libcurl says UNSUPPORTED_PROTOCOL where there is no status line, and OUT_OF_MEMORY where
 * a header is too long. Memory that is really short shows elsewhere soon. */
CURLcode oci_http_code(CURLcode code, const char *url, bool plain_http) {
        if (code == CURLE_UNSUPPORTED_PROTOCOL && !plain_http && !oci_url_is_https(url))
                return code;
        if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_OUT_OF_MEMORY)
                return CURLE_WEIRD_SERVER_REPLY;
        return code;
}

int oci_http_error(struct error *e, CURLcode code, const char *url, const char *detail) {
        _cleanup_free_ char *host_found = oci_url_host(url);
        const char *host = host_found ? host_found : "registry";
        char clean[OCI_HTTP_DETAIL_MAX];

        if (!detail || !*detail)
                detail = curl_easy_strerror(code);
        snprintf(clean, sizeof clean, "%.*s", (int)strcspn(detail, "?"), detail); /* no signed addresses */
        switch (code) {
        case CURLE_OUT_OF_MEMORY:
                return error_set(e, ERROR_INTERNAL, "out of memory");
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_ISSUER_ERROR:
                return error_set(e, ERROR_UNAVAILABLE,
                                 "the certificate of %s is not trusted (%s); set registries[].caFile for %s",
                                 host, clean, host);
        case CURLE_SSL_CACERT_BADFILE:
                return error_set(
                    e, ERROR_UNAVAILABLE,
                    "the certificates to trust for %s cannot be used (%s); check registries[].caFile", host,
                    clean);
        case CURLE_UNSUPPORTED_PROTOCOL:
                return error_set(e, ERROR_UNAVAILABLE,
                                 "plain HTTP to %s is refused; set registries[].plainHttp if that is meant",
                                 host);
        case CURLE_WEIRD_SERVER_REPLY:
                return error_set(e, ERROR_UNAVAILABLE, "%s does not answer in HTTP", host);
        case CURLE_USE_SSL_FAILED:
                return error_set(e, ERROR_UNAVAILABLE,
                                 "%s does not speak TLS; if it is a plain-HTTP registry, set "
                                 "registries[].plainHttp for it",
                                 host);
        default:
                return error_set(e, ERROR_UNAVAILABLE, "%s cannot be reached: %s", host, clean);
        }
}

int oci_http_header_add(struct curl_slist **list, const char *name, const char *value) {
        _cleanup_free_ char *line = NULL;
        struct curl_slist *longer;

        for (const char *p = value; *p; p++)
                if ((unsigned char)*p < ' ' || *p == 0x7f)
                        return -EINVAL;
        if (asprintf(&line, "%s: %s", name, value) < 0) {
                line = NULL;
                return -ENOMEM;
        }
        longer = curl_slist_append(*list, line);
        if (!longer)
                return -ENOMEM;
        *list = longer;
        return 0;
}

static void curl_start(void) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
}

int oci_http_new(struct oci_http **ret, struct error *e) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        struct oci_http *h = calloc(1, sizeof *h);

        if (!h)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        pthread_once(&once, curl_start);
        pthread_mutex_init(&h->lock, NULL);
        *ret = h;
        return 0;
}

void oci_http_free(struct oci_http *h) {
        struct session *s;

        if (!h)
                return;
        while ((s = h->idle)) {
                h->idle = s->next;
                session_free(s);
        }
        pthread_mutex_destroy(&h->lock);
        free(h);
}
