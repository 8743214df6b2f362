/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blob_server: one blob over HTTP/1.1 on a port of the kernel's choice, with faults, and an oci_blob that
 * knows it: stands in for oci/blob.c at link time, so that the engine is tested alone. One thread accepts,
 * one a connection serves.
 */
#pragma once

#include "tests/unit/test.h"

#include "base/cleanup.h"
#include "oci/blob.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define SERVER_MAX_CONNECTIONS 256u

struct blob_server {
        const char *data;
        size_t size;
        /* Faults; set before the first request. */
        bool ignore_range;
        bool close_each;   /* a connection serves one request */
        atomic_int cut;    /* so many answers end early, by a reset */
        atomic_int refuse; /* so many ranges that do not begin at 0 are 503 */
        atomic_int forbid; /* so many are 403: the address has expired */
        atomic_int flip;   /* so many answers have a wrong last byte */
        bool stall;        /* headers, then nothing, until the client goes away */
        const char
            *lies; /* what small ranges have instead of the data, and all of it is there; NULL: the same */
        /* Seen. */
        atomic_int requests, stalled, ranges, now, most, locates, distrusted;

        int listener;
        unsigned port;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        pthread_t threads[SERVER_MAX_CONNECTIONS];
        int sockets[SERVER_MAX_CONNECTIONS];
        unsigned n;
};

struct oci_blob {
        struct blob_server *server;
        uint64_t size;
        int file;
        atomic_bool no_ranges;
        char url[64];
};

static inline bool server_take(atomic_int *left) {
        int n = *left;

        while (n > 0)
                if (atomic_compare_exchange_weak(left, &n, n - 1))
                        return true;
        return false;
}

static inline bool server_send(int fd, const char *data, size_t len) {
        while (len > 0) {
                ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

                if (n <= 0)
                        return false;
                data += n;
                len -= (size_t)n;
        }
        return true;
}

static inline bool server_say(int fd, const char *text) {
        return server_send(fd, text, strlen(text));
}

#define SERVER_SMALL ((size_t)32 << 10) /* as the scout asks for */

static inline bool server_send_body(struct blob_server *s, int fd, size_t from, size_t to) {
        if (s->lies && to - from <= SERVER_SMALL)
                return server_send(fd, s->lies + from, to - from);
        if (from < to && server_take(&s->cut)) {
                const struct linger reset = { .l_onoff = 1 };

                server_send(fd, s->data + from, (to - from) / 2);
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
                return false;
        }
        if (from < to && server_take(&s->flip)) {
                char wrong = s->data[to - 1] ^ 1;

                return server_send(fd, s->data + from, to - from - 1) && server_send(fd, &wrong, 1);
        }
        return server_send(fd, s->data + from, to - from);
}

static inline void server_wait_for_client(struct blob_server *s, int fd) {
        char c;

        pthread_mutex_lock(&s->lock);
        s->stalled++;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        while (recv(fd, &c, 1, 0) > 0)
                ;
}

static inline bool server_answer(struct blob_server *s, int fd, const char *request) {
        const char *range = strcasestr(request, "Range: bytes=");
        unsigned long long from = 0, to = s->size - 1;
        bool partial = range && !s->ignore_range && sscanf(range + 13, "%llu-%llu", &from, &to) == 2;
        char head[300];
        int n;

        s->requests++;
        if (from > 0 && server_take(&s->forbid))
                return server_say(fd, "HTTP/1.1 403 no\r\nContent-Length: 2\r\n\r\nno");
        if (from > 0 && server_take(&s->refuse))
                return server_say(fd, "HTTP/1.1 503 no\r\nContent-Length: 2\r\n\r\nno");
        s->ranges += partial;
        n = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %llu\r\n%s",
                     partial ? "206 yes" : "200 yes", to + 1 - from,
                     s->close_each ? "Connection: close\r\n" : "");
        if (partial)
                n += snprintf(head + n, sizeof head - (size_t)n, "Content-Range: bytes %llu-%llu/%zu\r\n",
                              from, to, s->size);
        n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
        if (!server_send(fd, head, (size_t)n))
                return false;
        if (s->stall && from > 0) {
                server_wait_for_client(s, fd);
                return false;
        }
        return server_send_body(s, fd, from, to + 1) && !s->close_each;
}

