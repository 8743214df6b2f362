/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http: one blocking request. No redirects, no credentials of its own, no retries: those are decisions and
 * are made above (exchange, auth, ask). Also what every transfer of ours has in common, for those that the
 * engine runs itself. Registries are not its only servers: the Kubernetes API server is asked with it too.
 *
 * Thread-safe: each request takes a session (with its warm connections) out of a small pool and puts it back.
 */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"

/* Who waits: asked now and then whether it still wants to, and told why it has to (NULL: no longer). May be
 * empty. */
struct oci_cancel {
        bool (*cancelled)(void *userdata);
        void *userdata;
        void (*retrying)(void *userdata, const char *why);
};
/* False if there is nothing to ask. */
bool oci_cancel_wanted(const struct oci_cancel *c);
/* Waits; false as soon as it is cancelled. */
bool oci_cancel_sleep(const struct oci_cancel *c, int64_t ms);

/* Where a transfer goes and what it may do there. Kept by reference until the transfer is over. */
struct oci_http_target {
        const char *url;
        struct curl_slist *headers;
        const char *ca_pem; /* certificates that are trusted besides the system's; NULL: none */
        bool only_ca;       /* @ca_pem, which is given, is all that is trusted */
        bool plain_http;    /* http is allowed besides https */
        bool direct;        /* past the proxies of the environment */
};

/* Sets all that transfers have in common on @easy, over whatever a transfer before has left. 0 or -ENOMEM. */
int oci_http_prepare(CURL *easy, const struct oci_http_target *t);

struct oci_http_request {
        struct oci_http_target target;
        bool head;
        const char *form;   /* POST of a form; NULL: GET or HEAD */
        const char *method; /* "PATCH", with the text @body, whose Content-Type is a header; NULL: as above */
        const char *body;
        int64_t timeout_ms; /* for all of it; 0: two minutes */
        size_t max_body;
        bool cut; /* a longer body is cut at max_body; otherwise it is ERROR_INVALID */
        struct oci_cancel cancel;
};

#define OCI_HTTP_CHALLENGES_MAX 8
#define OCI_HTTP_DETAIL_MAX 200
struct oci_http_response {
        CURLcode code;                    /* why there is no status */
        char detail[OCI_HTTP_DETAIL_MAX]; /* libcurl's words for it; may be empty, and have the address */
        long status;                      /* 0: no answer */
        char *location;                   /* absolute; of a redirect, else NULL */
        char *content_type, *content_range, *content_digest, *retry_after; /* headers or NULL */
        char *challenges[OCI_HTTP_CHALLENGES_MAX]; /* WWW-Authenticate, NULL-ended if fewer */
        struct buf body;
        bool was_cut;
};
void oci_http_response_done(struct oci_http_response *r); /* back to empty; accepts an empty one */
#define _cleanup_response_ _cleanup_(oci_http_response_done)

struct oci_http;
int oci_http_new(struct oci_http **ret, struct error *e);
void oci_http_free(struct oci_http *h);
DEFINE_CLEANUP(struct oci_http *, oci_http_free);

/*
 * 0: there is an answer, whatever its status. Failures: ERROR_UNAVAILABLE (ret->code says what),
 * ERROR_INVALID (too long), ERROR_CANCELLED. *ret is written in any case.
 */
int oci_http_perform(struct oci_http_response *ret, struct oci_http *h, const struct oci_http_request *req,
                     struct error *e);

/*
 * What @code of a transfer to @url means. libcurl has several for an answer that is no HTTP, and they sound
 * as if the fault were ours; here they are all CURLE_WEIRD_SERVER_REPLY.
 */
CURLcode oci_http_code(CURLcode code, const char *url, bool plain_http);

/* What went wrong with a transfer to @url and what to do; @code is oci_http_code()'s. @detail (libcurl's,
 * may be NULL or "") is cleaned first. */
int oci_http_error(struct error *e, CURLcode code, const char *url, const char *detail);

/* "Name: value" at the end of *list. 0, -EINVAL (a line break or another control character in it) or -ENOMEM.
 */
int oci_http_header_add(struct curl_slist **list, const char *name, const char *value);
DEFINE_CLEANUP(struct curl_slist *, curl_slist_free_all);
