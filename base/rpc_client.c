/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocking calls. Every call has a completion queue of its own and plucks its tags from it in the order of
 * the code, so there is no state machine and no thread of ours. Waiting without a timeout is safe: the
 * deadline lives in the call; giving up earlier would leave gRPC writing into our stack.
 *
 *   unary    one batch: headers, request, end; headers, answer, status
 *   stream   status (its tag comes last) | headers, request, end, headers | one message, again and again
 *
 * Whatever happens, every batch that was started is plucked before the exchange is taken down; in a stream a
 * failure of ours cancels the call first, so that this does not take long.
 */
#include "base/rpc_client.h"

#include "base/rpc_message.h"
#include "base/rpc_server.h"

#include <grpc/grpc_security.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ANSWER (64 * 1024 * 1024) /* bytes of one message; Inspect's lists are cut to less */
/* A daemon that restarts is found again soon. MIN_RECONNECT is how long one attempt may take. */
#define RECONNECT_FIRST_MS 100
#define RECONNECT_MAX_MS 1000
#define CONNECT_TIMEOUT_MS 5000

struct rpc_client {
        grpc_channel *channel;
        char path[PATH_MAX];
};

/* One call; lives on the stack of who waits for it. The tags are the addresses of the fields they fill. */
struct exchange {
        struct rpc_client *client;
        const char *method;
        int timeout_ms;
        grpc_completion_queue *cq;
        grpc_call *call;
        grpc_byte_buffer *out, *in;
        grpc_metadata_array initial, trailing;
        grpc_status_code status;
        grpc_slice details;
};

int rpc_client_new(struct rpc_client **ret, const char *socket_path, struct error *e) {
        grpc_arg args[] = {
                /* Else two channels to one path share a connection, and its limits. */
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
                  .value.integer = 1 },
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                  .value.integer = MAX_ANSWER },
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *)GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                  .value.integer = RECONNECT_FIRST_MS },
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *)GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
                  .value.integer = RECONNECT_MAX_MS },
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *)GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                  .value.integer = CONNECT_TIMEOUT_MS },
                /* A proxy from the environment has no business on a local socket. */
                { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_HTTP_PROXY, .value.integer = 0 },
        };
        char target[PATH_MAX + sizeof "unix:"];

        if (strlen(socket_path) >= PATH_MAX)
                return error_set(e, ERROR_INVALID, "the socket path is too long");
        struct rpc_client *c = calloc(1, sizeof *c);
        if (!c)
                return error_errno(e, ENOMEM, "cannot talk to %s", socket_path);
        memcpy(c->path, socket_path, strlen(socket_path) + 1);
        snprintf(target, sizeof target, "unix:%s", socket_path);

        rpc_library_init();
        grpc_channel_credentials *creds = grpc_insecure_credentials_create();
        c->channel =
            grpc_channel_create(target, creds, &(grpc_channel_args){ sizeof args / sizeof *args, args });
        grpc_channel_credentials_release(creds);
        *ret = c;
        return 0;
}

void rpc_client_free(struct rpc_client *c) {
        if (!c)
                return;
        grpc_channel_destroy(c->channel);
        grpc_shutdown();
        free(c);
}

static void exchange_init(struct exchange *x, struct rpc_client *c, const char *method,
                          const ProtobufCMessage *req, int timeout_ms) {
        gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
        grpc_slice path = grpc_slice_from_copied_string(method);

        if (timeout_ms >= 0)
                deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                        gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
        *x = (struct exchange){ .client = c, .method = method, .timeout_ms = timeout_ms };
        x->cq = grpc_completion_queue_create_for_pluck(NULL);
        x->call = grpc_channel_create_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, x->cq, path, NULL,
                                           deadline, NULL);
        grpc_slice_unref(path);
        x->out = rpc_message_pack(req);
        grpc_metadata_array_init(&x->initial);
        grpc_metadata_array_init(&x->trailing);
        x->status = GRPC_STATUS_UNKNOWN;
        x->details = grpc_empty_slice();
}

