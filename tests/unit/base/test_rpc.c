/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server and client together, on a real unix socket. The services are made of messages of the control API:
 * `Echo` answers with its reference, `Block` waits until the test lets go or the call is cancelled, `Count`
 * streams.
 */
/* WRAP: calloc listen */
#include "base/rpc_client.h"
#include "base/rpc_internal.h"
#include "tests/unit/test.h"

#include "base/metrics.h"
#include "base/path.h"
#include "base/text.h"
#include "proto/modelstage.pb-c.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define MANY 256

typedef Modelstage__V1__RemoveRequest request;
typedef Modelstage__V1__RemoveResponse response;

struct fixture {
        char dir[64], path[96];
        struct rpc_server *server;
        struct rpc_client *client;

        pthread_mutex_t lock; /* guards the rest */
        pthread_cond_t changed;
        unsigned n_blocked, n_cancelled;
        bool released;
        int64_t ms_left;
        int last_send; /* result of Count's last send */
};

static struct error err; /* of the test's thread */

/* ---- handlers ---- */

static int echo(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata, struct error *e) {
        const request *req = (const request *)msg;
        struct fixture *f = userdata;
        response resp = MODELSTAGE__V1__REMOVE_RESPONSE__INIT;

        pthread_mutex_lock(&f->lock);
        f->ms_left = rpc_call_ms_left(call);
        pthread_mutex_unlock(&f->lock);
        resp.digest = req->reference;
        resp.freed = (int64_t)strlen(req->reference);
        return rpc_call_reply(call, &resp.base, e);
}

static int reply_twice(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata, struct error *e) {
        int r = echo(call, msg, userdata, e);

        return r < 0 ? r : echo(call, msg, userdata, e);
}

static int reply_nothing(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata,
                         struct error *e) {
        (void)call, (void)msg, (void)userdata, (void)e;
        return 0;
}

/* The reference is the number of an error kind. */
static int fail_as_asked(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata,
                         struct error *e) {
        const request *req = (const request *)msg;

        (void)call, (void)userdata;
        return error_set(e, (enum error_kind)strtoul(req->reference, NULL, 10), "kind %s, as asked – ütf-8",
                         req->reference);
}

static void wake(void *userdata) {
        struct fixture *f = userdata;
        LOCK_SCOPE(&f->lock);

        pthread_cond_broadcast(&f->changed);
}

static void cancelled(void *userdata) {
        struct fixture *f = userdata;
        LOCK_SCOPE(&f->lock);

        f->n_cancelled++;
        pthread_cond_broadcast(&f->changed);
}

static int block(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata, struct error *e) {
        struct fixture *f = userdata;

        rpc_call_on_cancel(call, wake, f);
        pthread_mutex_lock(&f->lock);
        f->n_blocked++;
        pthread_cond_broadcast(&f->changed);
        while (!f->released && !rpc_call_cancelled(call))
                pthread_cond_wait(&f->changed, &f->lock);
        bool released = f->released;
        f->n_cancelled += !released;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->lock);
        rpc_call_on_cancel(call, NULL, NULL);
        return released ? echo(call, msg, userdata, e) : error_set(e, ERROR_CANCELLED, "cancelled");
}

/* As Block, but says when it is cancelled before it asks to be woken. */
static int block_late(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata, struct error *e) {
        struct fixture *f = userdata;

        (void)msg;
        pthread_mutex_lock(&f->lock);
        f->n_blocked++;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->lock);
        while (!rpc_call_cancelled(call))
                sched_yield();
        rpc_call_on_cancel(call, cancelled, f);
        pthread_mutex_lock(&f->lock);
        while (!f->n_cancelled)
                pthread_cond_wait(&f->changed, &f->lock);
        pthread_mutex_unlock(&f->lock);
        return error_set(e, ERROR_CANCELLED, "cancelled");
}

