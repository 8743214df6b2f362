/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint: where a host's content may be asked for, in this order.
 *
 *   each of the host's mirrors   base = URL[/v2], ns = the host; its own registries[] entry, if any
 *   the host itself              base = http[s]://HOST/v2, no ns; Docker Hub's API is at another host
 *
 * Mirrors follow containerd's habits: "/v2" is added to a mirror's address unless its path says v2 already
 * (Harbor's proxies have it in front: https://harbor/v2/hub), and the query "ns" tells a mirror that serves
 * several registries which one is meant. A mirror's scheme is the administrator's word; the host itself is
 * plain HTTP only with plainHttp.
 *
 * No network and no state: addresses only.
 */
#include "oci/endpoint.h"

#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "oci/url.h"

#define DOCKER_HUB "docker.io"
#define DOCKER_HUB_API "registry-1.docker.io"

static void endpoint_done(struct oci_endpoint *ep) {
        free(ep->base);
        free(ep->origin);
        free(ep->host);
        free(ep->ns);
}

void oci_endpoints_done(struct oci_endpoints *ep) {
        for (size_t i = 0; i < ep->n; i++)
                endpoint_done(&ep->list[i]);
        free(ep->list);
        *ep = (struct oci_endpoints){ 0 };
}

static bool path_says_v2(const char *url) {
        const char *path = strchr(strstr(url, "://") + 3, '/');

        return path &&
               (strcmp(path, "/v2") == 0 || text_starts_with(path, "/v2/") || text_ends_with(path, "/v2"));
}

static int endpoint_fill_mirror(struct oci_endpoint *ep, const struct settings *s, const char *mirror,
                                const char *ns, struct error *e) {
        _cleanup_buf_ struct buf base = BUF_INIT(OCI_URL_MAX);
        size_t len = strlen(mirror);

        if (oci_url_origin(&ep->origin, mirror, NULL) < 0)
                return error_set(e, ERROR_INVALID,
                                 "registries[].mirrors of %s: \"%s\" is not an http or https URL", ns,
                                 mirror);
        while (len > 0 && mirror[len - 1] == '/')
                len--;
        if (buf_append(&base, mirror, len) < 0 || (!path_says_v2(base.data) && buf_printf(&base, "/v2") < 0))
                return error_set(e, ERROR_INTERNAL, "out of memory");
        ep->base = buf_take(&base);
        ep->host = oci_url_host(mirror);
        ep->ns = strdup(ns);
        if (!ep->base || !ep->host || !ep->ns)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        ep->registry = settings_find_registry(s, ep->host);
        return 0;
}

static int endpoint_fill_host(struct oci_endpoint *ep, const struct settings_registry *registry,
                              const char *host, struct error *e) {
        const char *api = strcmp(host, DOCKER_HUB) == 0 ? DOCKER_HUB_API : host;
        const char *scheme = registry && registry->plain_http ? "http" : "https";

        if (asprintf(&ep->base, "%s://%s/v2", scheme, api) < 0) {
                ep->base = NULL;
                return error_set(e, ERROR_INTERNAL, "out of memory");
        }
        ep->host = strdup(host);
        if (!ep->host)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        ep->registry = registry;
        return oci_url_origin(&ep->origin, ep->base, e);
}

int oci_endpoints_of(struct oci_endpoints *ret, const struct settings *s, const char *host, struct error *e) {
        const struct settings_registry *registry = settings_find_registry(s, host);
        _cleanup_endpoints_ struct oci_endpoints ep = { 0 };
        size_t n_mirrors = 0;
        int r;

        while (registry && registry->mirrors && registry->mirrors[n_mirrors])
                n_mirrors++;
        ep.list = calloc(n_mirrors + 1, sizeof *ep.list);
        if (!ep.list)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        for (size_t i = 0; i < n_mirrors; i++) {
                ep.n++;
                r = endpoint_fill_mirror(&ep.list[i], s, registry->mirrors[i], host, e);
                if (r < 0)
                        return r;
        }
        ep.n++;
        r = endpoint_fill_host(&ep.list[n_mirrors], registry, host, e);
        if (r < 0)
                return r;
        *ret = ep;
        ep = (struct oci_endpoints){ 0 };
        return 0;
}

char *oci_endpoint_url(const struct oci_endpoint *ep, const char *repository, const char *path) {
        char *url;

        if (asprintf(&url, "%s/%s/%s", ep->base, repository, path) < 0)
                return NULL;
        if (ep->ns && oci_url_add_query(&url, "ns", ep->ns) < 0) {
                free(url);
                return NULL;
        }
        return url;
}
