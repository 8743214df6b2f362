/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP endpoint: a few pages, made anew for each request, served by libmicrohttpd on its one thread.
 *
 *   on_request   twice or more for each request; the last time answer()
 *   answer       route -> page() fills a buffer -> the response takes the buffer's memory
 *
 * It is open to whoever reaches the port, so connections, time and what is read of a request are bounded. We
 * listen ourselves: an address that cannot be bound then has a reason that can be told.
 */
#include "base/http.h"

#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_CONNECTIONS 64u
#define MAX_PER_ADDRESS 32u
#define TIMEOUT_S 10u
#define REQUEST_MEMORY ((size_t)16 * 1024) /* for the headers of one connection */
#define MAX_BODY (8u * 1024 * 1024)

struct http_endpoint {
        struct MHD_Daemon *daemon;
        const struct http_route *routes; /* these two are the caller's */
        void *userdata;
        unsigned port;
};

/* Takes what is in @body. */
static enum MHD_Result respond(struct MHD_Connection *c, unsigned status, const char *content_type,
                               const char *allow, struct buf *body) {
        size_t len = body->len;
        char *data = buf_take(body);

        if (!data)
                return MHD_NO; /* closes the connection */
        struct MHD_Response *response = MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE);
        if (!response) {
                free(data);
                return MHD_NO;
        }
        enum MHD_Result ok = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
        if (ok == MHD_YES && allow)
                ok = MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
        if (ok == MHD_YES)
                ok = MHD_queue_response(c, status, response);
        MHD_destroy_response(response);
        return ok;
}

static enum MHD_Result respond_text(struct MHD_Connection *c, unsigned status, const char *allow,
                                    const char *text) {
        _cleanup_buf_ struct buf body = BUF_INIT(MAX_BODY);

        if (buf_printf(&body, "%s\n", text) < 0)
                return MHD_NO;
        return respond(c, status, "text/plain; charset=utf-8", allow, &body);
}

static const struct http_route *find_route(const struct http_endpoint *h, const char *url) {
        for (const struct http_route *route = h->routes; route->path; route++)
                if (strcmp(route->path, url) == 0)
                        return route;
        return NULL;
}

/* Runs the page on this thread. */
static enum MHD_Result answer(struct http_endpoint *h, struct MHD_Connection *c, const char *url,
                              const char *method) {
        _cleanup_buf_ struct buf body = BUF_INIT(MAX_BODY);
        const struct http_route *route = find_route(h, url);

        if (!route)
                return respond_text(c, MHD_HTTP_NOT_FOUND, NULL, "not found");
        if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
                return respond_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET, HEAD", "only GET and HEAD");
        unsigned status = route->page(h->userdata, &body);
        return respond(c, status, route->content_type, NULL,
                       &body); /* HEAD: libmicrohttpd leaves the body out */
}

/* Runs once when the headers are there and again when all is; a body that someone sends is read and dropped.
 */
static enum MHD_Result on_request(void *userdata, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state) {
        static char seen;

        (void)version, (void)upload;
        if (!*state) {
                *state = &seen;
                return MHD_YES;
        }
        if (*upload_size) {
                *upload_size = 0;
                return MHD_YES;
        }
        return answer(userdata, c, url, method);
}

/* "[host]:port", "host:port", ":port" into its parts; @host is to be freed, NULL: every address. */
static int address_split(const char *address, char **host, const char **port, struct error *e) {
        const char *colon = strrchr(address, ':');
        const char *begin = address, *end = colon;

        if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
            strlen(colon + 1) > 5 || strtoul(colon + 1, NULL, 10) > 65535)
                return error_set(e, ERROR_INVALID, "http.address %s has no port: write host:port or :port",
                                 address);
        if (*begin == '[') {
                begin++;
                end--;
                if (end < begin || *end != ']')
                        return error_set(e, ERROR_INVALID, "http.address %s has no ] before its port",
                                         address);
        } else if (memchr(begin, ':', (size_t)(end - begin)))
                return error_set(e, ERROR_INVALID, "http.address %s: write an IPv6 address as [address]:port",
                                 address);
        *host = NULL;
        *port = colon + 1;
        if (end > begin && !(*host = strndup(begin, (size_t)(end - begin))))
                return error_errno(e, ENOMEM, "cannot read http.address");
        return 0;
}

/* All addresses: IPv6 with IPv4 in it, or IPv4 alone where there is no IPv6. Negative errno. */
static int listen_on(const struct addrinfo *ai) {
        _cleanup_close_ int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        const int on = 1, off = 0;

        if (fd < 0)
                return -errno;
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (ai->ai_family == AF_INET6)
                (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0)
                return -errno;
        return take_fd(fd);
}

/* The first address of the name that can be bound, IPv6 before IPv4. */
static int listen_open(const char *address, struct error *e) {
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
        struct addrinfo *list = NULL;
        _cleanup_free_ char *host = NULL;
        const char *port = NULL;
        int fd = address_split(address, &host, &port, e);

        if (fd < 0)
                return fd;
        int r = getaddrinfo(host, port, &hints, &list);
        if (r)
                return error_set(e, ERROR_INVALID, "http.address %s is no address: %s", address,
                                 gai_strerror(r));
        fd = -EADDRNOTAVAIL;
        for (int family = AF_INET6;; family = AF_INET) {
                for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
                        if (ai->ai_family == family)
                                fd = listen_on(ai);
                if (fd >= 0 || family == AF_INET)
                        break;
        }
        freeaddrinfo(list);
        return fd < 0 ? error_errno(e, fd, "cannot listen on http.address %s", address) : fd;
}

static unsigned port_of(int fd) {
        union {
                struct sockaddr any;
                struct sockaddr_in in;
                struct sockaddr_in6 in6;
        } sa = { .in6 = { 0 } };
        socklen_t len = sizeof sa;

        if (getsockname(fd, &sa.any, &len) < 0)
                return 0;
        return ntohs(sa.any.sa_family == AF_INET6 ? sa.in6.sin6_port : sa.in.sin_port);
}

int http_endpoint_new(struct http_endpoint **ret, const char *address, const struct http_route *routes,
                      void *userdata, struct error *e) {
        _cleanup_close_ int fd = listen_open(address, e);

        if (fd < 0)
                return fd;
        struct http_endpoint *h = calloc(1, sizeof *h);
        if (!h)
                return error_errno(e, ENOMEM, "cannot serve %s", address);
        *h = (struct http_endpoint){ .routes = routes, .userdata = userdata, .port = port_of(fd) };
        h->daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL, on_request,
                                     h, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                                     MAX_CONNECTIONS, MHD_OPTION_PER_IP_CONNECTION_LIMIT, MAX_PER_ADDRESS,
                                     MHD_OPTION_CONNECTION_TIMEOUT, TIMEOUT_S,
                                     MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_MEMORY, MHD_OPTION_END);
        if (!h->daemon) {
                free(h);
                return error_set(e, ERROR_INTERNAL, "cannot start the HTTP endpoint on %s", address);
        }
        (void)take_fd(fd); /* the daemon closes it */
        *ret = h;
        return 0;
}

unsigned http_endpoint_port(const struct http_endpoint *h) {
        return h->port;
}

void http_endpoint_free(struct http_endpoint *h) {
        if (!h)
                return;
        MHD_stop_daemon(h->daemon);
        free(h);
}
