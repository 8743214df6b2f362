/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scripted_server: an HTTP server of one thread on a free port of loopback; each test says in a function what
 * it answers.
 *
 * One request a connection, one at a time. The script runs on the server's thread with the lock held, so it
 * may keep what it likes in userdata; the test looks at that after server_stop(), or through the functions
 * below.
 */
#pragma once

#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVER_LOG_MAX 128
#define SERVER_SILENT_MAX 16

struct server_request {
        char method[8];
        char target[2048]; /* path and query */
        char head[8192];   /* all header lines */
        char body[4096];
};

struct server_answer {
        int status;
        char headers[1024]; /* lines with \r\n */
        const char *body;
        size_t len;      /* of the body, that is also announced */
        size_t send_len; /* of the body, that is really sent; 0: all of it */
        bool reset;      /* the connection is torn down instead */
        bool silent;     /* nothing is ever said */
        const char *raw; /* @len bytes that are sent instead of all that, HTTP or not */
};

struct server {
        pthread_t thread;
        int listen_fd, stop_fd;
        int silent[SERVER_SILENT_MAX];
        size_t n_silent;
        char host[32]; /* "127.0.0.1:port" */
        void (*script)(struct server *s, const struct server_request *q, struct server_answer *a);
        void *userdata;
        pthread_mutex_t lock; /* guards what follows, and userdata */
        struct server_request log[SERVER_LOG_MAX];
        size_t n_log;
};

/* The value of a header, or NULL; in a buffer that the next call reuses (one per thread). */
static inline const char *server_header(const struct server_request *q, const char *name) {
        static _Thread_local char value[4096];
        size_t n = strlen(name);

        for (const char *p = q->head; p && *p; p = strstr(p, "\r\n"), p = p ? p + 2 : NULL)
                if (strncasecmp(p, name, n) == 0 && p[n] == ':') {
                        size_t len = strcspn(p + n + 1, "\r\n");
                        const char *from = p + n + 1;

                        while (len > 0 && *from == ' ') {
                                from++;
                                len--;
                        }
                        assert(len < sizeof value);
                        memcpy(value, from, len);
                        value[len] = '\0';
                        return value;
                }
        return NULL;
}

static inline void server_write(int fd, const void *data, size_t len) {
        const char *p = data;

        while (len > 0) {
                ssize_t k = send(fd, p, len, MSG_NOSIGNAL);

                if (k <= 0)
                        return;
                p += k;
                len -= (size_t)k;
        }
}

/* The head, and as much of a body as is announced; false: the client went away. */
static inline bool server_receive(int fd, struct server_request *q) {
        char raw[16384];
        size_t n = 0, want = 0;
        char *end = NULL;

        while (!end || n < want) {
                ssize_t k = n < sizeof raw - 1 ? read(fd, raw + n, sizeof raw - 1 - n) : 0;

                if (k <= 0)
                        return false;
                n += (size_t)k;
                raw[n] = '\0';
                if (raw[0] == 0x16) { /* a TLS hello: what real servers say to it */
                        server_write(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
                        return false;
                }
                end = end ? end : strstr(raw, "\r\n\r\n");
                if (end && want == 0) {
                        const char *length = strcasestr(raw, "\r\nContent-Length:");

                        want = (size_t)(end + 4 - raw);
                        if (length && length < end)
                                want += strtoul(length + 17, NULL, 10);
                }
        }
        *end = '\0';
        memset(q, 0, sizeof *q);
        if (sscanf(raw, "%7s %2047s", q->method, q->target) != 2)
                return false;
        snprintf(q->head, sizeof q->head, "%.8000s", strstr(raw, "\r\n") ? strstr(raw, "\r\n") + 2 : "");
        snprintf(q->body, sizeof q->body, "%.4000s", end + 4);
        return true;
}

static inline void server_send(int fd, const struct server_request *q, const struct server_answer *a) {
        size_t send_len = a->send_len ? a->send_len : a->len;
        char head[2048];
        int n = snprintf(head, sizeof head,
                         "HTTP/1.1 %d Scripted\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n",
                         a->status, a->len, a->headers);

        server_write(fd, head, (size_t)n);
        if (strcmp(q->method, "HEAD") != 0 && a->body)
                server_write(fd, a->body, send_len);
}

static inline void server_serve(struct server *s, int fd) {
        struct linger hard = { .l_onoff = 1 };
        struct server_answer a = { .status = 200 };
        struct server_request q;

        if (!server_receive(fd, &q)) {
                close(fd);
                return;
        }
        pthread_mutex_lock(&s->lock);
        if (s->n_log < SERVER_LOG_MAX)
                s->log[s->n_log++] = q;
        s->script(s, &q, &a);
        pthread_mutex_unlock(&s->lock);
        if (a.silent && s->n_silent < SERVER_SILENT_MAX) {
                s->silent[s->n_silent++] = fd;
                return;
        }
        if (a.reset)
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        else if (a.raw)
                server_write(fd, a.raw, a.len);
        else
                server_send(fd, &q, &a);
        close(fd);
}

static inline void *server_main(void *userdata) {
        struct server *s = userdata;

        for (;;) {
                struct pollfd fds[2] = { { .fd = s->listen_fd, .events = POLLIN },
                                         { .fd = s->stop_fd, .events = POLLIN } };

                if (poll(fds, 2, -1) < 0)
                        continue;
                if (fds[1].revents)
                        return NULL;
                int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);

                if (fd >= 0)
                        server_serve(s, fd);
        }
}

static inline void server_start(struct server *s,
                                void (*script)(struct server *s, const struct server_request *q,
                                               struct server_answer *a),
                                void *userdata) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
        socklen_t len = sizeof a;

        memset(s, 0, sizeof *s);
        s->script = script;
        s->userdata = userdata;
        pthread_mutex_init(&s->lock, NULL);
        s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        s->stop_fd = eventfd(0, EFD_CLOEXEC);
        assert(s->listen_fd >= 0 && s->stop_fd >= 0);
        assert(bind(s->listen_fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(s->listen_fd, 64) == 0);
        assert(getsockname(s->listen_fd, (struct sockaddr *)&a, &len) == 0);
        snprintf(s->host, sizeof s->host, "127.0.0.1:%u", ntohs(a.sin_port));
        assert(pthread_create(&s->thread, NULL, server_main, s) == 0);
}

static inline void server_stop(struct server *s) {
        uint64_t one = 1;

        assert(write(s->stop_fd, &one, sizeof one) == sizeof one);
        pthread_join(s->thread, NULL);
        for (size_t i = 0; i < s->n_silent; i++)
                close(s->silent[i]);
        close(s->listen_fd);
        close(s->stop_fd);
        pthread_mutex_destroy(&s->lock);
}

/* How many requests came whose "METHOD target" starts like @what. */
static inline unsigned server_count(struct server *s, const char *what) {
        unsigned n = 0;

        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i < s->n_log; i++) {
                char line[2100];

                snprintf(line, sizeof line, "%s %s", s->log[i].method, s->log[i].target);
                n += strncmp(line, what, strlen(what)) == 0;
        }
        pthread_mutex_unlock(&s->lock);
        return n;
}

/* Whether any request had @text in its head. */
static inline bool server_saw(struct server *s, const char *text) {
        bool saw = false;

        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i < s->n_log; i++)
                saw = saw || strstr(s->log[i].head, text) || strstr(s->log[i].body, text) ||
                      strstr(s->log[i].target, text);
        pthread_mutex_unlock(&s->lock);
        return saw;
}

static inline void server_answer_text(struct server_answer *a, int status, const char *body) {
        a->status = status;
        a->body = body;
        a->len = strlen(body);
}
