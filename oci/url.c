/* SPDX-License-Identifier: Apache-2.0 */
/*
 * url: addresses by libcurl's parser, so that what is judged here is what libcurl connects to (numeric hosts
 * such as 0x7f.1 are put in order by it).
 *
 *   where a host leads       redirect may go there   token service may be there
 *   public, or any name      yes                     yes
 *   private, loopback        yes                     only if the registry is that host
 *   link-local               only likewise           only likewise
 *
 * Neither may take us from https to http, nor name a user. All of loopback counts as one host. Names are not
 * resolved: a name that leads to a private address is how many companies run their token service; a literal
 * in a challenge is not.
 */
#include "oci/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/cleanup.h"

DEFINE_CLEANUP(CURLU *, curl_url_cleanup);
DEFINE_CLEANUP(char *, curl_free);

enum reach {
        REACH_PUBLIC, /* or a name */
        REACH_PRIVATE,
        REACH_LOOPBACK,
        REACH_LINK_LOCAL,
};

/* A part of @u, or NULL where it has none. */
static char *url_part(CURLU *u, CURLUPart what, unsigned flags) {
        char *part = NULL;

        return curl_url_get(u, what, &part, flags) == CURLUE_OK ? part : NULL;
}

/* libcurl has decoded the host: an escape that is left, or a DEL, would be another host to whoever reads it
 * again. What stands in brackets it has checked itself. */
static bool host_is_plain(CURLU *u) {
        _cleanup_(curl_freep) char *host = url_part(u, CURLUPART_HOST, 0);

        return !host || host[0] == '[' || !strpbrk(host, "%\x7f");
}

static CURLU *url_parse(const char *url) {
        _cleanup_(curl_url_cleanupp) CURLU *u = NULL;

        if (strlen(url) > OCI_URL_MAX ||
            strncmp(url + strcspn(url, ":"), "://", 3) != 0) /* libcurl makes do with one slash */
                return NULL;
        u = curl_url();
        if (!u || curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
            !host_is_plain(u))
                return NULL;
        return take_ptr(u);
}

static bool scheme_is_http(const char *scheme) {
        return scheme && (strcasecmp(scheme, "https") == 0 || strcasecmp(scheme, "http") == 0);
}

int oci_url_origin(char **ret, const char *url, struct error *e) {
        _cleanup_(curl_url_cleanupp) CURLU *u = url_parse(url);
        _cleanup_(curl_freep) char *scheme = u ? url_part(u, CURLUPART_SCHEME, 0) : NULL;
        _cleanup_(curl_freep) char *host = u ? url_part(u, CURLUPART_HOST, 0) : NULL;
        _cleanup_(curl_freep) char *port = u ? url_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT) : NULL;
        _cleanup_buf_ struct buf b = BUF_INIT(OCI_URL_MAX);
        char *origin;

        if (!scheme_is_http(scheme) || !host || !port)
                return error_set(e, ERROR_INVALID, "an address is not an http or https URL");
        for (char *p = host; *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char)(*p - 'A' + 'a');
        if (buf_printf(&b, "%s://%s:%s", strcasecmp(scheme, "https") == 0 ? "https" : "http", host, port) < 0)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        origin = buf_take(&b);
        if (!origin)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        *ret = origin;
        return 0;
}

char *oci_url_shown(const char *url) {
        _cleanup_(curl_url_cleanupp) CURLU *u = url_parse(url);
        _cleanup_(curl_freep) char *whole = NULL;

        if (!u)
                return strdup("(an address that cannot be parsed)");
        curl_url_set(u, CURLUPART_USER, NULL, 0);
        curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
        curl_url_set(u, CURLUPART_QUERY, NULL, 0);
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
        whole = url_part(u, CURLUPART_URL, 0);
        return whole ? strdup(whole) : NULL;
}

char *oci_url_host(const char *url) {
        _cleanup_(curl_url_cleanupp) CURLU *u = url_parse(url);
        _cleanup_(curl_freep) char *host = u ? url_part(u, CURLUPART_HOST, 0) : NULL;
        _cleanup_(curl_freep) char *port = u ? url_part(u, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT) : NULL;
        _cleanup_buf_ struct buf b = BUF_INIT(OCI_URL_MAX);

        if (!host || buf_printf(&b, port ? "%s:%s" : "%s", host, port) < 0)
                return NULL;
        return buf_take(&b);
}

bool oci_url_is_https(const char *url) {
        return strncasecmp(url, "https://", 8) == 0;
}

/* In host byte order. */
static enum reach reach_of_ipv4(uint32_t a) {
        if (a >> 24 == 127 || a == 0)
                return REACH_LOOPBACK;
        if (a >> 16 == 0xa9fe)
                return REACH_LINK_LOCAL;
        if (a >> 24 == 10 || a >> 20 == 0xac1 || a >> 16 == 0xc0a8 || a >> 22 == 0x191 || a >> 28 >= 14)
                return REACH_PRIVATE; /* RFC 1918, carrier-grade NAT, multicast and what nobody routes */
        return REACH_PUBLIC;
}

