/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How one call moves:
 *
 *   WAITING   grpc_server_request_call() is armed with this object, no peer yet
 *      |  EVENT_NEW
 *   READING   one batch fetches the request; another one, posted before it, reports the end of the call
 *      |  EVENT_READ: admitted, or refused with RESOURCE_EXHAUSTED
 *   RUNNING   in a handler on a worker thread; a stream sends and waits for EVENT_WRITTEN, many times
 *      |  the handler returned
 *   SENDING   one batch carries headers, reply and status
 *      |  EVENT_SENT and EVENT_CLOSED, in either order
 *   freed
 *
 * A call that arrives arms a successor. Without memory for one it is refused, and is the successor itself as
 * soon as it is over, so there are always as many objects that wait, or will in a moment, as there were at
 * the start.
 *
 * Whoever still has something to do with a call holds a reference; the last one frees it. EVENT_CLOSED can
 * come in any state from READING on: it only raises `cancelled` and wakes the handler, so no other path has
 * to care. A call takes one of its class's places only when its request is here, so a peer that opens calls
 * and says nothing holds up nobody.
 *
 * Threads: events come on the queue's thread, everything a handler may call runs on its worker.
 */
#include "base/log.h"
#include "base/metrics.h"
#include "base/rpc_internal.h"
#include "base/rpc_message.h"
#include "base/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct rpc_call *call_ref(struct rpc_call *c) {
        atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
        return c;
}

/* @c is new and zero, or was cleared. 0 or -EIO; the server counts it in any case. */
static int call_arm(struct rpc_call *c, struct rpc_server *s) {
        *c = (struct rpc_call){ .server = s };
        atomic_init(&c->refs, 1); /* of the tag */
        for (unsigned i = 0; i < _RPC_EVENT_MAX; i++)
                c->tags[i] =
                    (struct rpc_tag){ .magic = RPC_TAG_MAGIC, .event = (enum rpc_event)i, .call = c };
        grpc_call_details_init(&c->details);
        grpc_metadata_array_init(&c->metadata);
        pthread_mutex_init(&c->lock, NULL);
        pthread_cond_init(&c->changed, NULL);
        return grpc_server_request_call(s->server, &c->call, &c->details, &c->metadata, s->cq, s->cq,
                                        &c->tags[RPC_EVENT_NEW]) == GRPC_CALL_OK
                   ? 0
                   : -EIO;
}

static void call_clear(struct rpc_call *c) {
        if (c->call)
                grpc_call_unref(c->call);
        grpc_call_details_destroy(&c->details);
        grpc_metadata_array_destroy(&c->metadata);
        grpc_byte_buffer_destroy(c->request); /* accepts NULL */
        grpc_byte_buffer_destroy(c->reply);
        pthread_cond_destroy(&c->changed);
        pthread_mutex_destroy(&c->lock);
        for (unsigned i = 0; i < _RPC_EVENT_MAX; i++)
                c->tags[i].magic = 0;
}

/* Without a successor the object waits for a call again instead of being freed. */
static void call_unref(struct rpc_call *c) {
        struct rpc_server *s = c->server;

        if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
                return;
        bool again = c->has_no_successor;
        call_clear(c);
        if (again) {
                if (call_arm(c, s) == 0)
                        return;
                call_clear(c);
        }
        free(c);
        rpc_server_call_gone(s);
}

int rpc_call_arm(struct rpc_server *s) {
        struct rpc_call *c = calloc(1, sizeof *c);

        if (!c)
                return -ENOMEM;
        rpc_server_call_born(s);
        int r = call_arm(c, s);
        if (r < 0)
                call_unref(c); /* the tag will never come back */
        return r;
}

/* Starts a batch whose end comes as @event; it holds a reference until then. */
static int call_batch(struct rpc_call *c, const grpc_op *ops, size_t n, enum rpc_event event) {
        call_ref(c);
        if (grpc_call_start_batch(c->call, ops, n, &c->tags[event], NULL) != GRPC_CALL_OK) {
                call_unref(c);
                return -EIO;
        }
        return 0;
}

/* What cannot be sent ends the call, so that the peer does not wait for ever. */
static void call_send_batch(struct rpc_call *c, const grpc_op *ops, size_t n, enum rpc_event event) {
        if (call_batch(c, ops, n, event) < 0)
                (void)grpc_call_cancel(c->call, NULL);
}

static void call_observe(const struct rpc_call *c, grpc_status_code status) {
        double seconds = (double)(time_monotonic_ns() - c->started_ns) / 1e9;
        /* The path of an unknown method is the peer's invention and must not become a label. */
        const char *name = c->method ? strrchr(c->method->path, '/') + 1 : "unknown";

        metric_observe(RPC_SECONDS, seconds, name, rpc_status_name(status));
        log_debug(RPC, "%s %s in %.3f s", name, rpc_status_name(status), seconds);
}

