/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc_client: blocking calls, unary and server-streaming, over the gRPC core C API. One client may be used by
 * many threads at once: every call has its own completion queue.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <protobuf-c/protobuf-c.h>

struct rpc_client;

/* @socket_path: of a unix socket. Does not connect yet. */
int rpc_client_new(struct rpc_client **ret, const char *socket_path, struct error *e);
void rpc_client_free(struct rpc_client *c);
DEFINE_CLEANUP(struct rpc_client *, rpc_client_free);

/*
 * Sends @req and waits at most @timeout_ms (-1: no deadline) for the answer. Does not wait for the socket to
 * appear: a daemon that is not there is ERROR_UNAVAILABLE at once. *ret is to be freed with
 * protobuf_c_message_free_unpacked(). A failed call fills @e with the server's kind and text.
 */
int rpc_client_call(struct rpc_client *c, const char *method, const ProtobufCMessage *req,
                    const ProtobufCMessageDescriptor *type, int timeout_ms, ProtobufCMessage **ret,
                    struct error *e);

/* For each message of the stream @on_message runs (on this thread; it does not own the message); a negative
 * return cancels the call and is returned. 0 when the server closed the stream with OK. */
typedef int rpc_on_message(const ProtobufCMessage *msg, void *userdata, struct error *e);
int rpc_client_stream(struct rpc_client *c, const char *method, const ProtobufCMessage *req,
                      const ProtobufCMessageDescriptor *type, int timeout_ms, rpc_on_message *on_message,
                      void *userdata, struct error *e);