static enum reach reach_of_ipv6(const struct in6_addr *a) {
        static const uint8_t nat64[12] = { 0, 0x64, 0xff, 0x9b };
        uint32_t last;

        memcpy(&last, a->s6_addr + 12, sizeof last);
        if (IN6_IS_ADDR_V4MAPPED(a) || memcmp(a->s6_addr, nat64, sizeof nat64) == 0)
                return reach_of_ipv4(ntohl(last));
        if (IN6_IS_ADDR_LOOPBACK(a) || IN6_IS_ADDR_UNSPECIFIED(a))
                return REACH_LOOPBACK;
        if (IN6_IS_ADDR_LINKLOCAL(a))
                return REACH_LINK_LOCAL;
        if ((a->s6_addr[0] & 0xfe) == 0xfc || IN6_IS_ADDR_SITELOCAL(a) || IN6_IS_ADDR_MULTICAST(a))
                return REACH_PRIVATE;
        return REACH_PUBLIC;
}

/* Of a host as libcurl prints it: IPv6 in brackets, maybe with a zone. */
static enum reach reach_of_host(const char *host) {
        size_t len = strlen(host);
        char plain[INET6_ADDRSTRLEN];
        struct in6_addr six;
        struct in_addr four;

        if (strcasecmp(host, "localhost") == 0 ||
            (len > 10 && strcasecmp(host + len - 10, ".localhost") == 0))
                return REACH_LOOPBACK;
        if (inet_pton(AF_INET, host, &four) == 1)
                return reach_of_ipv4(ntohl(four.s_addr));
        if (host[0] != '[')
                return REACH_PUBLIC;
        len = strcspn(host + 1, "]%");
        if (len >= sizeof plain)
                return REACH_PRIVATE;
        memcpy(plain, host + 1, len);
        plain[len] = '\0';
        return inet_pton(AF_INET6, plain, &six) == 1 ? reach_of_ipv6(&six) : REACH_PRIVATE;
}

/* What the two checks have in common: a URL without a user, and not less safe than @origin. */
static int url_check(enum reach *ret, bool *ret_same_host, const char *origin, const char *target,
                     const char *what, struct error *e) {
        _cleanup_(curl_url_cleanupp) CURLU *from = url_parse(origin);
        _cleanup_(curl_url_cleanupp) CURLU *to = url_parse(target);
        _cleanup_(curl_freep) char *from_host = from ? url_part(from, CURLUPART_HOST, 0) : NULL;
        _cleanup_(curl_freep) char *host = to ? url_part(to, CURLUPART_HOST, 0) : NULL;
        _cleanup_(curl_freep) char *scheme = to ? url_part(to, CURLUPART_SCHEME, 0) : NULL;
        _cleanup_(curl_freep) char *user = to ? url_part(to, CURLUPART_USER, 0) : NULL;
        enum reach reach;

        if (!host || !from_host || user || !scheme_is_http(scheme))
                return error_set(e, ERROR_DENIED, "%s names %s that is not a plain http or https address",
                                 origin, what);
        if (oci_url_is_https(origin) && !oci_url_is_https(target))
                return error_set(e, ERROR_DENIED, "%s names %s at %s without TLS, which is refused", origin,
                                 what, host);
        reach = reach_of_host(host);
        *ret_same_host = strcasecmp(host, from_host) == 0 ||
                         (reach == REACH_LOOPBACK && reach_of_host(from_host) == REACH_LOOPBACK);
        *ret = reach;
        return 0;
}

int oci_url_check_redirect(const char *origin, const char *target, struct error *e) {
        enum reach reach;
        bool same_host;
        int r = url_check(&reach, &same_host, origin, target, "a redirect", e);

        if (r < 0)
                return r;
        if (reach == REACH_LINK_LOCAL && !same_host)
                return error_set(e, ERROR_DENIED, "%s redirects to a link-local address, which is refused",
                                 origin);
        return 0;
}

int oci_url_check_realm(const char *origin, const char *realm, struct error *e) {
        enum reach reach;
        bool same_host;
        int r = url_check(&reach, &same_host, origin, realm, "a token service", e);

        if (r < 0)
                return r;
        if (reach != REACH_PUBLIC && !same_host)
                return error_set(e, ERROR_DENIED,
                                 "%s names a token service at a private address, which is refused", origin);
        return 0;
}

int oci_url_add_query(char **url, const char *name, const char *value) {
        _cleanup_(curl_url_cleanupp) CURLU *u = url_parse(*url);
        _cleanup_(curl_freep) char *whole = NULL;
        _cleanup_buf_ struct buf pair = BUF_INIT(OCI_URL_MAX);
        char *copy;

        if (!u)
                return -EINVAL;
        if (buf_printf(&pair, "%s=%s", name, value) < 0)
                return -EINVAL;
        if (curl_url_set(u, CURLUPART_QUERY, pair.data, CURLU_APPENDQUERY | CURLU_URLENCODE) != CURLUE_OK)
                return -EINVAL;
        whole = url_part(u, CURLUPART_URL, 0);
        copy = whole ? strdup(whole) : NULL;
        if (!copy)
                return -ENOMEM;
        free(*url);
        *url = copy;
        return 0;
}
