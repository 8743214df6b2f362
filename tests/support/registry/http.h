/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http: as much of HTTP/1.1 as a registry needs, on one blocking connection owned by one thread: read a head,
 * write a head, write bytes. No chunked encoding; answers always have a Content-Length.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX (16u << 10)
#define HTTP_BODY_MAX (256u << 10)

enum listener { LISTENER_MAIN, LISTENER_STORAGE, LISTENER_TOKEN, _LISTENER_MAX };
extern const char *const listener_names[_LISTENER_MAX];

struct http_connection {
        int fd;
        enum listener listener;
        uint64_t number; /* among those that a client used, by their first request: 1, 2, …; 0: none yet */
        uint64_t pace;   /* what SO_MAX_PACING_RATE is now; 0: not set */
        char in[HTTP_HEAD_MAX]; /* received and not used yet */
        size_t in_len;
        bool close; /* after the answer */
};

struct http_request {
        enum listener listener;
        char method[16], path[1024], query[1024];
        char host[256], range[128], authorization[4096];
        uint64_t body_len;
        bool close; /* the client wants it */
};

/* 1: a request; 0: the peer closed or the connection broke; -1: it is no HTTP, answer 400 and close. */
int http_read_request(struct http_connection *c, struct http_request *ret);
/* The body of @r, NUL-terminated; the caller frees. NULL: too long or broken. */
char *http_read_body(struct http_connection *c, const struct http_request *r);

/* The value of @key in a query, %-decoded. False: not there or too long. */
bool http_query_get(const char *query, const char *key, char *ret, size_t size);

struct http_answer {
        int status;
        const char *type; /* Content-Type; NULL: none */
        uint64_t length;
        char headers[2048]; /* more lines, each with its CRLF */
};
void http_answer_header(struct http_answer *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool http_write_head(struct http_connection *c, const struct http_answer *a, bool more);
bool http_write(struct http_connection *c, const void *data, size_t len, bool more);
/* Head and body in one, for what is small. HEAD requests get no body. */
bool http_answer_text(struct http_connection *c, const struct http_request *r, struct http_answer *a,
                      const char *text);
