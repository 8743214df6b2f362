/* SPDX-License-Identifier: Apache-2.0 */
/*
 * url: what an address says about where it leads: its origin, a form of it that may be shown to people, and
 * whether a hostile registry may send us there.
 *
 * A registry can name an address in a redirect or as the realm of its token service, and so have this node,
 * which may stand inside a private network, send requests and credentials there. The two checks below are
 * what stands against that.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

#define OCI_URL_MAX 16384 /* bytes; signed addresses are long */

/* "https://host:port", the port always there, the host in lower case. To be freed. ERROR_INVALID: not
 * http(s). */
int oci_url_origin(char **ret, const char *url, struct error *e);

/* "https://host/path" without user, query and fragment: fit for logs and errors. To be freed; NULL: out of
 * memory. */
char *oci_url_shown(const char *url);
/* "host" or "host:port" as the address has it; to be freed; NULL: not an address. */
char *oci_url_host(const char *url);

/* By its scheme alone; what is no URL is not. */
bool oci_url_is_https(const char *url);

/*
 * Whether a registry at @origin may send us to @target: http or https without a user, never from https to
 * http, and not to a link-local address (a cloud's metadata service) unless the registry lives there itself.
 * ERROR_DENIED.
 */
int oci_url_check_redirect(const char *origin, const char *target, struct error *e);

/*
 * Whether credentials for the registry at @origin may go to the token service @realm: https unless the
 * registry is plain HTTP itself, and no private, loopback or link-local address unless it is the registry's.
 * ERROR_DENIED.
 */
int oci_url_check_realm(const char *origin, const char *realm, struct error *e);

/* Adds "name=value" to the query of *url, the value encoded. 0, -EINVAL or -ENOMEM. */
int oci_url_add_query(char **url, const char *name, const char *value);
