/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange: one request, sent again for as long as that can help: lost connections, timeouts, 408, 429 and
 * 5xx, with backoff, jitter and Retry-After. Also the rules themselves, for transfers that the engine runs.
 */
#pragma once

#include "oci/http.h"

#define OCI_TRIES_STATUS 5u    /* a server that answers 429 or 5xx */
#define OCI_TRIES_TRANSPORT 3u /* one that does not answer */
#define OCI_TRIES_MIRROR 2u    /* there is somebody else to ask */

struct oci_exchange {
        struct oci_http *http;
        const char *registry; /* host of the reference: label of the metrics */
        unsigned max_tries;   /* cap on both; 0: none */
};

/* As oci_http_perform(), after the last try: an answer may still be 429 or 5xx. */
int oci_exchange(struct oci_http_response *ret, const struct oci_exchange *x,
                 const struct oci_http_request *req, struct error *e);

/* Why it is worth trying again, as in registry_retries_total; NULL: it is not. */
const char *oci_retry_reason(CURLcode code, long status);
/* How long to wait before try number @tried + 1: 100 ms doubled each time, at most 5 s, a random half of it;
 * or what @retry_after (a header, may be NULL) says, at most 30 s. */
int64_t oci_retry_wait_ms(unsigned tried, const char *retry_after);

/* Counts an answer in registry_requests_total. */
void oci_count_request(const char *registry, long status);
