/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask: drives the engine of auth.h, and follows redirects by hand.
 *
 *   for each way to show who we are: [token] -> request -> redirect* -> answer
 *
 * libcurl does not follow redirects for us because it would take configured headers along to the other host;
 * here whatever is ours is added only while the address has the endpoint's origin. A 401 or 403 counts for
 * auth only if it comes from the endpoint itself.
 */
#include "oci/ask.h"

#include <assert.h>
#include <string.h>

#include "base/text.h"
#include "oci/auth.h"
#include "oci/exchange.h"
#include "oci/url.h"

#define HOPS_MAX 10u
#define SECRETS_MAX 32u       /* of one request */
#define ERROR_BODY_MAX 65536u /* of an error's document that we look at */

/* The state of one question. */
struct inquiry {
        struct oci_client *client;
        const struct oci_endpoint *ep;
        const struct oci_ask *q;
        struct oci_auth auth;         /* its candidates belong to keyrings that outlive this */
        struct oci_exchange exchange; /* how often to try, and what the metrics call the registry */
};

void oci_answer_done(struct oci_answer *a) {
        oci_http_response_done(&a->response);
        free(a->url);
        if (a->authorization)
                explicit_bzero(a->authorization, strlen(a->authorization));
        free(a->authorization);
        *a = (struct oci_answer){ 0 };
}

bool oci_error_is_elsewhere(const struct error *e) {
        return e->kind != ERROR_CANCELLED && e->kind != ERROR_INTERNAL;
}

/* ---- one request with its redirects ---- */

int oci_ask_headers(struct curl_slist **ret, const struct oci_endpoint *ep, bool redirected,
                    const char *authorization, const char *accept, struct error *e) {
        _cleanup_(curl_slist_free_allp) struct curl_slist *list = NULL;
        const struct settings_registry *own = redirected ? NULL : ep->registry;
        int r = 0;

        if (accept)
                r = oci_http_header_add(&list, "Accept", accept);
        for (size_t i = 0; r == 0 && own && i < own->n_headers; i++)
                r = oci_http_header_add(&list, own->headers[i].name, own->headers[i].value);
        if (r == 0 && !redirected && authorization)
                r = oci_http_header_add(&list, "Authorization", authorization);
        if (r == -EINVAL)
                return error_set(e, ERROR_INVALID,
                                 "a header for %s has a control character; check registries[].headers",
                                 ep->host);
        if (r < 0)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        *ret = take_ptr(list);
        return 0;
}

/* An error's document is read even where the question allows fewer bytes, for its words. */
static int send_once(struct oci_http_response *ret, const struct inquiry *n, const char *url, bool redirected,
                     struct error *e) {
        _cleanup_(curl_slist_free_allp) struct curl_slist *headers = NULL;
        _cleanup_free_ char *host = redirected ? oci_url_host(url) : strdup(n->ep->host);
        _cleanup_free_ char *ca = NULL;
        size_t max = n->q->max_body;
        int r;

        r = host ? oci_client_ca(&ca, n->client, host, e) : error_set(e, ERROR_INTERNAL, "out of memory");
        if (r == 0)
                r = oci_ask_headers(&headers, n->ep, redirected, n->auth.authorization, n->q->accept, e);
        if (r == 0 && n->q->ranged) {
                char range[48];

                snprintf(range, sizeof range, "bytes=0-%zu", max > 0 ? max - 1 : 0);
                if (oci_http_header_add(&headers, "Range", range) < 0)
                        r = error_set(e, ERROR_INTERNAL, "out of memory");
        }
        if (r < 0)
                return r;
        struct oci_http_request req = {
                .target = { .url = url,
                            .headers = headers,
                            .ca_pem = ca,
                            .plain_http = !oci_url_is_https(n->ep->origin) },
                .head = n->q->head,
                .max_body = max > ERROR_BODY_MAX || n->q->ranged ? max : ERROR_BODY_MAX,
                .cut = n->q->ranged,
                .cancel = n->q->cancel,
        };
        return oci_exchange(ret, &n->exchange, &req, e);
}

static bool is_redirect(const struct oci_http_response *a) {
        return a->status == 301 || a->status == 302 || a->status == 303 || a->status == 307 ||
               a->status == 308;
}

