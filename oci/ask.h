/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask: one question to a registry about one repository, with all that comes with it: mirrors, credentials,
 * redirects. The answer has been accepted: its status is 200 or 206.
 */
#pragma once

#include "oci/client_state.h"
#include "oci/endpoint.h"
#include "oci/status.h"

struct oci_ask {
        const struct oci_reference *reference; /* of a registry */
        const struct oci_keyring *keyring;     /* the request's; may be NULL */
        const char *path;                      /* below the repository: "manifests/latest" */
        const char *accept;                    /* NULL: none */
        bool head;
        bool ranged;        /* ask for the first @max_body bytes only (at least one) */
        size_t max_body;    /* more is refused, or cut off if @ranged */
        unsigned max_tries; /* 0: the usual */
        struct oci_cancel cancel;
};

struct oci_answer {
        struct oci_http_response response;
        struct oci_words words; /* of a refusal */
        char *url;              /* that was answered, after redirects */
        bool redirected;        /* to another origin: without our headers */
        char *authorization;    /* that was accepted at @url; NULL: none */
        bool is_private;        /* not everybody could have asked this */
};
void oci_answer_done(struct oci_answer *a); /* accepts an empty one */
#define _cleanup_answer_ _cleanup_(oci_answer_done)

/*
 * Asks one endpoint. On failure ret->response.status is the last status that there was, if any.
 * ERROR_NOT_FOUND, ERROR_UNAUTHENTICATED, ERROR_DENIED, ERROR_UNAVAILABLE, ERROR_INVALID, ERROR_CANCELLED.
 */
int oci_ask_endpoint(struct oci_answer *ret, struct oci_client *c, const struct oci_endpoint *ep,
                     const struct oci_ask *q, struct error *e);

/* The headers that requests to @url carry: Range and Accept of the question everywhere, @authorization and
 * the configured ones only at the endpoint itself. *ret is to be freed. */
int oci_ask_headers(struct curl_slist **ret, const struct oci_endpoint *ep, bool redirected,
                    const char *authorization, const char *accept, struct error *e);

/* A failure after which another endpoint may do better. */
bool oci_error_is_elsewhere(const struct error *e);