/* Streams the numbers below the reference; endless for "". Then fails if the reference ends in '!'. */
static int count(struct rpc_call *call, const ProtobufCMessage *msg, void *userdata, struct error *e) {
        const request *req = (const request *)msg;
        struct fixture *f = userdata;
        int64_t n = *req->reference ? strtol(req->reference, NULL, 10) : INT64_MAX;
        int r = 0;

        for (int64_t i = 0; i < n && r >= 0; i++) {
                response resp = MODELSTAGE__V1__REMOVE_RESPONSE__INIT;
                resp.freed = i;
                r = rpc_call_send(call, &resp.base, e);
        }
        pthread_mutex_lock(&f->lock);
        f->last_send = r;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->lock);
        if (r >= 0 && strchr(req->reference, '!'))
                return error_set(e, ERROR_DATA_LOSS, "lost after %lld", (long long)n);
        return r;
}

#define REQUEST &modelstage__v1__remove_request__descriptor
#define RESPONSE &modelstage__v1__remove_response__descriptor

static const struct rpc_method methods[] = {
        { .path = "/test.Test/Echo", .request = REQUEST, .handler = echo },
        { .path = "/test.Test/Fail", .request = REQUEST, .handler = fail_as_asked },
        { .path = "/test.Test/ReplyTwice", .request = REQUEST, .handler = reply_twice },
        { .path = "/test.Test/ReplyNothing", .request = REQUEST, .handler = reply_nothing },
        { .path = "/test.Test/Block", .request = REQUEST, .handler = block, .waits = true },
        { .path = "/test.Test/BlockLate", .request = REQUEST, .handler = block_late, .waits = true },
        { .path = "/test.Test/Count", .request = REQUEST, .handler = count, .streams = true },
        { 0 },
};
static const struct rpc_method other_methods[] = {
        { .path = "/test.Other/Echo", .request = REQUEST, .handler = echo },
        { 0 },
};

/* ---- fixture ---- */

static void serve(struct fixture *f, unsigned grace_ms) {
        const struct rpc_service services[] = { { methods, f }, { other_methods, f } };
        const struct rpc_server_options o = { .socket_path = f->path,
                                              .services = services,
                                              .n_services = 2,
                                              .max_message = 64 * 1024,
                                              .grace_ms = grace_ms };

        if (rpc_server_new(&f->server, &o, &err) < 0 || rpc_server_start(f->server, &err) < 0)
                fail_msg("%s", err.text);
}

static void stop(struct fixture *f) {
        rpc_server_free(f->server);
        f->server = NULL;
}

