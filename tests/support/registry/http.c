/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input buffer holds at most one head and what a pipelining client sent behind it; a body is taken from
 * there first and then from the socket. Writes are blocking: a slow reader holds its own thread and nobody
 * else.
 */
#include "http.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

const char *const listener_names[_LISTENER_MAX] = { "main", "storage", "token" };

static void copy(char *to, size_t size, const char *from, size_t len) {
        if (len >= size)
                len = size - 1;
        memcpy(to, from, len);
        to[len] = '\0';
}

static void take_header(struct http_request *r, const char *line, size_t len) {
        const char *colon = memchr(line, ':', len);

        if (!colon)
                return;
        size_t name = (size_t)(colon - line);
        const char *value = colon + 1, *end = line + len;

        while (value < end && isspace((unsigned char)*value))
                value++;
        size_t n = (size_t)(end - value);

        if (name == 4 && strncasecmp(line, "Host", name) == 0)
                copy(r->host, sizeof r->host, value, n);
        else if (name == 5 && strncasecmp(line, "Range", name) == 0)
                copy(r->range, sizeof r->range, value, n);
        else if (name == 13 && strncasecmp(line, "Authorization", name) == 0)
                copy(r->authorization, sizeof r->authorization, value, n);
        else if (name == 14 && strncasecmp(line, "Content-Length", name) == 0)
                r->body_len = strtoull(value, NULL, 10);
        else if (name == 10 && strncasecmp(line, "Connection", name) == 0)
                r->close = n >= 5 && strncasecmp(value, "close", 5) == 0;
}

static bool take_request_line(struct http_request *r, const char *line, size_t len) {
        const char *space = memchr(line, ' ', len), *end = line + len;

        if (!space || (size_t)(space - line) >= sizeof r->method)
                return false;
        copy(r->method, sizeof r->method, line, (size_t)(space - line));
        const char *target = space + 1, *stop = memchr(target, ' ', (size_t)(end - target));

        if (!stop || *target != '/' || (size_t)(stop - target) >= sizeof r->path)
                return false;
        const char *question = memchr(target, '?', (size_t)(stop - target));

        if (question)
                copy(r->query, sizeof r->query, question + 1, (size_t)(stop - question - 1));
        copy(r->path, sizeof r->path, target, (size_t)((question ? question : stop) - target));
        return true;
}

static bool parse_head(struct http_request *r, const char *head, size_t len) {
        const char *line = head, *end = head + len;
        bool first = true, good = true;

        while (line < end) {
                const char *cr = memmem(line, (size_t)(end - line), "\r\n", 2);
                size_t n = (size_t)(cr - line);

                if (first)
                        good = take_request_line(r, line, n);
                else
                        take_header(r, line, n);
                first = false;
                line = cr + 2;
        }
        return good;
}

int http_read_request(struct http_connection *c, struct http_request *ret) {
        *ret = (struct http_request){ .listener = c->listener };
        for (;;) {
                const char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);

                if (end) {
                        size_t used = (size_t)(end - c->in) + 4;
                        bool good = parse_head(ret, c->in, used - 2);

                        c->in_len -= used;
                        memmove(c->in, c->in + used, c->in_len);
                        return good ? 1 : -1;
                }
                if (c->in_len == sizeof c->in || (c->in_len > 0 && !isupper((unsigned char)c->in[0])))
                        return -1; /* too long, or no method: somebody speaks TLS to us */
                ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, 0);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return 0;
                c->in_len += (size_t)n;
        }
}

char *http_read_body(struct http_connection *c, const struct http_request *r) {
        if (r->body_len > HTTP_BODY_MAX)
                return NULL;
        _cleanup_free_ char *body = calloc(1, (size_t)r->body_len + 1);
        size_t have = c->in_len < r->body_len ? c->in_len : (size_t)r->body_len;

        if (!body)
                return NULL;
        memcpy(body, c->in, have);
        c->in_len -= have;
        memmove(c->in, c->in + have, c->in_len);
        while (have < r->body_len) {
                ssize_t n = recv(c->fd, body + have, (size_t)r->body_len - have, 0);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return NULL;
                have += (size_t)n;
        }
        return take_ptr(body);
}

static int hex(char c) {
        return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower(c) - 'a' + 10 : -1;
}

bool http_query_get(const char *query, const char *key, char *ret, size_t size) {
        size_t len = strlen(key), n = 0;

        for (const char *p = query; p; p = strchr(p, '&') ? strchr(p, '&') + 1 : NULL) {
                if (strncmp(p, key, len) != 0 || p[len] != '=')
                        continue;
                for (p += len + 1; *p && *p != '&' && n + 1 < size; p++) {
                        if (*p == '%' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
                                ret[n++] = (char)(hex(p[1]) * 16 + hex(p[2]));
                                p += 2;
                        } else
                                ret[n++] = *p;
                }
                ret[n] = '\0';
                return !*p || *p == '&';
        }
        return false;
}

void http_answer_header(struct http_answer *a, const char *fmt, ...) {
        size_t len = strlen(a->headers);
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(a->headers + len, sizeof a->headers - len, fmt, ap);
        va_end(ap);
}

bool http_write(struct http_connection *c, const void *data, size_t len, bool more) {
        const char *p = data;

        while (len > 0) {
                ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL | (more ? MSG_MORE : 0));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                p += n;
                len -= (size_t)n;
        }
        return true;
}

static const char *reason(int status) {
        switch (status) {
        case 200:
                return "OK";
        case 206:
                return "Partial Content";
        case 307:
                return "Temporary Redirect";
        case 401:
                return "Unauthorized";
        case 403:
                return "Forbidden";
        case 404:
                return "Not Found";
        case 416:
                return "Range Not Satisfiable";
        case 429:
                return "Too Many Requests";
        default:
                return "Status";
        }
}

bool http_write_head(struct http_connection *c, const struct http_answer *a, bool more) {
        char head[4096];
        int n = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nContent-Length: %llu\r\n%s%s%s%s%s\r\n",
                         a->status, reason(a->status), (unsigned long long)a->length,
                         a->type ? "Content-Type: " : "", a->type ? a->type : "", a->type ? "\r\n" : "",
                         c->close ? "Connection: close\r\n" : "", a->headers);

        return n > 0 && (size_t)n < sizeof head && http_write(c, head, (size_t)n, more);
}

bool http_answer_text(struct http_connection *c, const struct http_request *r, struct http_answer *a,
                      const char *text) {
        size_t len = strlen(text);
        bool body = len > 0 && strcmp(r->method, "HEAD") != 0;

        a->length = len;
        return http_write_head(c, a, body) && (!body || http_write(c, text, len, false));
}
