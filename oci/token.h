/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token: Bearer tokens that registries' token services have handed out, by realm, service, scope and who
 * asked; and which challenge a repository answered with last, so that the next request can bring its token
 * along at once.
 *
 * Thread-safe. However many requests want the same token, one asks for it and the others wait.
 */
#pragma once

#include "oci/challenge.h"
#include "oci/exchange.h"
#include "oci/keyring.h"

struct oci_tokens;
/* Starts empty; nothing is ever written to disk. */
int oci_tokens_new(struct oci_tokens **ret, struct error *e);
void oci_tokens_free(struct oci_tokens *t);
DEFINE_CLEANUP(struct oci_tokens *, oci_tokens_free);

struct oci_token_request {
        struct oci_exchange exchange;
        struct oci_cancel cancel;
        const char *registry_origin; /* "https://host:port" that sent the challenge */
        const char *repository;
        const struct oci_challenge *challenge;
        const struct oci_credential *credential; /* NULL: anonymous */
        const char *refused;                     /* a token that does not help; NULL: any will do */
        const char *ca_pem;                      /* for the realm's host; may be NULL */
};

/* Asks, whatever the cache has. The realm is checked first. ERROR_UNAUTHENTICATED: the service does not
 * accept the credential; ERROR_DENIED: credentials must not go to that address. */
int oci_token_ask(char **ret, int64_t *ret_life_ms, const struct oci_token_request *q, struct error *e);

/* *ret is to be wiped and freed. *ret_fresh: this request asked for it. */
int oci_token_get(char **ret, bool *ret_fresh, struct oci_tokens *t, const struct oci_token_request *q,
                  struct error *e);

/* @c is copied. */
void oci_tokens_remember(struct oci_tokens *t, const char *origin, const char *repository,
                         const struct oci_challenge *c);
/* True: *ret is a copy, to be released by the caller. */
bool oci_tokens_recall(struct oci_challenge *ret, struct oci_tokens *t, const char *origin,
                       const char *repository);