static int setup_idle(void **state) {
        struct fixture *f = calloc(1, sizeof *f);

        snprintf(f->dir, sizeof f->dir, "/tmp/modelstage-rpc-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
        snprintf(f->path, sizeof f->path, "%s/x.sock", f->dir);
        pthread_mutex_init(&f->lock, NULL);
        pthread_cond_init(&f->changed, NULL);
        assert_int_equal(rpc_client_new(&f->client, f->path, &err), 0);
        memset(&err, 0, sizeof err);
        *state = f;
        return 0;
}

static int setup(void **state) {
        setup_idle(state);
        serve(*state, 60 * 1000);
        return 0;
}

static int teardown(void **state) {
        struct fixture *f = *state;
        char lock[128];

        rpc_client_free(f->client);
        rpc_server_free(f->server);
        snprintf(lock, sizeof lock, "%s/.x.sock.lock", f->dir);
        (void)unlink(lock);
        (void)unlink(f->path);
        assert_int_equal(rmdir(f->dir), 0);
        pthread_cond_destroy(&f->changed);
        pthread_mutex_destroy(&f->lock);
        free(f);
        return 0;
}

static int call_with(struct rpc_client *client, const char *method, const char *reference, int timeout_ms,
                     struct error *e) {
        request req = MODELSTAGE__V1__REMOVE_REQUEST__INIT;
        ProtobufCMessage *m = NULL;

        req.reference = (char *)reference;
        int r = rpc_client_call(client, method, &req.base, RESPONSE, timeout_ms, &m, e);
        if (r < 0)
                return r;
        assert_string_equal(((response *)m)->digest, reference);
        protobuf_c_message_free_unpacked(m, NULL);
        return 0;
}

static int call(struct fixture *f, const char *method, const char *reference) {
        return call_with(f->client, method, reference, 30 * 1000, &err);
}

#define assert_ok(r) \
        do { \
                if ((r) < 0) \
                        fail_msg("%s", err.text); \
        } while (0)
#define assert_fails(r, expected_kind, expected_text) \
        do { \
                assert_true((r) < 0); \
                assert_string_equal(err.text, expected_text); \
                assert_int_equal(err.kind, expected_kind); \
        } while (0)

/* A call on a thread of its own. */
struct caller {
        struct fixture *f;
        struct rpc_client *client;
        const char *method;
        int timeout_ms, result;
        struct error e;
        pthread_t thread;
};

static void *caller_main(void *arg) {
        struct caller *c = arg;

        c->result = call_with(c->client, c->method, "x", c->timeout_ms, &c->e);
        return NULL;
}

static void caller_start(struct caller *c, struct fixture *f, const char *method) {
        pthread_attr_t attr;

        *c = (struct caller){ .f = f, .client = f->client, .method = method, .timeout_ms = -1 };
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, 512 * 1024);
        assert_int_equal(pthread_create(&c->thread, &attr, caller_main, c), 0);
        pthread_attr_destroy(&attr);
}

static void wait_blocked(struct fixture *f, unsigned n) {
        LOCK_SCOPE(&f->lock);

        while (f->n_blocked < n)
                pthread_cond_wait(&f->changed, &f->lock);
}

static void release(struct fixture *f) {
        LOCK_SCOPE(&f->lock);

        f->released = true;
        pthread_cond_broadcast(&f->changed);
}

/* ---- unary ---- */

static void test_reply_comes_back(void **state) {
        assert_ok(call(*state, "/test.Test/Echo", "hello"));
        assert_ok(call(*state, "/test.Other/Echo", ""));
}

static void test_every_kind_of_error_arrives_with_its_text(void **state) {
        for (int kind = ERROR_INVALID; kind < _ERROR_KIND_MAX; kind++) {
                char number[12], text[64];

                snprintf(number, sizeof number, "%d", kind);
                snprintf(text, sizeof text, "kind %d, as asked – ütf-8", kind);
                memset(&err, 0, sizeof err);
                assert_fails(call(*state, "/test.Test/Fail", number), kind, text);
        }
}

static void test_unknown_method_is_unimplemented(void **state) {
        assert_fails(call(*state, "/test.Test/Nothing", "x"), ERROR_UNIMPLEMENTED, "unknown method");
}

static void test_malformed_request_is_invalid(void **state) {
        struct fixture *f = *state;
        Modelstage__V1__StatusRequest wrong = MODELSTAGE__V1__STATUS_REQUEST__INIT;
        ProtobufCMessage *m = NULL;
        const char *expected = "malformed request: not a modelstage.v1.RemoveRequest";

        wrong.watch = true; /* field 1 is a number, and a string is expected */
        assert_fails(rpc_client_call(f->client, "/test.Test/Echo", &wrong.base, RESPONSE, -1, &m, &err),
                     ERROR_INVALID, expected);
        assert_fails(call(f, "/test.Test/Echo", "not \xff utf-8"), ERROR_INVALID, expected);
        assert_null(m);
}

static void test_malformed_answer_is_internal(void **state) {
        struct fixture *f = *state;
        request req = MODELSTAGE__V1__REMOVE_REQUEST__INIT;
        ProtobufCMessage *m = NULL;

        req.reference = (char *)"x";
        assert_fails(
            rpc_client_call(f->client, "/test.Test/Echo", &req.base,
                            &modelstage__v1__mount_response__descriptor, -1, &m, &err),
            ERROR_INTERNAL,
            "the daemon's answer to /test.Test/Echo is malformed: not a modelstage.v1.MountResponse");
}

