/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth: see the drawing in auth.h. What a candidate does about a challenge:
 *
 *   it has a registry token, Bearer is wanted     sends that as it is
 *   Bearer is wanted, with a realm                GET_TOKEN, as this candidate or anonymous
 *   Basic is wanted, it has a user name           sends user and password
 *   nothing of these                              the next candidate
 *
 * A token out of the cache that is answered with 401 is asked for once more; a fresh one that is refused has
 * shown that the candidate is no good. After the last candidate the answer stands.
 *
 * Secrets live in `authorization`, `token` and `refused_token` only, and are wiped when they are replaced;
 * the log knows them before they are sent.
 */
#include "oci/auth.h"

#include <assert.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/log.h"

#define BASIC_MAX 16384 /* user name and password together */

static void wipe(char **secret) {
        if (*secret)
                explicit_bzero(*secret, strlen(*secret));
        free(*secret);
        *secret = NULL;
}

void oci_auth_done(struct oci_auth *a) {
        wipe(&a->authorization);
        wipe(&a->token);
        wipe(&a->refused_token);
        oci_challenge_done(&a->challenge);
        *a = (struct oci_auth){ 0 };
}

void oci_auth_add_keyring(struct oci_auth *a, const struct oci_keyring *k, const char *host,
                          const char *repository) {
        const struct oci_credential *c;

        for (size_t i = 0; a->n_candidates < OCI_AUTH_CANDIDATES_MAX; i++) {
                c = oci_keyring_find(k, host, repository, i);
                if (!c)
                        return;
                a->candidates[a->n_candidates++] = c;
        }
}

char *oci_auth_basic(const struct oci_credential *c) {
        const char *user = c->username ? c->username : "", *password = c->password ? c->password : "";
        _cleanup_free_ char *pair = NULL;
        char *value;
        int len;

        if (strlen(user) + strlen(password) > BASIC_MAX)
                return NULL;
        len = asprintf(&pair, "%s:%s", user, password);
        if (len < 0) {
                pair = NULL;
                return NULL;
        }
        value = malloc(sizeof "Basic " + ((size_t)len + 2) / 3 * 4);
        if (value) {
                memcpy(value, "Basic ", 6);
                EVP_EncodeBlock((unsigned char *)value + 6, (const unsigned char *)pair, len);
                log_redact(value + 6);
        }
        explicit_bzero(pair, (size_t)len);
        return value;
}

/* Not checked for control characters: base64 has none. */
static int authorize_basic(struct oci_auth *a, struct error *e) {
        wipe(&a->authorization);
        a->authorization = oci_auth_basic(a->credential);
        return a->authorization ? 0 : error_set(e, ERROR_INVALID, "user name and password are too long");
}

/* The token is a hostile server's: it must not bring a second header along. */
static int authorize_bearer(struct oci_auth *a, const char *token, struct error *e) {
        for (const char *p = token; *p; p++)
                if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
                        return error_set(e, ERROR_UNAUTHENTICATED,
                                         "a token has characters that no token may have");
        log_redact(token);
        wipe(&a->authorization);
        if (asprintf(&a->authorization, "Bearer %s", token) >= 0)
                return 0;
        a->authorization = NULL;
        return error_set(e, ERROR_INTERNAL, "out of memory");
}

/* What the current candidate can do about the challenge; GIVE_UP: nothing. */
static int candidate_answer(enum oci_auth_next *ret, struct oci_auth *a, struct error *e) {
        const struct oci_credential *c = a->credential;
        int r = 0;

        wipe(&a->authorization);
        wipe(&a->token);
        a->token_is_fresh = false;
        *ret = OCI_AUTH_SEND;
        if (c && c->registry_token && a->challenge.bearer)
                r = authorize_bearer(a, c->registry_token, e);
        else if (a->challenge.bearer && a->challenge.realm)
                *ret = OCI_AUTH_GET_TOKEN;
        else if (a->challenge.basic && c && c->username)
                r = authorize_basic(a, e);
        else
                *ret = OCI_AUTH_GIVE_UP;
        return r;
}

/* The first candidate from number @at on that has something to say; nobody at all is number 0 of none. */
static int first_answer_from(enum oci_auth_next *ret, struct oci_auth *a, size_t at, struct error *e) {
        wipe(&a->refused_token);
        for (; at < a->n_candidates || at == 0; at++) {
                int r;

                a->at = at;
                a->credential = at < a->n_candidates ? a->candidates[at] : NULL;
                r = candidate_answer(ret, a, e);
                if (r < 0 || *ret != OCI_AUTH_GIVE_UP)
                        return r;
        }
        *ret = OCI_AUTH_GIVE_UP;
        return 0;
}

int oci_auth_begin(enum oci_auth_next *ret, struct oci_auth *a, struct oci_challenge *known,
                   struct error *e) {
        int r;

        if (!known) {
                *ret = OCI_AUTH_SEND;
                return 0;
        }
        a->challenge = *known;
        *known = (struct oci_challenge){ 0 };
        a->has_challenge = a->is_of_before = true;
        r = first_answer_from(ret, a, 0, e);
        if (r == 0 && *ret == OCI_AUTH_GIVE_UP)
                *ret = OCI_AUTH_SEND; /* the registry may have changed its mind; let it say so */
        return r;
}

int oci_auth_on_token(struct oci_auth *a, const char *token, bool is_fresh, struct error *e) {
        int r = authorize_bearer(a, token, e);

        if (r < 0)
                return r;
        wipe(&a->token);
        a->token = strdup(token);
        a->token_is_fresh = is_fresh;
        return a->token ? 0 : error_set(e, ERROR_INTERNAL, "out of memory");
}

int oci_auth_on_token_refused(enum oci_auth_next *ret, struct oci_auth *a, struct error *e) {
        int r = first_answer_from(ret, a, a->at + 1, e);

        if (r == 0 && *ret == OCI_AUTH_GIVE_UP && a->is_of_before) {
                a->is_of_before = false;
                *ret = OCI_AUTH_SEND; /* likewise */
        }
        return r;
}

/* Takes the challenges of an answer in, if there are any that we know. */
static void challenge_update(struct oci_auth *a, char *const *challenges, size_t max) {
        _cleanup_challenge_ struct oci_challenge fresh = { 0 };

        for (size_t i = 0; i < max && challenges[i]; i++)
                (void)oci_challenge_add(&fresh, challenges[i], NULL);
        if (!fresh.basic && !fresh.bearer)
                return;
        oci_challenge_done(&a->challenge);
        a->challenge = fresh;
        a->has_challenge = true;
        fresh = (struct oci_challenge){ 0 };
}

int oci_auth_on_denied(enum oci_auth_next *ret, struct oci_auth *a, long status, char *const *challenges,
                       size_t max, struct error *e) {
        challenge_update(a, challenges, max);
        a->is_of_before = false;
        if (!a->has_challenge) {
                *ret = OCI_AUTH_GIVE_UP;
                return 0;
        }
        if (!a->authorization)
                return first_answer_from(ret, a, 0, e);
        if (status == 401 && a->token && !a->token_is_fresh) {
                wipe(&a->refused_token);
                a->refused_token = take_ptr(a->token);
                wipe(&a->authorization);
                *ret = OCI_AUTH_GET_TOKEN;
                return 0;
        }
        return first_answer_from(ret, a, a->at + 1, e);
}

bool oci_auth_is_private(const struct oci_auth *a) {
        return a->authorization && a->credential;
}