/* The last thing that is sent. One batch and so, in the common case, one write. */
static void call_end(struct rpc_call *c, grpc_status_code status, const char *text) {
        grpc_op ops[3] = { 0 }; /* core asserts that flags and reserved are zero */
        size_t n = 0;
        grpc_slice details = grpc_slice_from_copied_string(text); /* of an error, so it is UTF-8 */

        call_observe(c, status);
        if (!c->headers_sent)
                ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
        if (status == GRPC_STATUS_OK && !c->method->streams) {
                ops[n].op = GRPC_OP_SEND_MESSAGE;
                ops[n++].data.send_message.send_message = c->reply;
        }
        ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        ops[n].data.send_status_from_server.status = status;
        ops[n++].data.send_status_from_server.status_details = &details;
        call_send_batch(c, ops, n, RPC_EVENT_SENT);
        grpc_slice_unref(details); /* core took its own reference */
}

/* ---- on a worker ---- */

/* Runs the handler and says how the call ends. */
static grpc_status_code call_handle(struct rpc_call *c, struct error *e) {
        ProtobufCMessage *req = rpc_message_unpack(c->request, c->method->request);

        if (!req) {
                error_set(e, ERROR_INVALID, "malformed request: not a %s", c->method->request->name);
                return GRPC_STATUS_INVALID_ARGUMENT;
        }
        int r;
        if (rpc_call_cancelled(c)) /* nobody waits; do not start */
                r = error_set(e, ERROR_CANCELLED, "the call was cancelled before it started");
        else
                r = c->method->handler(c, req, c->userdata, e);
        protobuf_c_message_free_unpacked(req, NULL);

        if (r >= 0 && !c->method->streams && !c->reply)
                r = error_set(e, ERROR_INTERNAL, "%s gave no reply", c->method->path);
        if (r < 0 && e->kind == ERROR_NONE)
                error_set(e, ERROR_INTERNAL, "%s failed with %d and gave no reason", c->method->path, r);
        return r < 0 ? rpc_status_of_error(e->kind) : GRPC_STATUS_OK;
}

static atomic_uint *call_class(const struct rpc_call *c) {
        return c->method->waits ? &c->server->n_waiting : &c->server->n_calls;
}

static void call_run(struct rpc_work *work) {
        struct rpc_call *c = (struct rpc_call *)((char *)work - offsetof(struct rpc_call, work));
        struct error e = { 0 };
        grpc_status_code status = call_handle(c, &e);

        rpc_call_on_cancel(c, NULL, NULL); /* what it would wake is the handler's, which is gone */
        atomic_fetch_sub(call_class(c), 1);
        call_end(c, status, status == GRPC_STATUS_OK ? "" : e.text);
        call_unref(c);
}

/* ---- events, on the queue's thread ---- */

/* Leaves c->method NULL if there is none of that path. */
static void call_find_method(struct rpc_call *c) {
        const struct rpc_server_options *o = &c->server->o;

        for (size_t i = 0; i < o->n_services; i++)
                for (const struct rpc_method *m = o->services[i].methods; m->path; m++)
                        if (grpc_slice_str_cmp(c->details.method, m->path) == 0) {
                                c->method = m;
                                c->userdata = o->services[i].userdata;
                                return;
                        }
}

static void on_new(struct rpc_call *c, bool ok) {
        if (!ok) /* the server stops; nothing arrived */
                return;
        c->started_ns = time_monotonic_ns();
        c->has_no_successor = rpc_call_arm(c->server) < 0;

        /* First, so that a peer that leaves early is always noticed. */
        grpc_op closed = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };
        closed.data.recv_close_on_server.cancelled = &c->closed_cancelled;
        if (call_batch(c, &closed, 1, RPC_EVENT_CLOSED) < 0) {
                (void)grpc_call_cancel(c->call, NULL);
                return;
        }
        call_find_method(c);
        if (!c->method) {
                call_end(c, GRPC_STATUS_UNIMPLEMENTED, "unknown method");
                return;
        }
        if (c->has_no_successor) { /* it has to be over soon, so no handler may have it */
                call_end(c, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory: try again later");
                return;
        }
        grpc_op read = { .op = GRPC_OP_RECV_MESSAGE };
        read.data.recv_message.recv_message = &c->request;
        call_send_batch(c, &read, 1, RPC_EVENT_READ);
}

/* Takes a place of the method's class; given back by call_run() or where no worker can be had. */
static bool call_admit(struct rpc_call *c) {
        const struct rpc_server_options *o = &c->server->o;
        atomic_uint *n = call_class(c);

        if (atomic_fetch_add(n, 1) < (c->method->waits ? o->max_waiting : o->max_calls))
                return true;
        atomic_fetch_sub(n, 1);
        return false;
}