static void test_request_over_the_limit_is_refused(void **state) {
        char *big = malloc(100 * 1024);

        memset(big, 'x', 100 * 1024 - 1);
        big[100 * 1024 - 1] = '\0';
        assert_int_equal(call(*state, "/test.Test/Echo", big), -ENOSPC);
        assert_int_equal(err.kind, ERROR_NO_SPACE);
        free(big);
}

static void test_handler_that_replies_twice_or_never_is_internal(void **state) {
        assert_true(call(*state, "/test.Test/ReplyTwice", "x") < 0);
        assert_int_equal(err.kind, ERROR_INTERNAL);
        assert_fails(call(*state, "/test.Test/ReplyNothing", "x"), ERROR_INTERNAL,
                     "/test.Test/ReplyNothing gave no reply");
}

static int64_t seen_ms_left(struct fixture *f) {
        LOCK_SCOPE(&f->lock);

        return f->ms_left;
}

static void test_handler_sees_the_deadline(void **state) {
        struct fixture *f = *state;

        assert_ok(call_with(f->client, "/test.Test/Echo", "x", 50 * 1000, &err));
        int64_t left = seen_ms_left(f);
        assert_true(left > 0 && left < 60 * 1000); /* gRPC rounds up */
        assert_ok(call_with(f->client, "/test.Test/Echo", "x", -1, &err));
        assert_true(seen_ms_left(f) == INT64_MAX);
}

static unsigned n_blocked(struct fixture *f) {
        LOCK_SCOPE(&f->lock);

        return f->n_blocked;
}

static void test_deadline_ends_the_call_and_wakes_the_handler(void **state) {
        struct fixture *f = *state;
        char expected[160];

        snprintf(expected, sizeof expected, "the daemon at %s did not answer within 50 ms", f->path);
        while (n_blocked(f) == 0) /* on a busy machine the deadline can pass on the way there */
                assert_fails(call_with(f->client, "/test.Test/Block", "x", 50, &err), ERROR_TIMEOUT,
                             expected);

        LOCK_SCOPE(&f->lock);
        while (f->n_cancelled < f->n_blocked) /* never, if the deadline did not reach it */
                pthread_cond_wait(&f->changed, &f->lock);
}

static void test_wake_that_comes_late_runs_at_once(void **state) {
        struct fixture *f = *state;

        assert_int_equal(call_with(f->client, "/test.Test/BlockLate", "x", 50, &err), -ETIMEDOUT);
        stop(f); /* for ever, if the handler were not woken */
        assert_int_equal(f->n_cancelled, f->n_blocked);
}

static double n_observed(const char *labels) {
        struct buf text = BUF_INIT(1 << 20);
        char name[160];

        snprintf(name, sizeof name, "modelstage_rpc_seconds_count{%s} ", labels);
        assert_int_equal(metrics_write(&text), 0);
        const char *at = strstr(buf_text(&text), name);
        double n = at ? strtod(at + strlen(name), NULL) : 0;
        buf_free(&text);
        return n;
}

static void test_every_call_is_observed(void **state) {
        double ok = n_observed("method=\"Echo\",code=\"OK\"");
        double failed = n_observed("method=\"Fail\",code=\"NotFound\"");
        double unknown = n_observed("method=\"unknown\",code=\"Unimplemented\"");

        assert_ok(call(*state, "/test.Test/Echo", "x"));
        assert_true(call(*state, "/test.Test/Fail", "2") < 0);
        assert_true(call(*state, "/test.Test/Nothing", "x") < 0);
        assert_true(n_observed("method=\"Echo\",code=\"OK\"") == ok + 1);
        assert_true(n_observed("method=\"Fail\",code=\"NotFound\"") == failed + 1);
        assert_true(n_observed("method=\"unknown\",code=\"Unimplemented\"") == unknown + 1);
}

