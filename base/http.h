/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http: the daemon's /metrics, /healthz and /readyz (libmicrohttpd, one thread).
 *
 * A page is a function that runs on that thread for each request, so it must not wait for anything long, and
 * what it looks at has to outlive the endpoint.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"

struct http_endpoint;
/* Fills @body; returns the HTTP status. Runs on the endpoint's thread: short, no blocking. */
typedef unsigned http_page(void *userdata, struct buf *body);
struct http_route {
        const char *path; /* "/metrics" */
        const char *content_type;
        http_page *page;
};

/* @address: "[host]:port", ":9810", "127.0.0.1:0". @routes ends with a NULL path; kept by reference. */
int http_endpoint_new(struct http_endpoint **ret, const char *address, const struct http_route *routes,
                      void *userdata, struct error *e);
unsigned http_endpoint_port(const struct http_endpoint *h); /* the real one when 0 was asked for */
void http_endpoint_free(struct http_endpoint *h);
DEFINE_CLEANUP(struct http_endpoint *, http_endpoint_free);
