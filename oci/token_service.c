/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token_service: one conversation with a registry's token service (distribution's token specification): GET
 * with Basic or without, or POST of the identity token. Credentials go to the realm's address only: a service
 * that redirects is refused. No state, no locks.
 */
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "oci/auth.h"
#include "oci/token.h"
#include "oci/url.h"

#define ANSWER_MAX (1024u * 1024)
#define TOKEN_MAX (64u * 1024)
#define LIFE_DEFAULT_S 60u /* the specification's */
#define LIFE_MAX_S (24u * 3600)
#define CLIENT_ID "modelstage"

/* What the challenge asks for; one that does not say gets the obvious. To be freed. */
static char *scope_of(const struct oci_token_request *q) {
        const char *scope = q->challenge->scope;
        char *own;

        if (scope && *scope)
                return strdup(scope);
        return asprintf(&own, "repository:%s:pull", q->repository) < 0 ? NULL : own;
}

/* Several scopes are several parameters. */
static int scopes_add(char **url, const struct oci_token_request *q) {
        _cleanup_free_ char *scope = scope_of(q);
        char **list = scope ? text_split(scope, ' ') : NULL;
        int r = 0;

        if (!list)
                return -ENOMEM;
        for (size_t i = 0; list[i] && r == 0; i++)
                r = oci_url_add_query(url, "scope", list[i]);
        text_list_free(list);
        return r;
}

static int basic_header(struct curl_slist **headers, const struct oci_credential *c) {
        char *value = oci_auth_basic(c);
        int r = value ? oci_http_header_add(headers, "Authorization", value) : -ENOMEM;

        if (value)
                explicit_bzero(value, strlen(value));
        free(value);
        return r;
}

/* The GET form: anonymous, or with user and password. */
static int ask_by_get(struct oci_http_response *ret, const struct oci_token_request *q, struct error *e) {
        _cleanup_(curl_slist_free_allp) struct curl_slist *headers = NULL;
        _cleanup_free_ char *url = strdup(q->challenge->realm);
        const struct oci_credential *c = q->credential;
        int r = url ? 0 : -ENOMEM;

        if (r == 0 && q->challenge->service)
                r = oci_url_add_query(&url, "service", q->challenge->service);
        if (r == 0)
                r = scopes_add(&url, q);
        if (r == 0)
                r = oci_url_add_query(&url, "client_id", CLIENT_ID);
        if (r == 0 && c && c->username)
                r = oci_url_add_query(&url, "account", c->username);
        if (r == 0 && c && c->username)
                r = basic_header(&headers, c);
        if (r < 0)
                return error_set(e, r == -ENOMEM ? ERROR_INTERNAL : ERROR_UNAVAILABLE,
                                 "%s names a token service that cannot be asked", q->registry_origin);
        struct oci_http_request req = { .target = { .url = url,
                                                    .headers = headers,
                                                    .ca_pem = q->ca_pem,
                                                    .plain_http = !oci_url_is_https(q->registry_origin) },
                                        .max_body = ANSWER_MAX,
                                        .cancel = q->cancel };

        return oci_exchange(ret, &q->exchange, &req, e);
}

static int form_add(struct buf *form, const char *name, const char *value) {
        char *encoded = curl_easy_escape(NULL, value, 0);
        int r = encoded ? buf_printf(form, "%s%s=%s", form->len ? "&" : "", name, encoded) : -ENOMEM;

        curl_free(encoded);
        return r;
}

/* The POST form: an identity token is a refresh token. */
static int ask_by_post(struct oci_http_response *ret, const struct oci_token_request *q, struct error *e) {
        _cleanup_buf_ struct buf form = BUF_INIT(ANSWER_MAX);
        _cleanup_free_ char *scope = scope_of(q);
        int r = scope ? form_add(&form, "grant_type", "refresh_token") : -ENOMEM;

        if (r == 0 && q->challenge->service)
                r = form_add(&form, "service", q->challenge->service);
        if (r == 0)
                r = form_add(&form, "client_id", CLIENT_ID);
        if (r == 0)
                r = form_add(&form, "scope", scope);
        if (r == 0)
                r = form_add(&form, "refresh_token", q->credential->identity_token);
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        struct oci_http_request req = { .target = { .url = q->challenge->realm,
                                                    .ca_pem = q->ca_pem,
                                                    .plain_http = !oci_url_is_https(q->registry_origin) },
                                        .form = form.data,
                                        .max_body = ANSWER_MAX,
                                        .cancel = q->cancel };

        r = oci_exchange(ret, &q->exchange, &req, e);
        explicit_bzero(form.data, form.len);
        return r;
}

/* "token" and "access_token" mean the same; services differ in which they send. The registry's content is no
 * news to the caller, so whatever is wrong with it is the service's failure, not the request's. */
static int token_parse(char **ret, int64_t *ret_life_ms, const struct oci_http_response *a,
                       const char *realm_host, struct error *e) {
        _cleanup_json_ json_t *doc = NULL;
        const char *token = NULL;
        uint64_t life_s = LIFE_DEFAULT_S;
        char *copy;
        int r = 0;

        /* What is wrong with the document is not quoted: a token may stand there. */
        if (json_parse(&doc, buf_text(&a->body), a->body.len, ANSWER_MAX, "answer", NULL) < 0)
                r = error_set(e, ERROR_INVALID, "the answer is not a JSON object");
        if (r == 0)
                r = json_opt_string(&token, doc, "token", NULL, e);
        if (r == 0 && (!token || !*token))
                r = json_opt_string(&token, doc, "access_token", NULL, e);
        if (r == 0)
                r = json_opt_size(&life_s, doc, "expires_in", LIFE_DEFAULT_S, e);
        if (r == 0 && (!token || !*token || strlen(token) > TOKEN_MAX))
                r = error_set(e, ERROR_INVALID, "the answer has no token, or one that is too long");
        if (r < 0) {
                if (e)
                        e->kind = ERROR_UNAVAILABLE;
                return error_wrap(e, "token service %s", realm_host);
        }
        copy = strdup(token);
        if (!copy)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        if (life_s == 0)
                life_s = LIFE_DEFAULT_S;
        *ret = copy;
        *ret_life_ms = (int64_t)(life_s < LIFE_MAX_S ? life_s : LIFE_MAX_S) * 1000;
        return 0;
}

int oci_token_ask(char **ret, int64_t *ret_life_ms, const struct oci_token_request *q, struct error *e) {
        _cleanup_response_ struct oci_http_response a = { 0 };
        _cleanup_free_ char *host = NULL;
        int r = oci_url_check_realm(q->registry_origin, q->challenge->realm, e);

        if (r < 0)
                return r;
        host = oci_url_host(q->challenge->realm);
        if (!host)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        if (q->credential && q->credential->identity_token)
                r = ask_by_post(&a, q, e);
        else
                r = ask_by_get(&a, q, e);
        if (r < 0)
                return error_wrap(e, "token service of %s", q->exchange.registry);
        if (a.status == 200)
                return token_parse(ret, ret_life_ms, &a, host, e);
        if (a.status == 400 || a.status == 401 || a.status == 403)
                return error_set(e, ERROR_UNAUTHENTICATED,
                                 "token service %s gives %s no token for %s/%s (HTTP %ld)", host,
                                 q->credential ? "these credentials" : "anonymous clients",
                                 q->exchange.registry, q->repository, a.status);
        return error_set(e, ERROR_UNAVAILABLE, "token service %s answered with HTTP %ld", host, a.status);
}