/* ---- many at once ---- */

static void test_quick_calls_pass_256_that_wait(void **state) {
        struct fixture *f = *state;
        static struct caller callers[MANY];

        for (unsigned i = 0; i < MANY; i++)
                caller_start(&callers[i], f, "/test.Test/Block");
        wait_blocked(f, MANY);

        for (unsigned i = 0; i < 20; i++)
                assert_ok(call(f, "/test.Test/Echo", "quick"));
        assert_fails(call(f, "/test.Test/Block", "one too many"), ERROR_UNAVAILABLE,
                     "too many calls are in progress: try again later");

        release(f);
        for (unsigned i = 0; i < MANY; i++) {
                pthread_join(callers[i].thread, NULL);
                assert_int_equal(callers[i].result, 0);
        }
        assert_ok(call(f, "/test.Test/Block", "places are free again"));
}

/* ---- without memory ---- */

static atomic_bool no_calls; /* there is no memory for another struct rpc_call */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size) {
        if (size == sizeof(struct rpc_call) && atomic_load(&no_calls)) {
                errno = ENOMEM;
                return NULL;
        }
        return __real_calloc(n, size);
}

static void test_server_without_memory_refuses_calls_and_takes_them_again_later(void **state) {
        struct fixture *f = *state;

        atomic_store(&no_calls, true);
        for (unsigned i = 0; i < 20; i++)
                assert_fails(call(f, "/test.Test/Echo", "x"), ERROR_NO_SPACE,
                             "out of memory: try again later");
        atomic_store(&no_calls, false);
        for (unsigned i = 0; i < 20; i++)
                assert_ok(call(f, "/test.Test/Echo", "x"));
        atomic_store(&no_calls, true);
        assert_fails(call(f, "/test.Test/Echo", "x"), ERROR_NO_SPACE, "out of memory: try again later");
        stop(f); /* while the last one may just have become its own successor */
        atomic_store(&no_calls, false);
}

/* ---- streams ---- */

struct seen {
        int64_t n, stop_at;
        bool in_order;
};

static int on_count(const ProtobufCMessage *m, void *userdata, struct error *e) {
        struct seen *s = userdata;

        s->in_order = s->in_order && ((const response *)m)->freed == s->n;
        s->n++;
        return s->n == s->stop_at ? error_set(e, ERROR_EXISTS, "seen enough") : 0;
}

static int stream(struct fixture *f, const char *reference, struct seen *s) {
        request req = MODELSTAGE__V1__REMOVE_REQUEST__INIT;

        s->in_order = true;
        req.reference = (char *)reference;
        return rpc_client_stream(f->client, "/test.Test/Count", &req.base, RESPONSE, 60 * 1000, on_count, s,
                                 &err);
}

static void test_stream_arrives_complete_and_in_order(void **state) {
        struct seen s = { 0 }, empty = { 0 };

        assert_ok(stream(*state, "1000", &s));
        assert_int_equal(s.n, 1000);
        assert_true(s.in_order);
        assert_ok(stream(*state, "0", &empty));
        assert_int_equal(empty.n, 0);
}

static void test_stream_that_fails_gives_its_messages_then_the_error(void **state) {
        struct seen s = { 0 };

        assert_fails(stream(*state, "3!", &s), ERROR_DATA_LOSS, "lost after 3");
        assert_int_equal(s.n, 3);
}

static void test_client_that_leaves_a_stream_ends_it(void **state) {
        struct fixture *f = *state;
        struct seen s = { .stop_at = 5 };

        assert_fails(stream(f, "", &s), ERROR_EXISTS, "seen enough");
        assert_int_equal(s.n, 5);

        LOCK_SCOPE(&f->lock);
        while (f->last_send == 0)
                pthread_cond_wait(&f->changed, &f->lock);
        assert_int_equal(f->last_send, -ECANCELED);
}

