/* SPDX-License-Identifier: Apache-2.0 */
/*
 * We listen ourselves and hand each connection to gRPC. gRPC's own unix listener takes a path away from a
 * live server without a word, and the loser deletes the winner's socket when it exits; it leaves the mode to
 * the umask, and does not tell why a bind failed.
 *
 * Whoever holds the lock file beside the socket owns the path: only then is a socket that exists known to be
 * stale. It is replaced by a rename, when the new one listens: a client finds no socket, or one that answers.
 * The kernel drops the lock when we die. The lock file itself stays: removing it would let two
 * processes lock two different files of one name.
 *
 * One thread accepts. It leaves when the eventfd `stop` becomes readable.
 */
#include "base/rpc_listener.h"

#include "base/path.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define HIDDEN_NAME_MAX 60 /* bytes of the socket's name in the name that it has first */
#define HIDDEN_SIZE (HIDDEN_NAME_MAX + sizeof "..new")
#define EXHAUSTED_RETRY_MS 100 /* out of descriptors: nothing tells us when there are some again */

struct rpc_listener {
        char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
        int lock_fd, listen_fd, stop_fd; /* -1: not open */
        pthread_t thread;
        bool running;
        rpc_on_connection *on_connection;
        void *userdata;
};

/* The lock file is ".NAME.lock" beside the socket. */
static int lock_open(const char *path, struct error *e) {
        const char *name = path_base(path);
        char lock[PATH_MAX];

        snprintf(lock, sizeof lock, "%.*s.%s.lock", (int)(name - path), path, name);
        _cleanup_close_ int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return error_errno(e, errno, "cannot open the lock file %s", lock);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno == EWOULDBLOCK)
                        return error_set(e, ERROR_PRECONDITION,
                                         "another process serves %s: stop it or choose another socket", path);
                return error_errno(e, errno, "cannot lock %s", lock);
        }
        return take_fd(fd);
}

/* What is at the path may be replaced if it is a socket: with the lock held that can only be a stale one. */
static int check_stale(int dir_fd, const char *name, const char *path, struct error *e) {
        struct stat st;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : error_errno(e, errno, "cannot look at %s", path);
        if (!S_ISSOCK(st.st_mode))
                return error_set(e, ERROR_PRECONDITION,
                                 "%s exists and is not a socket: remove it or choose another path", path);
        return 0;
}

static int open_directory(const char *path, struct error *e) {
        int len = (int)(path_base(path) - path);
        char dir[PATH_MAX];

        snprintf(dir, sizeof dir, "%.*s", len > 0 ? len : 1, len > 0 ? path : ".");
        int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? error_errno(e, errno, "cannot open the directory of %s", path) : fd;
}

/* Under @hidden; the kernel is told a path to it that is short enough, whatever the directory's is. */
static int listen_hidden(int dir_fd, const char *hidden, const char *path, struct error *e) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0)
                return error_errno(e, errno, "cannot make a socket");
        snprintf(sa.sun_path, sizeof sa.sun_path, "/proc/self/fd/%d/%s", dir_fd, hidden);
        (void)unlinkat(dir_fd, hidden, 0); /* of a process that died on the way */
        /* The mode before the name: there is no moment at which others could connect. */
        if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0)
                return error_errno(e, errno, "cannot bind %s", path);
        if (listen(fd, SOMAXCONN) < 0) {
                int r = error_errno(e, errno, "cannot listen on %s", path);

                (void)unlinkat(dir_fd, hidden, 0);
                return r;
        }
        return take_fd(fd);
}

/* Who sees the socket can connect: it gets its name when it listens. */
static int listen_open(const char *path, struct error *e) {
        const char *name = path_base(path);
        char hidden[HIDDEN_SIZE];

        snprintf(hidden, sizeof hidden, ".%.*s.new", HIDDEN_NAME_MAX, name);
        _cleanup_close_ int dir_fd = open_directory(path, e);
        if (dir_fd < 0)
                return dir_fd;
        int r = check_stale(dir_fd, name, path, e);
        if (r < 0)
                return r;
        _cleanup_close_ int fd = listen_hidden(dir_fd, hidden, path, e);
        if (fd < 0)
                return fd;
        if (renameat(dir_fd, hidden, dir_fd, name) < 0) {
                r = error_errno(e, errno, "cannot name the socket %s", path);
                (void)unlinkat(dir_fd, hidden, 0);
                return r;
        }
        return take_fd(fd);
}

int rpc_listener_new(struct rpc_listener **ret, const char *path, struct error *e) {
        _cleanup_(rpc_listener_freep) struct rpc_listener *l = calloc(1, sizeof *l);

        if (!l)
                return error_errno(e, ENOMEM, "cannot listen on %s", path);
        l->lock_fd = l->listen_fd = l->stop_fd = -1;
        if (strlen(path) >= sizeof l->path)
                return error_set(e, ERROR_INVALID,
                                 "the socket path %s is too long: the kernel allows %zu characters", path,
                                 sizeof l->path - 1);
        memcpy(l->path, path, strlen(path) + 1);

        l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (l->stop_fd < 0)
                return error_errno(e, errno, "cannot make an eventfd");
        l->lock_fd = lock_open(path, e);
        if (l->lock_fd < 0)
                return l->lock_fd;
        l->listen_fd = listen_open(path, e);
        if (l->listen_fd < 0)
                return l->listen_fd;
        *ret = take_ptr(l);
        return 0;
}

/* The mode of the socket says the same; this holds if somebody changes the mode. */
static bool peer_is_welcome(int fd) {
        struct ucred peer;
        socklen_t len = sizeof peer;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
                return false;
        return peer.uid == 0 || peer.uid == geteuid();
}

/* Waits for a connection, or for a while when there was no descriptor for it. False: it is time to leave. */
static bool listener_wait(struct rpc_listener *l, bool exhausted) {
        struct pollfd fds[] = { { .fd = l->stop_fd, .events = POLLIN },
                                { .fd = l->listen_fd, .events = POLLIN } };

        (void)poll(fds, exhausted ? 1 : 2, exhausted ? EXHAUSTED_RETRY_MS : -1);
        return !(fds[0].revents & POLLIN);
}

static void *listener_main(void *arg) {
        struct rpc_listener *l = arg;
        bool exhausted = false;

        while (listener_wait(l, exhausted)) {
                int fd = accept4(l->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                exhausted =
                    fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS);
                if (fd < 0)
                        continue;
                if (peer_is_welcome(fd))
                        l->on_connection(fd, l->userdata);
                else
                        close(fd);
        }
        return NULL;
}

int rpc_listener_start(struct rpc_listener *l, rpc_on_connection *on_connection, void *userdata,
                       struct error *e) {
        assert(!l->running);
        l->on_connection = on_connection;
        l->userdata = userdata;
        int r = pthread_create(&l->thread, NULL, listener_main, l);
        if (r)
                return error_errno(e, r, "cannot start a thread for %s", l->path);
        l->running = true;
        return 0;
}

void rpc_listener_free(struct rpc_listener *l) {
        if (!l)
                return;
        if (l->running) {
                if (eventfd_write(l->stop_fd, 1) < 0)
                        assert(!"the stop eventfd is full");
                pthread_join(l->thread, NULL);
        }
        if (l->listen_fd >= 0) {
                (void)unlink(l->path); /* before the lock goes: it is still ours */
                close(l->listen_fd);
        }
        cleanup_close(&l->lock_fd);
        cleanup_close(&l->stop_fd);
        free(l);
}
