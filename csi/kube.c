/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube: the driver of kube_verdict.h.
 *
 *   csi_kube_get … -> [credentials -> request (oci/http.h) -> judge]* -> JSON
 *                        kube_account.h                     kube_verdict.h
 *
 * TLS is verified with ca.crt alone; the environment's proxies are passed by, because a service's address
 * means nothing to them; redirects are not followed; the token goes nowhere else and into no text.
 * Connections stay warm in the pool of oci_http. Nothing here is locked while the network is waited for.
 */
#include "csi/kube.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "csi/kube_account.h"
#include "csi/kube_verdict.h"
#include "oci/url.h"

#define ANSWER_MAX (4u << 20)

struct csi_kube {
        char *server;  /* "https://10.96.0.1:443", no slash at the end */
        char *shown;   /* its host, for people */
        char *account; /* directory */
        bool plain_http;
        struct csi_kube_account *credentials;
        struct oci_http *http;
        atomic_bool cancelled;
};

struct question {
        const char *method, *path;
        const char *type;   /* of the body */
        const json_t *body; /* NULL: none */
        int64_t timeout_ms;
};

/* ---- life cycle ---- */

/* An IPv6 address gets its brackets. *ret NULL: there is no address. */
static int find_server(char **ret, const struct settings *s, struct error *e) {
        const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
        const char *given = s->kubernetes.api_server;
        char *server = NULL;

        if (*given) {
                size_t len = strlen(given);

                while (len > 0 && given[len - 1] == '/')
                        len--;
                server = strndup(given, len);
        } else if (!host || !*host || !port || !*port) {
                *ret = NULL;
                return 0;
        } else if (asprintf(&server, strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port) <
                   0) {
                server = NULL;
        }
        *ret = server;
        return server ? 0 : error_errno(e, ENOMEM, "cannot use the API server");
}

/* A pod with automountServiceAccountToken: false has none, and that is how somebody says that we may not
 * ask. */
static bool has_token(const char *dir) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/token", dir) < 0) {
                path = NULL;
                return true; /* whatever is wrong shows again */
        }
        return access(path, F_OK) == 0 || errno != ENOENT;
}

int csi_kube_new(struct csi_kube **ret, const struct settings *s, struct error *e) {
        _cleanup_(csi_kube_freep) struct csi_kube *k = NULL;
        const char *dir = s->kubernetes.service_account;
        _cleanup_free_ char *server = NULL;
        int r = *dir ? find_server(&server, s, e) : 0;

        if (r < 0)
                return r;
        if (!server || !has_token(dir)) {
                if (server)
                        log_info("there is no token in %s: the API server is not asked for anything", dir);
                *ret = NULL;
                return 0;
        }
        k = calloc(1, sizeof *k);
        if (!k)
                return error_errno(e, ENOMEM, "cannot use the API server");
        k->server = take_ptr(server);
        k->shown = oci_url_host(k->server);
        k->account = strdup(dir);
        k->plain_http = !oci_url_is_https(k->server);
        if (!k->shown || !k->account)
                return error_set(e, ERROR_INVALID, "%.200s is not the address of an API server", k->server);
        r = csi_kube_account_new(&k->credentials, dir, !k->plain_http, e);
        if (r >= 0)
                r = oci_http_new(&k->http, e);
        if (r < 0)
                return r;
        *ret = take_ptr(k);
        return 0;
}

void csi_kube_cancel(struct csi_kube *k) {
        if (k)
                atomic_store(&k->cancelled, true);
}

void csi_kube_free(struct csi_kube *k) {
        if (!k)
                return;
        oci_http_free(k->http);
        csi_kube_account_free(k->credentials);
        free(k->account);
        free(k->shown);
        free(k->server);
        free(k);
}

/* ---- one request ---- */

static bool is_cancelled(void *userdata) {
        struct csi_kube *k = userdata;

        return atomic_load(&k->cancelled);
}

static int make_headers(struct curl_slist **ret, const struct question *q, const char *token,
                        struct error *e) {
        _cleanup_(curl_slist_free_allp) struct curl_slist *list = NULL;
        _cleanup_free_ char *bearer = NULL;
        int r = asprintf(&bearer, "Bearer %s", token);

        if (r < 0) {
                bearer = NULL;
                return error_errno(e, ENOMEM, "cannot ask the API server");
        }
        r = oci_http_header_add(&list, "Authorization", bearer);
        explicit_bzero(bearer, strlen(bearer));
        if (r == 0)
                r = oci_http_header_add(&list, "Accept", "application/json");
        if (r == 0 && q->type)
                r = oci_http_header_add(&list, "Content-Type", q->type);
        if (r < 0)
                return error_errno(e, r, "cannot ask the API server");
        *ret = take_ptr(list);
        return 0;
}