static void test_stream_of_an_unknown_method_is_unimplemented(void **state) {
        struct fixture *f = *state;
        request req = MODELSTAGE__V1__REMOVE_REQUEST__INIT;
        struct seen s = { 0 };

        assert_fails(
            rpc_client_stream(f->client, "/test.Test/Nothing", &req.base, RESPONSE, -1, on_count, &s, &err),
            ERROR_UNIMPLEMENTED, "unknown method");
}

/* ---- life and death ---- */

static void test_missing_daemon_is_unavailable_at_once(void **state) {
        struct fixture *f = *state;
        struct seen s = { 0 };
        char expected[192];

        /* No deadline: a client that waited for the socket would never return. */
        snprintf(expected, sizeof expected, "cannot reach the daemon at %s: is modelstaged running?",
                 f->path);
        assert_fails(call_with(f->client, "/test.Test/Echo", "x", -1, &err), ERROR_UNAVAILABLE, expected);
        assert_fails(stream(f, "1", &s), ERROR_UNAVAILABLE, expected);
}

static void test_client_finds_a_daemon_that_came_back(void **state) {
        struct fixture *f = *state;
        int r;

        assert_ok(call(f, "/test.Test/Echo", "x"));
        stop(f);
        assert_true(call(f, "/test.Test/Echo", "x") < 0);
        serve(f, 60 * 1000);
        do /* CTest's timeout ends it if it never does */
                r = call(f, "/test.Test/Echo", "x");
        while (r < 0 && err.kind == ERROR_UNAVAILABLE);
        assert_ok(r);
}

static void test_free_lets_running_calls_finish(void **state) {
        struct fixture *f = *state;
        struct caller c;

        caller_start(&c, f, "/test.Test/Block");
        wait_blocked(f, 1);
        release(f);
        stop(f);
        pthread_join(c.thread, NULL);
        assert_int_equal(c.result, 0);
        assert_int_equal(f->n_cancelled, 0);
}

static void test_free_cancels_what_outlives_the_grace_time(void **state) {
        struct fixture *f = *state;
        static struct caller callers[16];

        stop(f);
        serve(f, 10);
        rpc_client_free(f->client);
        assert_int_equal(rpc_client_new(&f->client, f->path, &err), 0);
        for (unsigned i = 0; i < 16; i++)
                caller_start(&callers[i], f, "/test.Test/Block");
        wait_blocked(f, 16);
        stop(f); /* for ever, if a handler were not woken */
        for (unsigned i = 0; i < 16; i++) {
                pthread_join(callers[i].thread, NULL);
                assert_true(callers[i].result < 0);
        }
        assert_int_equal(f->n_cancelled, 16);
}

static void test_server_that_was_never_started_can_be_freed(void **state) {
        struct fixture *f = *state;
        const struct rpc_server_options o = { .socket_path = f->path };

        assert_ok(rpc_server_new(&f->server, &o, &err));
        stop(f);
        assert_int_equal(access(f->path, F_OK), -1);
}

/* ---- the socket ---- */

static void test_path_of_a_live_server_is_not_taken(void **state) {
        struct fixture *f = *state;
        const struct rpc_server_options o = { .socket_path = f->path };
        struct rpc_server *second = NULL;
        char expected[192];

        snprintf(expected, sizeof expected, "another process serves %s: stop it or choose another socket",
                 f->path);
        assert_fails(rpc_server_new(&second, &o, &err), ERROR_PRECONDITION, expected);
        assert_null(second);
        assert_ok(call(f, "/test.Test/Echo", "still served"));
}