/* Takes the registry's words, without what this request has told it in confidence. */
static void take_words(struct oci_answer *a, const struct inquiry *n) {
        const struct settings_registry *own = n->ep->registry;
        const struct oci_credential *c = n->auth.credential;
        const char *authorization = n->auth.authorization ? strchr(n->auth.authorization, ' ') : NULL;
        const char *secrets[SECRETS_MAX] = { NULL };
        size_t k = 0;

        const char *const sent[] = { authorization ? authorization + 1 : NULL, c ? c->password : NULL,
                                     c ? c->identity_token : NULL, c ? c->registry_token : NULL };

        for (size_t i = 0; i < sizeof sent / sizeof *sent; i++)
                if (sent[i])
                        secrets[k++] = sent[i];
        for (size_t i = 0; own && i < own->n_headers && k + 1 < SECRETS_MAX; i++)
                secrets[k++] = own->headers[i].value;
        oci_words_read(&a->words, buf_text(&a->response.body), a->response.body.len, secrets);
}

static int send_and_follow(struct oci_answer *ret, const struct inquiry *n, const char *url,
                           struct error *e) {
        _cleanup_answer_ struct oci_answer a = { .url = strdup(url) };

        for (unsigned hop = 0; hop <= HOPS_MAX; hop++) {
                _cleanup_free_ char *next = NULL;
                _cleanup_free_ char *origin = NULL;
                int r = a.url ? 0 : error_set(e, ERROR_INTERNAL, "out of memory");

                if (r == 0)
                        r = send_once(&a.response, n, a.url, a.redirected, e);
                if (r < 0)
                        return r;
                if (!is_redirect(&a.response) || !a.response.location) {
                        if (a.response.status >= 400)
                                take_words(&a, n);
                        *ret = a;
                        a = (struct oci_answer){ 0 };
                        return 0;
                }
                next = take_ptr(a.response.location);
                oci_http_response_done(&a.response);
                r = oci_url_check_redirect(a.url, next, e);
                if (r == 0)
                        r = oci_url_origin(&origin, next, e);
                if (r < 0)
                        return r;
                assert(origin);
                /* Once elsewhere, our headers stay behind even if the way leads back. */
                a.redirected = a.redirected || strcmp(origin, n->ep->origin) != 0;
                free(a.url);
                a.url = take_ptr(next);
        }
        return error_set(e, ERROR_UNAVAILABLE, "%s sends us from one address to the next, more than %u times",
                         n->ep->host, HOPS_MAX);
}

/* ---- who we are ---- */

/* Gets the token that auth wants; *next is what to do then. */
static int get_token(enum oci_auth_next *next, struct inquiry *n, struct error *refusal, struct error *e) {
        _cleanup_free_ char *realm_host = oci_url_host(n->auth.challenge.realm);
        _cleanup_free_ char *ca = NULL;
        char *token = NULL;
        bool fresh = false;
        int r = oci_client_ca(&ca, n->client, realm_host ? realm_host : n->ep->host, e);

        if (r < 0)
                return r;
        struct oci_token_request q = { .exchange = n->exchange,
                                       .cancel = n->q->cancel,
                                       .registry_origin = n->ep->origin,
                                       .repository = n->q->reference->repository,
                                       .challenge = &n->auth.challenge,
                                       .credential = n->auth.credential,
                                       .refused = n->auth.refused_token,
                                       .ca_pem = ca };
        r = oci_token_get(&token, &fresh, n->client->tokens, &q, refusal);
        if (r < 0)
                return refusal->kind == ERROR_UNAUTHENTICATED ? oci_auth_on_token_refused(next, &n->auth, e)
                                                              : error_copy(e, refusal);
        r = oci_auth_on_token(&n->auth, token, fresh, e);
        explicit_bzero(token, strlen(token));
        free(token);
        *next = OCI_AUTH_SEND;
        return r;
}

/* A store that a redirect led to knows nothing of our credentials: its refusal is not for auth to answer. */
static bool answer_denies(const struct oci_answer *a) {
        return !a->redirected && (a->response.status == 401 || a->response.status == 403);
}

/* Until the registry accepts one of the ways to show who we are, or none is left: then the last denial is the
 * answer. */
