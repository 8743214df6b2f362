/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings_check: what takes more than one setting, or more than its type, to be judged.
 *
 * Runs after file and flags, because a flag may repair what the file alone would break. Nothing here touches
 * the network or the disk: --check-config must give the same answer on a laptop as on the node.
 */
#include "base/settings_internal.h"

#include "base/log.h"
#include "base/path.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#define MIB (1u << 20)
#define SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

static const struct settings_state *state_of(const struct settings *s) {
        return (const struct settings_state *)((const char *)s - offsetof(struct settings_state, s));
}

/* A complaint about two settings stands at the one that somebody wrote. */
static const char *written_one(const struct settings *s, const char *key, const char *other) {
        return settings_places_find(&state_of(s)->places, key) ? key : other;
}

/* "8080": 1 to 65535, or 0 if @zero is. */
static bool is_port(const char *text, size_t len, bool zero) {
        unsigned port = 0;

        if (len == 0 || len > 5)
                return false;
        for (size_t i = 0; i < len; i++) {
                if (text[i] < '0' || text[i] > '9')
                        return false;
                port = port * 10 + (unsigned)(text[i] - '0');
        }
        return port <= 65535 && (port > 0 || zero);
}

/* The length of the name, IPv4 address or bracketed IPv6 address at @s; 0: there is none. */
static size_t host_length(const char *s) {
        size_t n;

        if (*s != '[') {
                n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
                return n > 0 && n < 254 && *s != '.' && *s != '-' ? n : 0;
        }
        n = 1 + strspn(s + 1, "0123456789abcdefABCDEF:.");
        return n > 2 && s[n] == ']' ? n + 1 : 0;
}

/* "host", "host:port", "[::1]:port" and nothing else in @len bytes. */
static bool is_host(const char *s, size_t len) {
        size_t n = host_length(s);

        if (n == 0 || n > len)
                return false;
        return n == len || (s[n] == ':' && is_port(s + n + 1, len - n - 1, false));
}

/* Port 0 lets the kernel choose one, which tests use. */
static bool is_listen_address(const char *s) {
        size_t n = *s == ':' ? 0 : host_length(s);

        return (*s == ':' || n > 0) && s[n] == ':' && is_port(s + n + 1, strlen(s + n + 1), true);
}

/*
 * A mirror: scheme, host, port and a path. No query, fragment or credentials: the path is continued with
 * "/repository/blobs/…", and what follows a question mark would swallow that.
 */
static bool is_url(const char *s) {
        const char *host = text_starts_with(s, "https://")  ? s + strlen("https://")
                           : text_starts_with(s, "http://") ? s + strlen("http://")
                                                            : NULL;

        if (!host || !is_host(host, strcspn(host, "/")))
                return false;
        for (const char *p = host; *p; p++)
                if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f || strchr("?#\"<>\\^`{|}", *p))
                        return false;
        return true;
}

/* Both sockets are ours to make, each with a lock file beside it. */
static int check_sockets(const struct settings *s, struct error *e) {
        const char *path = s->csi.endpoint + strlen("unix://");

        if (!text_starts_with(s->csi.endpoint, "unix:///"))
                return settings_invalid(state_of(s), "csi.endpoint", e,
                                        "\"%.200s\" does not begin with unix:///", s->csi.endpoint);
        if (strlen(path) > SOCKET_PATH_MAX)
                return settings_invalid(state_of(s), "csi.endpoint", e,
                                        "the path of a socket cannot be longer than %zu bytes",
                                        SOCKET_PATH_MAX);
        if (strlen(s->control.socket) > SOCKET_PATH_MAX)
                return settings_invalid(state_of(s), "control.socket", e,
                                        "the path of a socket cannot be longer than %zu bytes",
                                        SOCKET_PATH_MAX);
        if (strcmp(path, s->control.socket) == 0)
                return settings_invalid(state_of(s), written_one(s, "control.socket", "csi.endpoint"), e,
                                        "csi.endpoint and control.socket cannot be the same socket");
        if (!is_listen_address(s->http.address))
                return settings_invalid(state_of(s), "http.address", e,
                                        "\"%.200s\" is not an address such as :9810 or 127.0.0.1:9810",
                                        s->http.address);
        return 0;
}

/*
 * Watermarks are compared when both are shares or both are sizes. A share and a size can be compared only on
 * the node's disk, which is the cache's to do.
 */
