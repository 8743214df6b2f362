/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint: an address where a registry's content may be asked for: a mirror of the reference's host, or the
 * host itself (settings registries[]). In the order in which they are to be tried; the host itself comes
 * last.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/settings.h"

struct oci_endpoint {
        char *base;   /* "https://mirror.internal/v2", no slash at the end */
        char *origin; /* "https://mirror.internal:443" */
        char *host;   /* for credentials and people: "docker.io" for Docker Hub, whatever its API's host is */
        char *ns;     /* of a mirror: the host it stands in for; NULL: this is the host itself */
        const struct settings_registry *registry; /* CA and headers of this endpoint's host, or NULL */
};

struct oci_endpoints {
        struct oci_endpoint *list;
        size_t n;
};

/* @host: of a reference. ERROR_INVALID names a mirror that is no URL. */
int oci_endpoints_of(struct oci_endpoints *ret, const struct settings *s, const char *host, struct error *e);
void oci_endpoints_done(struct oci_endpoints *ep); /* frees what is inside; accepts an empty one */
#define _cleanup_endpoints_ _cleanup_(oci_endpoints_done)

/* "BASE/REPOSITORY/PATH[?ns=HOST]"; to be freed; NULL: out of memory. */
char *oci_endpoint_url(const struct oci_endpoint *ep, const char *repository, const char *path);
