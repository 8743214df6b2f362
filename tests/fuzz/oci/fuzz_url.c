/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input's first line is where we are, its second where a registry wants to send us: whatever is accepted
 * is an http(s) origin that prints back, never less safe than where we were, and never shown with its secrets.
 */
#include "oci/url.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same_origin(const char *a, const char *b) {
        _cleanup_free_ char *first = NULL;
        _cleanup_free_ char *second = NULL;

        return oci_url_origin(&first, a, NULL) == 0 && oci_url_origin(&second, b, NULL) == 0 &&
               strcmp(first, second) == 0;
}

/* An origin is an address, and its own origin; what is shown of an address says the same about itself. */
static void check_address(const char *url) {
        _cleanup_free_ char *origin = NULL;
        _cleanup_free_ char *again = NULL;
        _cleanup_free_ char *shown = oci_url_shown(url);
        _cleanup_free_ char *host = oci_url_host(url);
        struct error e;

        assert(shown && !strchr(shown, '?') && !strchr(shown, '#'));
        if (oci_url_origin(&origin, url, &e) < 0)
                return;
        assert(host);
        assert(text_starts_with(origin, "https://") || text_starts_with(origin, "http://"));
        assert(oci_url_is_https(origin) == oci_url_is_https(url));
        assert(oci_url_origin(&again, origin, &e) == 0 && strcmp(origin, again) == 0);
        assert(same_origin(url, url) && same_origin(url, origin) && same_origin(url, shown));
}

static void check_way(const char *from, const char *to) {
        bool redirect = oci_url_check_redirect(from, to, NULL) == 0;
        bool realm = oci_url_check_realm(from, to, NULL) == 0;
        _cleanup_free_ char *origin = NULL;

        assert(same_origin(from, to) == same_origin(to, from));
        if (!redirect && !realm)
                return;
        assert(oci_url_origin(&origin, to, NULL) == 0);
        assert(!oci_url_is_https(from) || oci_url_is_https(origin));
        assert(redirect); /* who may have our password may be asked for bytes */
}

/* The parameter is the last one of the query, and the address leads where it did. */
static void check_query(const char *url, const char *value) {
        _cleanup_free_ char *origin = NULL;
        _cleanup_free_ char *longer = strdup(url);

        if (!longer || oci_url_origin(&origin, url, NULL) < 0 ||
            oci_url_add_query(&longer, "scope", value) < 0)
                return;
        assert(strstr(longer, "scope="));
        for (const char *p = longer; *p; p++)
                assert((unsigned char)*p > ' ' || strchr(url, *p));
        assert(same_origin(url, longer));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *from = strndup((const char *)data, size);
        char *to = from ? strchr(from, '\n') : NULL;

        if (!to)
                return 0;
        *to++ = '\0';
        check_address(from);
        check_address(to);
        check_way(from, to);
        check_way(to, from);
        check_query(from, to);
        return 0;
}
