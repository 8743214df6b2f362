/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault-registry: a synthetic OCI registry that misbehaves on purpose, for the system tests and the
 * benchmark.
 *
 *   fault-registry --layout NAME=DIR --synthetic NAME=raw|repeat|tar:SIZE[:N[:SEED]] [--KNOB VALUE]...
 *
 * What it has. --layout: the OCI image layout DIR as repository NAME, tags from
 * org.opencontainers.image.ref.name; its index.json is read for every request, so replacing it moves a tag.
 * --synthetic: a model of SIZE bytes that takes no disk, tag "latest": raw is a ModelPack artifact with N
 * blobs, repeat the same of bytes that cost the server nothing, tar a modelcar with one plain-tar layer of N
 * files below models/. The same SEED (default: NAME) gives the same bytes everywhere. Digests are computed at
 * the start, or are believed if given, which takes no time: --digest NAME/INDEX=sha256:…
 *
 * When it is ready it prints one line of JSON: {"port", "storagePort", "tokenPort"}. --listen HOST:PORT
 * (default 127.0.0.1:0); the other two listeners have ports of their own. It ends with SIGTERM, and with
 * --until-eof when its standard input ends, so that it never outlives its test.
 *
 * Every knob (knobs.def, or --help) is a flag and can be changed while it runs:
 *   PUT    /_knobs {"pace": 1000000, …}      applies from the next request on; "every k-th" counts anew
 *   GET    /_stats[?brief]                   counters by path and the last 10,000 requests (not with brief)
 *   DELETE /_stats                           counts from zero
 *   GET    /_files?repository=NAME           [{"path", "size", "sha256"}] of a synthetic model
 *
 *   how fast             pace total starve_every starve_rate delay_ms
 *   what it does not do  ignore_range wrong_range no_head close
 *   307 to the storage listener, which refuses credentials    redirect redirect_seconds redirect_host
 *   who may pull         auth (none, basic, bearer) user password anonymous token_seconds deny
 *   429 and 5xx          max_blobs retry_after fail_every fail_first fail_status fail_manifests
 *   how an answer ends   reset_after reset_every reset_once reset_total truncate_after
 *                        truncate_every stall_after stall_every silent
 *   the end of it        die_after
 *   wrong content        flip_blob flip_at flip_times hide_tag missing_blob
 *
 * Threads: main() accepts and waits for signals; each connection has a thread of its own that blocks.
 */
#include "auth.h"
#include "knobs.h"
#include "routes.h"
#include "stats.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#define CONNECTIONS_MAX 512
#define STACK_SIZE (256u << 10)

static struct {
        pthread_mutex_t lock; /* guards fds and n */
        pthread_cond_t gone;
        int fds[CONNECTIONS_MAX]; /* -1: free */
        unsigned n;
} open_connections = { .lock = PTHREAD_MUTEX_INITIALIZER, .gone = PTHREAD_COND_INITIALIZER };

struct server {
        struct routes routes;
        int listeners[_LISTENER_MAX];
        bool until_eof;
};

struct client { /* what a connection's thread starts with; it frees it */
        const struct routes *routes;
        unsigned place; /* in open_connections.fds */
        struct http_connection connection;
};

static void serve(struct client *client) {
        struct http_connection *c = &client->connection;
        struct http_request request;
        int r;

        while ((r = http_read_request(c, &request)) > 0)
                if (!routes_answer(client->routes, c, &request))
                        return;
        if (r < 0) {
                struct http_answer a = { .status = 400 };

                http_answer_text(c, &request, &a, "");
        }
}

static void *connection_thread(void *userdata) {
        _cleanup_free_ struct client *client = userdata;

        stats_connection(1);
        serve(client);
        stats_connection(-1);
        LOCK_SCOPE(&open_connections.lock);
        close(client->connection.fd);
        open_connections.fds[client->place] = -1;
        open_connections.n--;
        pthread_cond_signal(&open_connections.gone);
        return NULL;
}

/* Waits while all places are taken: the backlog of the listener is the queue then. */
static unsigned take_place(int fd) {
        LOCK_SCOPE(&open_connections.lock);
        unsigned i = 0;

        while (open_connections.n == CONNECTIONS_MAX)
                pthread_cond_wait(&open_connections.gone, &open_connections.lock);
        while (open_connections.fds[i] >= 0)
                i++;
        open_connections.fds[i] = fd;
        open_connections.n++;
        return i;
}

static void accept_one(struct server *s, enum listener listener) {
        int fd = accept4(s->listeners[listener], NULL, NULL, SOCK_CLOEXEC), on = 1;
        struct client *client = fd >= 0 ? calloc(1, sizeof *client) : NULL;
        pthread_attr_t attr;
        pthread_t thread;

        if (!client) {
                cleanup_close(&fd);
                return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        client->routes = &s->routes;
        client->connection.fd = fd;
        client->connection.listener = listener;
        client->place = take_place(fd);
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, STACK_SIZE);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        if (pthread_create(&thread, &attr, connection_thread, client) != 0) {
                perror("fault-registry: pthread_create");
                exit(EXIT_FAILURE);
        }
        pthread_attr_destroy(&attr);
}