struct server_connection {
        struct blob_server *server;
        int fd;
        unsigned place;
};

static inline void server_close(struct blob_server *s, unsigned place) {
        LOCK_SCOPE(&s->lock);

        close(s->sockets[place]);
        s->sockets[place] = -1;
}

static inline void *server_connection_main(void *userdata) {
        struct server_connection c = *(struct server_connection *)userdata;
        struct blob_server *s = c.server;
        char request[4096];
        size_t len = 0;
        int now = ++s->now, most = s->most;

        free(userdata);
        while (now > most && !atomic_compare_exchange_weak(&s->most, &most, now))
                ;
        for (;;) {
                ssize_t n = recv(c.fd, request + len, sizeof request - 1 - len, 0);

                if (n <= 0)
                        break;
                len += (size_t)n;
                request[len] = '\0';
                if (!strstr(request, "\r\n\r\n"))
                        continue;
                len = 0;
                if (!server_answer(s, c.fd, request))
                        break;
        }
        s->now--;
        server_close(s, c.place);
        return NULL;
}

static inline void *server_main(void *userdata) {
        struct blob_server *s = userdata;
        int fd;

        while ((fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                struct server_connection *c = malloc(sizeof *c);

                assert_true(s->n < SERVER_MAX_CONNECTIONS);
                *c = (struct server_connection){ s, fd, s->n };
                s->sockets[s->n] = fd;
                assert_int_equal(pthread_create(&s->threads[s->n], NULL, server_connection_main, c), 0);
                s->n++;
        }
        return NULL;
}

static inline void blob_server_start(struct blob_server *s) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof a;

        pthread_mutex_init(&s->lock, NULL);
        pthread_cond_init(&s->changed, NULL);
        s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(s->listener, (struct sockaddr *)&a, sizeof a), 0);
        assert_int_equal(listen(s->listener, 128), 0);
        assert_int_equal(getsockname(s->listener, (struct sockaddr *)&a, &len), 0);
        s->port = ntohs(a.sin_port);
        assert_int_equal(pthread_create(&s->thread, NULL, server_main, s), 0);
}

static inline void blob_server_stop(struct blob_server *s) {
        shutdown(s->listener, SHUT_RDWR);
        pthread_join(s->thread, NULL);
        for (unsigned i = 0; i < s->n; i++) {
                {
                        LOCK_SCOPE(&s->lock);
                        if (s->sockets[i] >= 0)
                                shutdown(s->sockets[i], SHUT_RDWR);
                }
                pthread_join(s->threads[i], NULL);
        }
        close(s->listener);
        pthread_cond_destroy(&s->changed);
        pthread_mutex_destroy(&s->lock);
}

/* Until @n requests got no body. */
static inline void blob_server_wait_stalled(struct blob_server *s, int n) {
        pthread_mutex_lock(&s->lock);
        while (s->stalled < n)
                pthread_cond_wait(&s->changed, &s->lock);
        pthread_mutex_unlock(&s->lock);
}

/* ---- oci/blob.h ---- */

static struct blob_server *blob_server; /* what oci_blob_new() gives */

int oci_blob_new(struct oci_blob **ret, struct oci_client *c, const struct oci_reference *source,
                 const struct oci_keyring *keyring, const struct digest *digest, uint64_t size,
                 struct error *e) {
        struct oci_blob *b = calloc(1, sizeof *b);

        (void)c, (void)source, (void)keyring, (void)digest, (void)e;
        *b = (struct oci_blob){ .server = blob_server, .size = size, .file = -1 };
        snprintf(b->url, sizeof b->url, "http://127.0.0.1:%u/blob", blob_server->port);
        *ret = b;
        return 0;
}