static void on_read(struct rpc_call *c, bool ok) {
        if (!ok || !c->request) {
                call_end(c, GRPC_STATUS_INVALID_ARGUMENT, "no request message");
                return;
        }
        if (!call_admit(c)) {
                call_end(c, GRPC_STATUS_RESOURCE_EXHAUSTED,
                         "too many calls are in progress: try again later");
                return;
        }
        c->work.run = call_run;
        call_ref(c); /* the worker's */
        if (rpc_workers_add(&c->server->workers, &c->work) < 0) {
                atomic_fetch_sub(call_class(c), 1);
                call_end(c, GRPC_STATUS_RESOURCE_EXHAUSTED,
                         "the system gives no more threads: try again later");
                call_unref(c);
        }
}

/* The call is over. If the client went away the handler is told, on this thread. */
static void on_closed(struct rpc_call *c) {
        if (!c->closed_cancelled)
                return;
        atomic_store(&c->cancelled, true);

        pthread_mutex_lock(&c->lock);
        void (*wake)(void *) = c->wake;
        void *userdata = c->wake_userdata;
        c->wake = NULL; /* once */
        c->cancel_seen = true;
        c->waking = wake != NULL;
        pthread_mutex_unlock(&c->lock);
        if (!wake)
                return;

        wake(userdata);
        pthread_mutex_lock(&c->lock);
        c->waking = false;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->lock);
}

static void on_written(struct rpc_call *c, bool ok) {
        LOCK_SCOPE(&c->lock);

        c->write = ok ? RPC_WRITE_DONE : RPC_WRITE_FAILED;
        pthread_cond_broadcast(&c->changed);
}

void rpc_call_on_event(struct rpc_tag *tag, bool ok) {
        assert(tag->magic == RPC_TAG_MAGIC);
        struct rpc_call *c = tag->call;

        switch (tag->event) {
        case RPC_EVENT_NEW:
                on_new(c, ok);
                break;
        case RPC_EVENT_READ:
                on_read(c, ok);
                break;
        case RPC_EVENT_CLOSED:
                on_closed(c);
                break;
        case RPC_EVENT_WRITTEN:
                on_written(c, ok);
                break;
        case RPC_EVENT_SENT: /* only the reference below is left */
        case _RPC_EVENT_MAX:
                break;
        }
        call_unref(c); /* the tag's */
}

/* ---- for handlers ---- */

int rpc_call_reply(struct rpc_call *c, const ProtobufCMessage *msg, struct error *e) {
        assert(!c->method->streams);
        if (c->reply)
                return error_errno(e, EALREADY, "%s replied twice", c->method->path);
        c->reply = rpc_message_pack(msg);
        return 0;
}

/* Until gRPC took the message or the call is over; core ends a write that nobody reads when the call is. */
static bool call_wait_written(struct rpc_call *c) {
        LOCK_SCOPE(&c->lock);

        while (c->write == RPC_WRITE_PENDING)
                pthread_cond_wait(&c->changed, &c->lock);
        return c->write == RPC_WRITE_DONE;
}

int rpc_call_send(struct rpc_call *c, const ProtobufCMessage *msg, struct error *e) {
        grpc_op ops[2] = { 0 };
        size_t n = 0;

        assert(c->method->streams);
        if (rpc_call_cancelled(c))
                return error_set(e, ERROR_CANCELLED, "the client is gone");
        if (!c->headers_sent)
                ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
        c->headers_sent = true;
        c->reply = rpc_message_pack(msg);
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = c->reply;

        pthread_mutex_lock(&c->lock);
        c->write = RPC_WRITE_PENDING;
        pthread_mutex_unlock(&c->lock);
        bool sent = call_batch(c, ops, n, RPC_EVENT_WRITTEN) >= 0 && call_wait_written(c);
        grpc_byte_buffer_destroy(c->reply);
        c->reply = NULL;
        return sent ? 0 : error_set(e, ERROR_CANCELLED, "the client is gone");
}

bool rpc_call_cancelled(const struct rpc_call *c) {
        return atomic_load(&c->cancelled);
}

int64_t rpc_call_ms_left(const struct rpc_call *c) {
        gpr_timespec deadline = gpr_convert_clock_type(c->details.deadline, GPR_CLOCK_MONOTONIC);

        if (gpr_time_cmp(deadline, gpr_inf_future(GPR_CLOCK_MONOTONIC)) == 0)
                return INT64_MAX;
        gpr_timespec left = gpr_time_sub(deadline, gpr_now(GPR_CLOCK_MONOTONIC));
        int64_t ms = left.tv_sec * 1000 + left.tv_nsec / 1000000;
        return ms > 0 ? ms : 0;
}

void rpc_call_on_cancel(struct rpc_call *c, void (*wake)(void *userdata), void *userdata) {
        pthread_mutex_lock(&c->lock);
        while (c->waking) /* @userdata of the old one may be freed after this */
                pthread_cond_wait(&c->changed, &c->lock);
        bool late = c->cancel_seen;
        c->wake = late ? NULL : wake;
        c->wake_userdata = userdata;
        pthread_mutex_unlock(&c->lock);
        if (late && wake)
                wake(userdata);
}