static void close_all(struct server *s) {
        for (unsigned i = 0; i < _LISTENER_MAX; i++)
                close(s->listeners[i]);
        LOCK_SCOPE(&open_connections.lock);
        for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
                if (open_connections.fds[i] >= 0)
                        shutdown(open_connections.fds[i], SHUT_RDWR);
        while (open_connections.n > 0)
                pthread_cond_wait(&open_connections.gone, &open_connections.lock);
}

static void run(struct server *s, int signal_fd) {
        struct pollfd p[_LISTENER_MAX + 2];

        for (unsigned i = 0; i < _LISTENER_MAX; i++)
                p[i] = (struct pollfd){ .fd = s->listeners[i], .events = POLLIN };
        p[_LISTENER_MAX] = (struct pollfd){ .fd = signal_fd, .events = POLLIN };
        p[_LISTENER_MAX + 1] = (struct pollfd){ .fd = s->until_eof ? STDIN_FILENO : -1, .events = POLLIN };
        while (poll(p, _LISTENER_MAX + 2, -1) >= 0 || errno == EINTR) {
                if (p[_LISTENER_MAX].revents || p[_LISTENER_MAX + 1].revents)
                        return;
                for (unsigned i = 0; i < _LISTENER_MAX; i++)
                        if (p[i].revents)
                                accept_one(s, (enum listener)i);
        }
}

static int listen_on(const char *host, unsigned port, unsigned *ret_port) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
        socklen_t len = sizeof a;

        if (fd < 0 || inet_pton(AF_INET, host, &a.sin_addr) != 1)
                return -1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 512) < 0 ||
            getsockname(fd, (struct sockaddr *)&a, &len) < 0) {
                close(fd);
                return -1;
        }
        *ret_port = ntohs(a.sin_port);
        return fd;
}

static bool start(struct server *s, const char *address) {
        char host[64];
        unsigned ports[_LISTENER_MAX], port;

        if (sscanf(address, "%63[^:]:%u", host, &port) != 2 || port > 65535)
                return false;
        for (unsigned i = 0; i < _LISTENER_MAX; i++) {
                s->listeners[i] = listen_on(host, i == LISTENER_MAIN ? port : 0, &ports[i]);
                if (s->listeners[i] < 0)
                        return false;
        }
        s->routes.storage_port = ports[LISTENER_STORAGE];
        auth_set_token_port(ports[LISTENER_TOKEN]);
        printf("{\"port\":%u,\"storagePort\":%u,\"tokenPort\":%u}\n", ports[LISTENER_MAIN],
               ports[LISTENER_STORAGE], ports[LISTENER_TOKEN]);
        return fflush(stdout) == 0;
}

static void usage(void) {
        puts("Usage: fault-registry [--layout NAME=DIR]... [--synthetic "
             "NAME=raw|repeat|tar:SIZE[:N[:SEED]]]...\n"
             "         [--digest NAME/INDEX=sha256:HEX]... [--listen HOST:PORT] [--until-eof] [--KNOB "
             "[VALUE]]...\n"
             "An OCI registry that misbehaves on purpose; GET and PUT /_knobs, GET and DELETE /_stats.");
        knobs_print_help();
        exit(EXIT_SUCCESS);
}

/* One flag; *i moves on if it has a value. A knob without one is switched on. */
static bool parse_flag(struct server *s, struct store *store, int argc, char **argv, int *i,
                       const char **address) {
        const char *name = argv[*i], *value = NULL;

        if (strncmp(name, "--", 2) != 0)
                return false;
        name += 2;
        if (strcmp(name, "help") == 0)
                usage();
        if (strcmp(name, "until-eof") == 0) {
                s->until_eof = true;
                return true;
        }
        if (*i + 1 < argc && strncmp(argv[*i + 1], "--", 2) != 0)
                value = argv[++*i];
        if (value && strcmp(name, "layout") == 0)
                return store_add_layout(store, value);
        if (value && strcmp(name, "synthetic") == 0)
                return store_add_synthetic(store, value);
        if (value && strcmp(name, "digest") == 0)
                return true; /* it is known already */
        if (value && strcmp(name, "listen") == 0) {
                *address = value;
                return true;
        }
        return knobs_set(name, value ? value : "1");
}

int main(int argc, char **argv) {
        /* The threads of connections are on their way out when this one leaves; what OpenSSL has of them is
         * freed as they end, unless it has cleaned up before. */
        (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
        _cleanup_(store_freep) struct store *store = store_new();
        struct server s = { .routes = { .store = store } };
        const char *address = "127.0.0.1:0";
        sigset_t signals;

        memset(open_connections.fds, -1, sizeof open_connections.fds);
        for (int i = 1; store && i + 1 < argc; i++) /* before what they are of */
                if (strcmp(argv[i], "--digest") == 0 && !store_add_digest(store, argv[i + 1]))
                        return 2;
        for (int i = 1; store && i < argc; i++)
                if (!parse_flag(&s, store, argc, argv, &i, &address)) {
                        fprintf(stderr, "fault-registry: %s is not understood, see --help\n", argv[i]);
                        return 2;
                }
        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        pthread_sigmask(SIG_BLOCK, &signals, NULL);
        signal(SIGPIPE, SIG_IGN);
        _cleanup_close_ int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);

        if (!store || signal_fd < 0 || !start(&s, address)) {
                fprintf(stderr, "fault-registry: cannot start on %s: %m\n", address);
                return 1;
        }
        run(&s, signal_fd);
        close_all(&s);
        return 0;
}
