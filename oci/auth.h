/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth: how one request shows who is asking. An engine without I/O: it is told what the registry answered and
 * says what to do next; ask.c does it.
 *
 *   oci_auth_begin -> SEND (with auth->authorization) -> oci_auth_on_denied for 401 and 403
 *          |                    ^                                    |
 *          v                    |                                    v
 *      GET_TOKEN -> oci_auth_on_token / oci_auth_on_token_refused, GIVE_UP: the answer stands
 *
 * Candidates are tried in turn, each with at most one token that is fresh; nobody ever loops on 401. Without
 * any candidate an anonymous token is asked for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "oci/challenge.h"
#include "oci/keyring.h"

#define OCI_AUTH_CANDIDATES_MAX 16

enum oci_auth_next {
        OCI_AUTH_SEND,      /* the request, with `authorization` (NULL: without) */
        OCI_AUTH_GET_TOKEN, /* for `challenge`, as `credential`; not `refused_token` */
        OCI_AUTH_GIVE_UP,
};

struct oci_auth {
        const struct oci_credential *candidates[OCI_AUTH_CANDIDATES_MAX]; /* of keyrings that outlive this */
        size_t n_candidates;
        size_t at;                               /* the one in use */
        const struct oci_credential *credential; /* the same; NULL: anonymous */
        struct oci_challenge challenge;          /* the newest */
        bool has_challenge;
        bool is_of_before;   /* the challenge; the registry has not denied anything since */
        char *authorization; /* value of the header; NULL: none */
        char *token;         /* Bearer's; NULL: Basic or nothing */
        char *refused_token; /* came from the cache and was answered with 401 */
        bool token_is_fresh;
};

/* Candidates of @k for that registry, after those that are there. */
void oci_auth_add_keyring(struct oci_auth *a, const struct oci_keyring *k, const char *host,
                          const char *repository);
/* @known: a challenge of this repository from before, or NULL; taken over. */
int oci_auth_begin(enum oci_auth_next *ret, struct oci_auth *a, struct oci_challenge *known, struct error *e);
int oci_auth_on_token(struct oci_auth *a, const char *token, bool is_fresh, struct error *e); /* then SEND */
int oci_auth_on_token_refused(enum oci_auth_next *ret, struct oci_auth *a, struct error *e);
/* @challenges: the answer's WWW-Authenticate headers, NULL-ended or @max of them. Malformed ones are passed
 * over. */
int oci_auth_on_denied(enum oci_auth_next *ret, struct oci_auth *a, long status, char *const *challenges,
                       size_t max, struct error *e);
/* The authorization is one that not everybody could have. */
bool oci_auth_is_private(const struct oci_auth *a);
/* "Basic …" of user and password, to be wiped and freed; NULL: out of memory, or they are too long. */
char *oci_auth_basic(const struct oci_credential *c);
void oci_auth_done(struct oci_auth *a); /* wipes */
#define _cleanup_auth_ _cleanup_(oci_auth_done)