void oci_blob_free(struct oci_blob *b) {
        free(b);
}

struct locating {
        char *data;
        size_t cap, len;
};

static size_t on_located(char *p, size_t size, size_t n, void *userdata) {
        struct locating *l = userdata;
        size_t len = size * n < l->cap - l->len ? size * n : l->cap - l->len;

        memcpy(l->data + l->len, p, len);
        l->len += len;
        return len == size * n ? len : 0;
}

int oci_blob_locate(struct oci_blob *b, void *data, size_t cap, size_t *ret_len, struct error *e) {
        struct locating l = { .data = data, .cap = cap };
        char range[32];

        b->server->locates++;
        if (b->file >= 0 || cap == 0)
                return 0;
        CURL *easy = curl_easy_init();
        snprintf(range, sizeof range, "0-%zu", cap - 1);
        curl_easy_setopt(easy, CURLOPT_URL, b->url);
        curl_easy_setopt(easy, CURLOPT_RANGE, range);
        curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_located);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &l);
        CURLcode code = curl_easy_perform(easy);
        curl_easy_cleanup(easy);
        *ret_len = l.len;
        if (code != CURLE_OK && code != CURLE_WRITE_ERROR && code != CURLE_RECV_ERROR &&
            code != CURLE_PARTIAL_FILE)
                return error_set(e, ERROR_UNAVAILABLE, "%s: %s", b->url, curl_easy_strerror(code));
        return 0;
}

void oci_blob_cancel(struct oci_blob *b) {
        (void)b;
}

bool oci_blob_trouble(const struct oci_blob *b, char *ret, size_t size) {
        (void)b;
        snprintf(ret, size, "%s", "");
        return false;
}

bool oci_blob_is_layout(const struct oci_blob *b) {
        return b->file >= 0;
}

int oci_blob_file(const struct oci_blob *b) {
        return b->file;
}

bool oci_blob_has_ranges(const struct oci_blob *b) {
        return !b->no_ranges;
}

void oci_blob_forgo_ranges(struct oci_blob *b) {
        b->no_ranges = true;
}

const char *oci_blob_host(const struct oci_blob *b) {
        return b->file >= 0 ? NULL : "127.0.0.1";
}

const char *oci_blob_registry(const struct oci_blob *b) {
        (void)b;
        return "registry.test";
}

int oci_blob_prepare(struct oci_blob *b, CURL *easy, uint64_t from, uint64_t to, struct error *e) {
        char range[64];

        (void)e;
        curl_easy_reset(easy);
        snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)from, (unsigned long long)to - 1);
        curl_easy_setopt(easy, CURLOPT_URL, b->url);
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        if (!b->no_ranges)
                curl_easy_setopt(easy, CURLOPT_RANGE, range);
        return 0;
}

enum oci_verdict oci_blob_judge_headers(struct oci_blob *b, CURL *easy, uint64_t from, uint64_t to,
                                        struct error *e) {
        long code = 0;

        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
        error_set(e, ERROR_UNAVAILABLE, "HTTP %ld", code);
        if (code == 206 || (code == 200 && from == 0 && to == b->size))
                return OCI_VERDICT_OK;
        if (code == 200)
                b->no_ranges = true;
        return code == 200 ? OCI_VERDICT_NO_RANGES : code == 403 ? OCI_VERDICT_LOCATE : OCI_VERDICT_RETRY;
}

enum oci_verdict oci_blob_judge(struct oci_blob *b, CURL *easy, CURLcode code, uint64_t from, uint64_t to,
                                int64_t *ret_wait_ms, struct error *e) {
        (void)b, (void)easy, (void)from, (void)to;
        *ret_wait_ms = 0;
        if (code == CURLE_OK)
                return OCI_VERDICT_OK;
        error_set(e, ERROR_UNAVAILABLE, "the test's server: %s", curl_easy_strerror(code));
        return OCI_VERDICT_RETRY;
}

bool oci_blob_distrust(struct oci_blob *b) {
        b->server->distrusted++;
        return false;
}