static int converse(struct oci_answer *ret, struct inquiry *n, enum oci_auth_next next, const char *url,
                    struct error *e) {
        _cleanup_answer_ struct oci_answer a = { 0 };
        struct error refusal = { 0 };

        while (next != OCI_AUTH_GIVE_UP) {
                int r;

                if (next == OCI_AUTH_GET_TOKEN) {
                        r = get_token(&next, n, &refusal, e);
                } else {
                        oci_answer_done(&a);
                        r = send_and_follow(&a, n, url, e);
                        if (r == 0 && !answer_denies(&a))
                                break;
                        if (r == 0)
                                r = oci_auth_on_denied(&next, &n->auth, a.response.status,
                                                       a.response.challenges, OCI_HTTP_CHALLENGES_MAX, e);
                }
                if (r < 0)
                        return r;
        }
        if (a.response.status == 0) /* no token to be had, so nothing was sent */
                return error_copy(e, &refusal);
        *ret = a;
        a = (struct oci_answer){ 0 };
        return 0;
}

/* A keyring of one pair is meant for the host of the user's reference, not for its mirrors. */
static void add_candidates(struct inquiry *n, const struct oci_keyring *admin) {
        const struct oci_ask *q = n->q;

        if (!n->ep->ns || !oci_keyring_is_single(q->keyring))
                oci_auth_add_keyring(&n->auth, q->keyring, n->ep->host, q->reference->repository);
        oci_auth_add_keyring(&n->auth, admin, n->ep->host, q->reference->repository);
}

/* The challenge is remembered only once it has led to an answer: a hostile one must not replace a good one.
 */
static int inquire(struct oci_answer *ret, struct inquiry *n, struct error *e) {
        const struct oci_reference *ref = n->q->reference;
        _cleanup_free_ char *url = oci_endpoint_url(n->ep, ref->repository, n->q->path);
        _cleanup_challenge_ struct oci_challenge known = { 0 };
        enum oci_auth_next next;
        bool recalled;
        int r;

        if (!url)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        recalled = oci_tokens_recall(&known, n->client->tokens, n->ep->origin, ref->repository);
        r = oci_auth_begin(&next, &n->auth, recalled ? &known : NULL, e);
        if (r == 0)
                r = converse(ret, n, next, url, e);
        if (r < 0)
                return r;
        if (ret->response.status < 400 && n->auth.has_challenge && n->auth.authorization)
                oci_tokens_remember(n->client->tokens, n->ep->origin, ref->repository, &n->auth.challenge);
        ret->is_private = oci_auth_is_private(&n->auth);
        ret->authorization = take_ptr(n->auth.authorization);
        return 0;
}

int oci_ask_endpoint(struct oci_answer *ret, struct oci_client *c, const struct oci_endpoint *ep,
                     const struct oci_ask *q, struct error *e) {
        _cleanup_(oci_keyring_freep) struct oci_keyring *admin = NULL;
        struct inquiry n = { .client = c, .ep = ep, .q = q };
        const struct oci_http_response *a = &ret->response;
        bool known_here;
        int r = oci_client_keyring(&admin, c, e);

        if (r < 0)
                return r;
        n.exchange = (struct oci_exchange){ .http = c->http,
                                            .registry = q->reference->host,
                                            .max_tries = q->max_tries };
        add_candidates(&n, admin);
        r = inquire(ret, &n, e);
        known_here = n.auth.n_candidates > 0;
        oci_auth_done(&n.auth);
        if (r < 0)
                return r;
        if (a->status == 200 || a->status == 206)
                return a->body.len <= q->max_body
                           ? 0
                           : error_set(e, ERROR_INVALID,
                                       "%s sent more for %s than the %zu bytes that are allowed", ep->host,
                                       q->reference->text, q->max_body);
        if (a->status == 401 && !ret->redirected && !known_here)
                return error_set(
                    e, ERROR_UNAUTHENTICATED,
                    "%s wants credentials for %s and there are none: give the volume a secret, or set "
                    "credentials.dockerConfig",
                    ep->host, q->reference->text);
        if (ret->redirected && (a->status == 401 || a->status == 403)) {
                _cleanup_free_ char *host = oci_url_host(ret->url);

                return error_set(e, ERROR_UNAVAILABLE,
                                 "%s sends us to %s for %s, and that refuses us (HTTP %ld)", ep->host,
                                 host ? host : "another host", q->reference->text, a->status);
        }
        if (is_redirect(a))
                return error_set(e, ERROR_UNAVAILABLE,
                                 "%s redirects us for %s without saying where to (HTTP %ld)", ep->host,
                                 q->reference->text, a->status);
        return oci_status_error(e, q->reference, ep->host, a->status, &ret->words);
}