static void test_file_that_is_no_socket_is_kept(void **state) {
        struct fixture *f = *state;
        const struct rpc_server_options o = { .socket_path = f->path };
        struct rpc_server *s = NULL;

        close(open(f->path, O_CREAT | O_CLOEXEC | O_WRONLY, 0600));
        assert_true(rpc_server_new(&s, &o, &err) < 0);
        assert_int_equal(err.kind, ERROR_PRECONDITION);
        assert_int_equal(access(f->path, F_OK), 0);
}

static int bind_to(const char *path) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        memcpy(sa.sun_path, path, strlen(path) + 1);
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
        return fd;
}

static ino_t inode_of(const char *path) {
        struct stat st;

        return lstat(path, &st) < 0 ? 0 : st.st_ino;
}

int __real_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog);

static const char *watched_path;          /* what is at it when listen() is called… */
static ino_t before_listen, after_listen; /* …and when it has returned */
static int listen_error;                  /* errno of its failure; 0: it does not fail */

int __wrap_listen(int fd, int backlog) {
        if (listen_error) {
                errno = listen_error;
                return -1;
        }
        if (watched_path)
                before_listen = inode_of(watched_path);
        int r = __real_listen(fd, backlog);
        if (watched_path)
                after_listen = inode_of(watched_path);
        return r;
}

static void test_socket_that_does_not_listen_yet_is_not_seen(void **state) {
        struct fixture *f = *state;

        watched_path = f->path;
        before_listen = after_listen = 1;
        serve(f, 1000);
        assert_int_equal(before_listen, 0);
        assert_int_equal(after_listen, 0);
        assert_true(inode_of(f->path) != 0);
        stop(f);

        close(bind_to(f->path)); /* a stale one stays until it is replaced */
        ino_t stale = inode_of(f->path);
        serve(f, 1000);
        watched_path = NULL;
        assert_int_equal(before_listen, stale);
        assert_int_equal(after_listen, stale);
        assert_true(inode_of(f->path) != stale);
        assert_ok(call(f, "/test.Test/Echo", "x"));
}

static void test_nothing_is_left_of_a_socket_that_could_not_listen(void **state) {
        struct fixture *f = *state;
        const struct rpc_server_options o = { .socket_path = f->path };
        struct rpc_server *s = NULL;
        char hidden[128];

        snprintf(hidden, sizeof hidden, "%s/.x.sock.new", f->dir);
        listen_error = EADDRINUSE;
        assert_true(rpc_server_new(&s, &o, &err) < 0);
        listen_error = 0;
        assert_non_null(strstr(err.text, f->path));
        assert_int_equal(inode_of(f->path), 0);
        assert_int_equal(inode_of(hidden), 0);

        close(bind_to(hidden)); /* as a daemon leaves it that was killed before the rename */
        serve(f, 1000);
        assert_ok(call(f, "/test.Test/Echo", "x"));
        assert_int_equal(inode_of(hidden), 0);
}

/* As long as the kernel allows for the path itself, in a directory or by its own name. */
static void test_longest_path_works(void **state) {
        struct fixture *f = *state;
        const int longest = (int)sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
        char dir[128], path[256], lock[512];
        int n = snprintf(dir, sizeof dir, "%s/", f->dir);

        for (unsigned name = 1; name <= 70; name += 69) { /* of one character, and cut in the hidden name */
                int pad = longest - 1 - n - (int)name;

                snprintf(dir + n, sizeof dir - (size_t)n, "%0*d", pad, 0);
                assert_int_equal(mkdir(dir, 0700), 0);
                snprintf(path, sizeof path, "%s/%0*d", dir, (int)name, 0);
                assert_int_equal(strlen(path), longest);
                const struct rpc_server_options o = { .socket_path = path };
                struct rpc_server *s;
                assert_ok(rpc_server_new(&s, &o, &err));
                assert_true(inode_of(path) != 0);
                rpc_server_free(s);
                assert_int_equal(inode_of(path), 0);
                snprintf(lock, sizeof lock, "%s/.%s.lock", dir, path_base(path));
                assert_int_equal(unlink(lock), 0);
                assert_int_equal(rmdir(dir), 0);
        }
}