static int check_cache(const struct settings *s, struct error *e) {
        const struct settings_amount *low = &s->cache.low_watermark, *high = &s->cache.high_watermark;
        bool comparable = low->is_percent == high->is_percent;

        if (s->cache.min_free.is_percent && s->cache.min_free.percent >= 100)
                return settings_invalid(state_of(s), "cache.minFree", e, "100%% leaves nothing to the cache");
        if ((high->is_percent && high->percent == 0) || (!high->is_percent && high->bytes == 0))
                return settings_invalid(state_of(s), "cache.highWatermark", e,
                                        "0 leaves nothing to the cache");
        if (comparable && (low->is_percent ? low->percent >= high->percent : low->bytes >= high->bytes))
                return settings_invalid(state_of(s),
                                        written_one(s, "cache.lowWatermark", "cache.highWatermark"), e,
                                        "cache.lowWatermark must be below cache.highWatermark");
        return 0;
}

/*
 * A range is a unit of parallelism: with fewer than four in the arena, connections would wait for each other.
 * The engine's memory comes in pieces of 1 MiB, which belong to one range each.
 */
static int check_engine(const struct settings *s, struct error *e) {
        char memory[TEXT_SHORT], range[TEXT_SHORT];

        if (s->engine.range_size % MIB != 0)
                return settings_invalid(state_of(s), "engine.rangeSize", e, "%llu is not a multiple of 1 MiB",
                                        (unsigned long long)s->engine.range_size);
        if (s->engine.range_size > s->engine.memory / 4)
                return settings_invalid(state_of(s), written_one(s, "engine.rangeSize", "engine.memory"), e,
                                        "engine.rangeSize (%s) is more than a quarter of engine.memory (%s)",
                                        text_format_size(s->engine.range_size, range),
                                        text_format_size(s->engine.memory, memory));
        if (!s->engine.warm_share.is_percent || s->engine.warm_share.percent == 0)
                return settings_invalid(state_of(s), "engine.warmShare", e, "is a share, from 1%% to 100%%");
        return 0;
}

/* The token goes there, so plain HTTP is for what does not leave the machine (kubectl proxy). */
static bool is_api_server(const char *url) {
        static const char *const here[] = { "127.0.0.1", "[::1]", "localhost" };
        const char *host = url + strlen("http://");

        if (!is_url(url))
                return false;
        if (text_starts_with(url, "https://"))
                return true;
        for (size_t i = 0; i < sizeof here / sizeof *here; i++)
                if (host_length(host) == strlen(here[i]) && text_starts_with(host, here[i]))
                        return true;
        return false;
}

