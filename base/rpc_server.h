/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc_server: gRPC methods, unary and server-streaming, on a unix socket, over the gRPC core C API.
 *
 * One thread owns the completion queue and never runs user code. Handlers run on worker threads that are
 * made on demand, so a handler may block. Methods that wait for long (`waits`) have max_waiting places of
 * their own and cannot starve the others, which have max_calls; beyond that a call is refused with
 * UNAVAILABLE.
 *
 *   rpc_server_new -> rpc_server_start -> … -> rpc_server_free
 *
 * rpc_server_free() stops accepting, lets running calls finish for the grace time, then cancels what is left
 * and joins every thread. Observes modelstage_rpc_seconds for every call.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <grpc/status.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

struct rpc_server;
struct rpc_call;

/*
 * @req is of the method's request type and lives until the handler returns. A unary handler that returns 0
 * has stored its reply with rpc_call_reply(); a streaming one has sent zero or more with rpc_call_send(). On
 * failure it returns a negative errno and has filled @e: the call ends with rpc_status_of_error() and its
 * text.
 */
typedef int rpc_handler(struct rpc_call *call, const ProtobufCMessage *req, void *userdata, struct error *e);

struct rpc_method {
        const char *path;                          /* "/package.Service/Method" */
        const ProtobufCMessageDescriptor *request; /* type to unpack into */
        rpc_handler *handler;
        bool streams; /* server-streaming */
        bool waits;   /* may block for long */
};

struct rpc_service {                      /* several on one socket, each with its own userdata */
        const struct rpc_method *methods; /* ends with a NULL path; kept by reference */
        void *userdata;
};

struct rpc_server_options {
        const char *socket_path; /* must fit in sun_path; copied; the lock file ".<name>.lock" is beside it */
        const struct rpc_service *services; /* copied */
        size_t n_services;
        unsigned max_calls;   /* calls that do not wait; 0: 256 */
        unsigned max_waiting; /* 0: 256 */
        unsigned max_message; /* bytes per request; 0: 4 MiB */
        unsigned grace_ms;
};

/* Takes the path: ERROR_PRECONDITION if another process serves it or if what is there is no socket. */
int rpc_server_new(struct rpc_server **ret, const struct rpc_server_options *o, struct error *e);
/* From now on calls are answered. After a failure the server can only be freed. */
int rpc_server_start(struct rpc_server *s, struct error *e);
/* How long ago the queue's thread showed that it runs; while it does, not longer than PULSE_MS (pulse.h). */
int64_t rpc_server_silent_ms(const struct rpc_server *s);
void rpc_server_free(struct rpc_server *s);
DEFINE_CLEANUP(struct rpc_server *, rpc_server_free);

/* Packs @msg as the unary reply; does not take it over. 0, or -EALREADY if called twice (then fills @e). */
int rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *msg, struct error *e);
/* Sends @msg on a stream and waits until gRPC took it. ERROR_CANCELLED once the client is gone. */
int rpc_call_send(struct rpc_call *call, const ProtobufCMessage *msg, struct error *e);
/* True once the client went away or cancelled, the deadline passed, or the server stops and its grace time is
 * over. Poll it in long handlers. */
bool rpc_call_cancelled(const struct rpc_call *call);
/* Time left until the client's deadline; INT64_MAX if it gave none, 0 if it has passed. */
int64_t rpc_call_ms_left(const struct rpc_call *call);
/* Runs @wake(@userdata) once when the call is cancelled, so that a handler sleeping on a condition can be
 * woken: from the queue's thread, so it must not block; at once, on this thread, if the call is cancelled
 * already. NULL removes it and waits for one that runs. Do not hold a lock that @wake takes, here and there.
 */
void rpc_call_on_cancel(struct rpc_call *call, void (*wake)(void *userdata), void *userdata);

/* The two tables between our kinds and gRPC's codes; there and back gives the same kind, unknown codes are
 * ERROR_INTERNAL. */
grpc_status_code rpc_status_of_error(enum error_kind kind);
enum error_kind rpc_error_of_status(grpc_status_code status);