static void test_stale_socket_is_replaced(void **state) {
        struct fixture *f = *state;

        close(bind_to(f->path)); /* as a killed daemon leaves it */
        serve(f, 1000);
        assert_ok(call(f, "/test.Test/Echo", "x"));
}

static void test_too_long_path_is_invalid(void **state) {
        char path[200];
        const struct rpc_server_options o = { .socket_path = path };
        struct rpc_server *s = NULL;

        (void)state;
        memset(path, 'x', sizeof path - 1);
        path[0] = '/';
        path[sizeof path - 1] = '\0';
        assert_true(rpc_server_new(&s, &o, &err) < 0);
        assert_int_equal(err.kind, ERROR_INVALID);
}

static void test_socket_is_for_its_owner_only(void **state) {
        struct fixture *f = *state;
        struct stat st;

        assert_int_equal(lstat(f->path, &st), 0);
        assert_int_equal(st.st_mode, S_IFSOCK | 0600);
}

/* In a child after fork: system calls only. 0: the server closed the connection without a word. */
static int connect_as_nobody(const char *path) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        char byte;

        memcpy(sa.sun_path, path, strlen(path) + 1);
        if (syscall(SYS_setresuid, 65534, 65534, 65534) < 0)
                return 10;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0)
                return 11;
        return read(fd, &byte, 1) == 0 ? 0 : 12; /* a server of gRPC speaks first */
}

static void test_other_users_are_not_let_in(void **state) {
        struct fixture *f = *state;
        int status;

        if (geteuid() != 0)
                skip();
        /* Even where an administrator opened the way to the socket. */
        assert_int_equal(chmod(f->dir, 0755), 0);
        assert_int_equal(chmod(f->path, 0666), 0);
        pid_t pid = fork();
        if (pid == 0)
                _exit(connect_as_nobody(f->path));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T_IDLE(name) cmocka_unit_test_setup_teardown(name, setup_idle, teardown)
                T(test_reply_comes_back),
                T(test_every_kind_of_error_arrives_with_its_text),
                T(test_unknown_method_is_unimplemented),
                T(test_malformed_request_is_invalid),
                T(test_malformed_answer_is_internal),
                T(test_request_over_the_limit_is_refused),
                T(test_handler_that_replies_twice_or_never_is_internal),
                T(test_handler_sees_the_deadline),
                T(test_deadline_ends_the_call_and_wakes_the_handler),
                T(test_wake_that_comes_late_runs_at_once),
                T(test_every_call_is_observed),
                T(test_quick_calls_pass_256_that_wait),
                T(test_server_without_memory_refuses_calls_and_takes_them_again_later),
                T(test_stream_arrives_complete_and_in_order),
                T(test_stream_that_fails_gives_its_messages_then_the_error),
                T(test_client_that_leaves_a_stream_ends_it),
                T(test_stream_of_an_unknown_method_is_unimplemented),
                T_IDLE(test_missing_daemon_is_unavailable_at_once),
                T(test_client_finds_a_daemon_that_came_back),
                T(test_free_lets_running_calls_finish),
                T(test_free_cancels_what_outlives_the_grace_time),
                T_IDLE(test_server_that_was_never_started_can_be_freed),
                T(test_path_of_a_live_server_is_not_taken),
                T_IDLE(test_file_that_is_no_socket_is_kept),
                T_IDLE(test_stale_socket_is_replaced),
                T_IDLE(test_socket_that_does_not_listen_yet_is_not_seen),
                T_IDLE(test_nothing_is_left_of_a_socket_that_could_not_listen),
                T_IDLE(test_longest_path_works),
                T_IDLE(test_too_long_path_is_invalid),
                T(test_socket_is_for_its_owner_only),
                T(test_other_users_are_not_let_in),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