/* "name" or "prefix/name", as Kubernetes wants keys of taints and labels. */
static bool is_qualified_name(const char *key) {
        static const char outer[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        const char *slash = strchr(key, '/'), *name = slash ? slash + 1 : key;
        size_t len = strlen(name);

        if (len == 0 || len > 63 || !strchr(outer, name[0]) || !strchr(outer, name[len - 1]))
                return false;
        for (const char *p = name; *p; p++)
                if (!strchr(outer, *p) && !strchr("-_.", *p))
                        return false;
        return !slash || text_is_dns_subdomain(key, (size_t)(slash - key));
}

static int check_kubernetes(const struct settings *s, struct error *e) {
        if (*s->kubernetes.api_server && !is_api_server(s->kubernetes.api_server))
                return settings_invalid(state_of(s), "kubernetes.apiServer", e,
                                        "\"%.200s\" is not an https URL, nor an http one of this machine",
                                        s->kubernetes.api_server);
        if (*s->kubernetes.startup_taint && !is_qualified_name(s->kubernetes.startup_taint))
                return settings_invalid(state_of(s), "kubernetes.startupTaint", e,
                                        "\"%.200s\" is not the key of a taint, as in example.com/not-ready",
                                        s->kubernetes.startup_taint);
        return 0;
}

/* Values are not repeated in errors: a header may be a credential. */
static int check_header(const struct settings *s, size_t i, const struct settings_header *h,
                        struct error *e) {
        static const char token[] =
            "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        char key[512];

        snprintf(key, sizeof key, "registries[%zu].headers.%s", i, h->name);
        if (!*h->name || strspn(h->name, token) != strlen(h->name))
                return settings_invalid(state_of(s), key, e, "is not a header's name");
        for (const char *p = h->value; *p; p++)
                if (((unsigned char)*p < ' ' && *p != '\t') || *p == 0x7f)
                        return settings_invalid(state_of(s), key, e, "its value has a control character");
        return 0;
}

static int check_registry(const struct settings *s, size_t i, struct error *e) {
        const struct settings_registry *r = &s->registries[i];
        char key[64];

        snprintf(key, sizeof key, "registries[%zu].host", i);
        if (!is_host(r->host, strlen(r->host)))
                return settings_invalid(state_of(s), key, e, "\"%.200s\" is not a host or host:port",
                                        r->host);
        if (settings_find_registry(s, r->host) != r)
                return settings_invalid(state_of(s), key, e, "\"%.200s\" is there twice", r->host);
        snprintf(key, sizeof key, "registries[%zu].caFile", i);
        if (r->ca_file && *r->ca_file != '/')
                return settings_invalid(state_of(s), key, e, "\"%.200s\" is not an absolute path",
                                        r->ca_file);
        for (size_t k = 0; r->mirrors && r->mirrors[k]; k++) {
                snprintf(key, sizeof key, "registries[%zu].mirrors[%zu]", i, k);
                if (strchr(r->mirrors[k], '@')) /* may be a password: not repeated */
                        return settings_invalid(
                            state_of(s), key, e,
                            "credentials do not belong into a URL; use credentials.dockerConfig");
                if (!is_url(r->mirrors[k]))
                        return settings_invalid(state_of(s), key, e, "\"%.200s\" is not an http or https URL",
                                                r->mirrors[k]);
        }
        for (size_t k = 0; k < r->n_headers; k++)
                if (check_header(s, i, &r->headers[k], e) < 0)
                        return -EINVAL;
        return 0;
}

/* Compared with references as a text, so it has to be written as they are: absolute and clean. */
static int check_layouts(const struct settings *s, struct error *e) {
        for (size_t i = 0; s->policy.layouts && s->policy.layouts[i]; i++) {
                const char *path = s->policy.layouts[i];
                _cleanup_free_ char *clean = NULL;
                char key[64];

                snprintf(key, sizeof key, "policy.layouts[%zu]", i);
                if (*path != '/')
                        return settings_invalid(state_of(s), key, e, "\"%.200s\" is not an absolute path",
                                                path);
                if (path_clean(&clean, path + 1, NULL) < 0 || strcmp(clean, path + 1) != 0)
                        return settings_invalid(state_of(s), key, e,
                                                "\"%.200s\" has \".\", \"..\" or a slash too many", path);
        }
        return 0;
}

static bool is_topic(const char *name) {
#define X(id, text, help) \
        if (strcmp(name, text) == 0) \
                return true;
        LOG_TOPICS(X)
#undef X
        return strcmp(name, "all") == 0;
}

static int check_log(const struct settings *s, struct error *e) {
        char **topics = text_split(s->log.debug, ',');
        int r = topics ? 0 : error_errno(e, ENOMEM, "cannot check log.debug");

        for (char **topic = topics; r == 0 && *topic; topic++)
                if (!is_topic(*topic))
                        r = settings_invalid(state_of(s), "log.debug", e, "there is no topic \"%.100s\"",
                                             *topic);
        text_list_free(topics);
        return r;
}

static int check_policy(const struct settings *s, struct error *e) {
        for (char *const *glob = s->policy.allow; glob && *glob; glob++)
                if (!text_glob_is_whole(*glob))
                        return settings_invalid(
                            state_of(s), "policy.allow", e,
                            "\"%.128s\" has no slash: a glob is over the whole reference, as in "
                            "registry.example.com/models/**",
                            *glob);
        return 0;
}

int settings_check(const struct settings *s, struct error *e) {
        if (!*s->node.name)
                return settings_invalid(state_of(s), "node.name", e, "neither set nor known from the host");
        if (*s->credentials.provider_config && !*s->credentials.provider_bin_dir)
                return settings_invalid(state_of(s), "credentials.providerConfig", e,
                                        "needs credentials.providerBinDir");
        for (size_t i = 0; i < s->n_registries; i++)
                if (check_registry(s, i, e) < 0)
                        return -EINVAL;
        if (check_policy(s, e) < 0 || check_sockets(s, e) < 0 || check_kubernetes(s, e) < 0 ||
            check_cache(s, e) < 0 || check_engine(s, e) < 0 || check_layouts(s, e) < 0 || check_log(s, e) < 0)
                return -EINVAL;
        return 0;
}
