/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What rpc_server.c (life cycle, queue thread) and rpc_call.c (one call) share. Private to rpc_*.
 *
 *   socket --> rpc_listener.c (thread) --> gRPC --> completion queue --> rpc_server.c (the queue's thread)
 *                                           ^                               |  rpc_call_on_event()
 *                                           |                               v
 *                                           +---- batches ---- rpc_call.c, one object a call
 *                                                                           |  rpc_workers_add()
 *                                                                           v
 *                                                              rpc_workers.c (threads): the handler
 *
 * A call is handed on: to a worker when its request is here, back to the queue's thread when the handler has
 * returned. Fields are touched by who has it, unless they say otherwise.
 */
#pragma once

#include "base/pulse.h"
#include "base/rpc_listener.h"
#include "base/rpc_server.h"
#include "base/rpc_workers.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>

enum rpc_event {
        RPC_EVENT_NEW,     /* a call arrived, or the server stops */
        RPC_EVENT_READ,    /* its request is here */
        RPC_EVENT_CLOSED,  /* it is over, in whichever way */
        RPC_EVENT_WRITTEN, /* gRPC took a message of a stream */
        RPC_EVENT_SENT,    /* the status is out */
        _RPC_EVENT_MAX,
};

#define RPC_TAG_MAGIC 0x72706331u

struct rpc_tag { /* what gRPC gets as `void *tag`; lives in the call, so it needs no allocation */
        unsigned magic;
        enum rpc_event event;
        struct rpc_call *call;
};

struct rpc_call {
        struct rpc_server *server;
        struct rpc_tag tags[_RPC_EVENT_MAX];
        struct rpc_work work;
        atomic_uint refs; /* one a tag in flight, one while a worker has it */

        grpc_call *call; /* NULL until EVENT_NEW */
        grpc_call_details details;
        grpc_metadata_array metadata;
        uint64_t started_ns; /* monotonic; for the metric */

        const struct rpc_method *method; /* NULL: unknown */
        void *userdata;                  /* of the method's service */
        grpc_byte_buffer *request;
        grpc_byte_buffer *reply; /* of a unary call, or the message of a stream in flight */
        bool headers_sent;       /* of a stream; its worker only */
        int closed_cancelled;    /* written by gRPC before EVENT_CLOSED */
        atomic_bool cancelled;
        bool has_no_successor; /* so this object waits for a call again when its own is over */

        pthread_mutex_t lock; /* guards the rest */
        pthread_cond_t changed;
        enum { RPC_WRITE_NONE, RPC_WRITE_PENDING, RPC_WRITE_DONE, RPC_WRITE_FAILED } write;
        void (*wake)(void *userdata);
        void *wake_userdata;
        bool waking;      /* the queue's thread is in wake() */
        bool cancel_seen; /* the time to call wake() has come */
};

struct rpc_server {
        struct rpc_server_options o; /* with the defaults filled in */
        grpc_server *server;
        grpc_completion_queue *cq;
        struct rpc_listener *listener;
        struct rpc_workers workers;
        atomic_uint n_calls, n_waiting; /* with a worker, by class */

        pthread_t thread;   /* of the completion queue */
        struct pulse pulse; /* its */
        bool running;       /* the thread is to be joined */

        pthread_mutex_t lock; /* guards the rest */
        pthread_cond_t drained;
        bool shutdown_seen; /* gRPC takes no new calls any more */
        unsigned n_live;    /* struct rpc_calls, the armed ones too */

        struct rpc_service services[]; /* a copy; what they point to is the caller's */
};

/* Counts calls that exist; the queue must outlive them. */
void rpc_server_call_born(struct rpc_server *s);
void rpc_server_call_gone(struct rpc_server *s);

/* Arms one grpc_server_request_call(). 0, -ENOMEM, -EIO. */
int rpc_call_arm(struct rpc_server *s);
/* On the queue's thread. */
void rpc_call_on_event(struct rpc_tag *tag, bool ok);