/* A try of @try_ms. What oci_http_perform() says is for the judge; 0 even then. */
static int send_once(struct oci_http_response *ret, int *ret_performed, struct error *ret_why,
                     struct csi_kube *k, const struct question *q, const char *body,
                     const struct csi_kube_credentials *credentials, int64_t try_ms, struct error *e) {
        _cleanup_(curl_slist_free_allp) struct curl_slist *headers = NULL;
        _cleanup_free_ char *url = NULL;
        int r = make_headers(&headers, q, credentials->token, e);

        if (r < 0)
                return r;
        if (asprintf(&url, "%s%s", k->server, q->path) < 0) {
                url = NULL;
                return error_errno(e, ENOMEM, "cannot ask the API server");
        }
        const struct oci_http_request request = {
                .target = { .url = url,
                            .headers = headers,
                            .ca_pem = credentials->ca_pem,
                            .only_ca = credentials->ca_pem != NULL,
                            .plain_http = k->plain_http,
                            .direct = true },
                .method = body ? q->method : NULL,
                .body = body,
                .max_body = ANSWER_MAX,
                .timeout_ms = try_ms,
                .cancel = { .cancelled = is_cancelled, .userdata = k },
        };
        *ret_performed = oci_http_perform(ret, k->http, &request, ret_why);
        return 0;
}

/* A try and what the judge says of it; < 0: @e is why none could be made. */
static int try_once(struct oci_http_response *a, enum csi_kube_next *next, int64_t *wait_ms,
                    struct csi_kube_course *course, struct csi_kube *k, const struct question *q,
                    const char *body, bool refused, struct error *e) {
        _cleanup_(csi_kube_credentials_done) struct csi_kube_credentials credentials = { 0 };
        struct error why = { 0 };
        int performed = 0, r;
        int64_t try_ms = csi_kube_course_try_ms(course, time_monotonic_ms(), e);

        if (try_ms == 0)
                return -ETIMEDOUT;
        r = csi_kube_account_get(&credentials, k->credentials, refused, time_monotonic_ms(), e);
        if (r >= 0)
                r = send_once(a, &performed, &why, k, q, body, &credentials, try_ms, e);
        if (r < 0)
                return r;
        course->secret = credentials.token;
        *next = csi_kube_judge(wait_ms, course, a, performed, &why, time_monotonic_ms(), e);
        course->secret = NULL;
        return 0;
}

static int take_answer(json_t **ret, const struct oci_http_response *a, const struct csi_kube *k,
                       struct error *e) {
        struct error why = { 0 };

        if (!ret ||
            json_parse_with_nuls(ret, buf_text(&a->body), a->body.len, ANSWER_MAX, "answer", &why) == 0)
                return 0;
        if (why.kind != ERROR_INVALID)
                return error_copy(e, &why);
        return error_set(e, ERROR_UNAVAILABLE, "what answers at %s is not the API server: %s", k->shown,
                         why.text);
}

static int ask(struct csi_kube *k, const struct question *q, json_t **ret, struct error *e) {
        struct csi_kube_course course = { .server = k->shown, .account = k->account };
        _cleanup_free_ char *body = q->body ? json_dumps(q->body, JSON_COMPACT) : NULL;
        bool refused = false;

        assert(text_starts_with(q->path, "/api"));
        if (q->body && !body)
                return error_errno(e, ENOMEM, "cannot ask the API server");
        csi_kube_course_begin(&course, q->timeout_ms, time_monotonic_ms());
        for (;;) {
                _cleanup_response_ struct oci_http_response a = { 0 };
                const struct oci_cancel cancel = { .cancelled = is_cancelled, .userdata = k };
                enum csi_kube_next next = CSI_KUBE_FAIL;
                int64_t wait_ms = 0;
                struct error why = { 0 };
                int r = try_once(&a, &next, &wait_ms, &course, k, q, body, refused, &why);

                if (r < 0 || next == CSI_KUBE_FAIL)
                        return error_copy(e, &why);
                if (next == CSI_KUBE_DONE)
                        return take_answer(ret, &a, k, e);
                refused = next == CSI_KUBE_REFRESH;
                if (next == CSI_KUBE_WAIT && !oci_cancel_sleep(&cancel, wait_ms))
                        return error_set(e, ERROR_CANCELLED, "cancelled while waiting for the API server");
        }
}

int csi_kube_get(struct csi_kube *k, const char *path, int64_t timeout_ms, json_t **ret, struct error *e) {
        const struct question q = { .method = "GET", .path = path, .timeout_ms = timeout_ms };

        return ask(k, &q, ret, e);
}

int csi_kube_post(struct csi_kube *k, const char *path, const json_t *body, int64_t timeout_ms, json_t **ret,
                  struct error *e) {
        const struct question q = { .method = "POST",
                                    .path = path,
                                    .type = "application/json",
                                    .body = body,
                                    .timeout_ms = timeout_ms };

        return ask(k, &q, ret, e);
}

int csi_kube_patch(struct csi_kube *k, const char *path, enum csi_kube_patch type, const json_t *body,
                   int64_t timeout_ms, json_t **ret, struct error *e) {
        static const char *const types[] = { [CSI_KUBE_JSON_PATCH] = "application/json-patch+json",
                                             [CSI_KUBE_MERGE_PATCH] = "application/merge-patch+json" };
        const struct question q = {
                .method = "PATCH", .path = path, .type = types[type], .body = body, .timeout_ms = timeout_ms
        };

        return ask(k, &q, ret, e);
}

bool csi_kube_name_is_valid(const char *name) {
        return text_is_dns_subdomain(name, strlen(name));
}