/* Every tag has been plucked: the queue is empty and can be shut down. */
static void exchange_done(struct exchange *x) {
        grpc_slice_unref(x->details);
        grpc_metadata_array_destroy(&x->initial);
        grpc_metadata_array_destroy(&x->trailing);
        grpc_byte_buffer_destroy(x->in); /* accepts NULL */
        grpc_byte_buffer_destroy(x->out);
        grpc_call_unref(x->call);
        grpc_completion_queue_shutdown(x->cq);
        while (grpc_completion_queue_pluck(x->cq, NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
               GRPC_QUEUE_SHUTDOWN)
                ;
        grpc_completion_queue_destroy(x->cq);
}

/* @tag comes back when all of the batch is done; see exchange_pluck(). */
static int exchange_batch(struct exchange *x, const grpc_op *ops, size_t n, void *tag, struct error *e) {
        if (grpc_call_start_batch(x->call, ops, n, tag, NULL) != GRPC_CALL_OK)
                return error_set(e, ERROR_INTERNAL, "gRPC refuses to start %s", x->method);
        return 0;
}

static void exchange_pluck(struct exchange *x, void *tag) {
        (void)grpc_completion_queue_pluck(x->cq, tag, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
}

/* Without WAIT_FOR_READY: a socket that is not there fails the call at once. */
static size_t ops_of_request(grpc_op *ops, struct exchange *x) {
        ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
        ops[1].op = GRPC_OP_SEND_MESSAGE;
        ops[1].data.send_message.send_message = x->out;
        ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
        ops[3].data.recv_initial_metadata.recv_initial_metadata = &x->initial;
        return 4;
}

static grpc_op op_of_status(struct exchange *x) {
        grpc_op op = { .op = GRPC_OP_RECV_STATUS_ON_CLIENT };

        op.data.recv_status_on_client.trailing_metadata = &x->trailing;
        op.data.recv_status_on_client.status = &x->status;
        op.data.recv_status_on_client.status_details = &x->details;
        return op;
}

static grpc_op op_of_message(struct exchange *x) {
        grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };

        op.data.recv_message.recv_message = &x->in;
        return op;
}

/* What became of the call. UNAVAILABLE is the server's own word only while we are connected to it; the text
 * that gRPC makes for the rest tells a user nothing. */
static int exchange_result(struct exchange *x, struct error *e) {
        const char *text = (const char *)GRPC_SLICE_START_PTR(x->details);
        int len = (int)GRPC_SLICE_LENGTH(x->details);

        if (x->status == GRPC_STATUS_OK)
                return 0;
        if (x->status == GRPC_STATUS_UNAVAILABLE &&
            grpc_channel_check_connectivity_state(x->client->channel, 0) != GRPC_CHANNEL_READY)
                return error_set(e, ERROR_UNAVAILABLE,
                                 "cannot reach the daemon at %s: is modelstaged running?", x->client->path);
        if (x->status == GRPC_STATUS_DEADLINE_EXCEEDED &&
            grpc_slice_str_cmp(x->details, "Deadline Exceeded") == 0)
                return error_set(e, ERROR_TIMEOUT, "the daemon at %s did not answer within %d ms",
                                 x->client->path, x->timeout_ms);
        if (len == 0)
                return error_set(e, rpc_error_of_status(x->status), "%s failed: %s", x->method,
                                 rpc_status_name(x->status));
        return error_set(e, rpc_error_of_status(x->status), "%.*s", len, text);
}

static int exchange_unpack(struct exchange *x, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret,
                           struct error *e) {
        ProtobufCMessage *m = rpc_message_unpack(x->in, type);

        if (!m)
                return error_set(e, ERROR_INTERNAL, "the daemon's answer to %s is malformed: not a %s",
                                 x->method, type->name);
        *ret = m;
        return 0;
}

int rpc_client_call(struct rpc_client *c, const char *method, const ProtobufCMessage *req,
                    const ProtobufCMessageDescriptor *type, int timeout_ms, ProtobufCMessage **ret,
                    struct error *e) {
        struct exchange x;
        grpc_op ops[6] = { 0 };

        exchange_init(&x, c, method, req, timeout_ms);
        size_t n = ops_of_request(ops, &x);
        ops[n++] = op_of_message(&x);
        ops[n++] = op_of_status(&x);
        int r = exchange_batch(&x, ops, n, &x.status, e);
        if (r >= 0) {
                exchange_pluck(&x, &x.status);
                r = exchange_result(&x, e);
        }
        if (r >= 0)
                r = exchange_unpack(&x, type, ret, e);
        exchange_done(&x);
        return r;
}

/* The next message of a stream in x->in; NULL there: no more. */
static int stream_next(struct exchange *x, struct error *e) {
        grpc_op op = op_of_message(x);

        grpc_byte_buffer_destroy(x->in);
        x->in = NULL;
        int r = exchange_batch(x, &op, 1, &x->in, e);
        if (r >= 0)
                exchange_pluck(x, &x->in);
        return r;
}

/* Until the server has no more messages, or one cannot be read, or @on_message wants no more. */
static int stream_read(struct exchange *x, const ProtobufCMessageDescriptor *type, rpc_on_message *on_message,
                       void *userdata, struct error *e) {
        for (;;) {
                ProtobufCMessage *m = NULL;
                int r = stream_next(x, e);

                if (r < 0 || !x->in)
                        return r;
                r = exchange_unpack(x, type, &m, e);
                if (r < 0)
                        return r;
                r = on_message(m, userdata, e);
                protobuf_c_message_free_unpacked(m, NULL);
                if (r < 0)
                        return r;
        }
}

int rpc_client_stream(struct rpc_client *c, const char *method, const ProtobufCMessage *req,
                      const ProtobufCMessageDescriptor *type, int timeout_ms, rpc_on_message *on_message,
                      void *userdata, struct error *e) {
        struct exchange x;
        grpc_op ops[4] = { 0 }, status;

        exchange_init(&x, c, method, req, timeout_ms);
        status = op_of_status(&x);
        int r = exchange_batch(&x, &status, 1, &x.status, e);
        if (r < 0) {
                exchange_done(&x);
                return r;
        }
        r = exchange_batch(&x, ops, ops_of_request(ops, &x), &x.out, e);
        bool started = r >= 0;
        if (started)
                r = stream_read(&x, type, on_message, userdata, e);
        if (r < 0)
                (void)grpc_call_cancel(x.call, NULL);
        if (started)
                exchange_pluck(&x, &x.out);
        exchange_pluck(&x, &x.status);
        if (r >= 0)
                r = exchange_result(&x, e);
        exchange_done(&x);
        return r;
}
