/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both ends of a call need: packing without a copy, unpacking with the check that protobuf-c leaves out
 * (proto3 strings are UTF-8), and the two tables between our error kinds and gRPC's codes.
 */
#include "base/rpc_message.h"

#include "base/log.h"
#include "base/rpc_server.h"
#include "base/text.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/support/log.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

static pthread_once_t log_once = PTHREAD_ONCE_INIT;

static void library_log(gpr_log_func_args *args) {
        log_debug(RPC, "grpc: %s", args->message);
}

static void library_set_log(void) {
        gpr_set_log_function(library_log);
}

void rpc_library_init(void) {
        pthread_once(&log_once, library_set_log);
        grpc_init();
}

grpc_byte_buffer *rpc_message_pack(const ProtobufCMessage *msg) {
        grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(msg));

        protobuf_c_message_pack(msg, GRPC_SLICE_START_PTR(slice));
        grpc_byte_buffer *b = grpc_raw_byte_buffer_create(&slice, 1); /* takes a reference of its own */
        grpc_slice_unref(slice);
        return b;
}

static bool message_is_utf8(const ProtobufCMessage *msg);

static bool value_is_utf8(const ProtobufCFieldDescriptor *field, const void *value) {
        if (!value)
                return true;
        if (field->type == PROTOBUF_C_TYPE_STRING)
                return text_is_utf8(value, strlen(value));
        return message_is_utf8(value);
}

/* @field holds pointers: to a string or to a message. */
static bool field_is_utf8(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field) {
        const char *base = (const char *)msg;
        void *const *at = (void *const *)(const void *)(base + field->offset);

        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
            *(const uint32_t *)(const void *)(base + field->quantifier_offset) != field->id)
                return true; /* another member of the union lies there */
        if (field->label != PROTOBUF_C_LABEL_REPEATED)
                return value_is_utf8(field, *at);

        size_t n = *(const size_t *)(const void *)(base + field->quantifier_offset);
        void *const *values = *at;
        for (size_t i = 0; i < n; i++)
                if (!value_is_utf8(field, values[i]))
                        return false;
        return true;
}

/* As deep as the schema, which has no recursive types. */
static bool message_is_utf8(const ProtobufCMessage *msg) {
        for (unsigned i = 0; i < msg->descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &msg->descriptor->fields[i];

                if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
                        continue;
                if (!field_is_utf8(msg, field))
                        return false;
        }
        return true;
}

ProtobufCMessage *rpc_message_unpack(grpc_byte_buffer *b, const ProtobufCMessageDescriptor *type) {
        grpc_byte_buffer_reader reader;

        if (!b || !grpc_byte_buffer_reader_init(&reader, b))
                return NULL;

        grpc_slice flat = grpc_byte_buffer_reader_readall(&reader);
        ProtobufCMessage *m =
            protobuf_c_message_unpack(type, NULL, GRPC_SLICE_LENGTH(flat), GRPC_SLICE_START_PTR(flat));
        grpc_slice_unref(flat);
        grpc_byte_buffer_reader_destroy(&reader);

        if (m && !message_is_utf8(m)) {
                protobuf_c_message_free_unpacked(m, NULL);
                return NULL;
        }
        return m;
}

static const char *const status_names[] = {
        [GRPC_STATUS_OK] = "OK",
        [GRPC_STATUS_CANCELLED] = "Cancelled",
        [GRPC_STATUS_UNKNOWN] = "Unknown",
        [GRPC_STATUS_INVALID_ARGUMENT] = "InvalidArgument",
        [GRPC_STATUS_DEADLINE_EXCEEDED] = "DeadlineExceeded",
        [GRPC_STATUS_NOT_FOUND] = "NotFound",
        [GRPC_STATUS_ALREADY_EXISTS] = "AlreadyExists",
        [GRPC_STATUS_PERMISSION_DENIED] = "PermissionDenied",
        [GRPC_STATUS_RESOURCE_EXHAUSTED] = "ResourceExhausted",
        [GRPC_STATUS_FAILED_PRECONDITION] = "FailedPrecondition",
        [GRPC_STATUS_ABORTED] = "Aborted",
        [GRPC_STATUS_OUT_OF_RANGE] = "OutOfRange",
        [GRPC_STATUS_UNIMPLEMENTED] = "Unimplemented",
        [GRPC_STATUS_INTERNAL] = "Internal",
        [GRPC_STATUS_UNAVAILABLE] = "Unavailable",
        [GRPC_STATUS_DATA_LOSS] = "DataLoss",
        [GRPC_STATUS_UNAUTHENTICATED] = "Unauthenticated",
};
_Static_assert(sizeof status_names / sizeof *status_names == 17, "one name a code");

const char *rpc_status_name(grpc_status_code status) {
        unsigned i = (unsigned)status;

        return i < sizeof status_names / sizeof *status_names ? status_names[i] : "Unknown";
}

static const grpc_status_code status_of_kind[] = {
        [ERROR_NONE] = GRPC_STATUS_OK,
        [ERROR_INVALID] = GRPC_STATUS_INVALID_ARGUMENT,
        [ERROR_NOT_FOUND] = GRPC_STATUS_NOT_FOUND,
        [ERROR_EXISTS] = GRPC_STATUS_ALREADY_EXISTS,
        [ERROR_UNAUTHENTICATED] = GRPC_STATUS_UNAUTHENTICATED,
        [ERROR_DENIED] = GRPC_STATUS_PERMISSION_DENIED,
        [ERROR_NO_SPACE] = GRPC_STATUS_RESOURCE_EXHAUSTED,
        [ERROR_PRECONDITION] = GRPC_STATUS_FAILED_PRECONDITION,
        [ERROR_IN_PROGRESS] = GRPC_STATUS_ABORTED,
        [ERROR_TIMEOUT] = GRPC_STATUS_DEADLINE_EXCEEDED,
        [ERROR_UNAVAILABLE] = GRPC_STATUS_UNAVAILABLE,
        [ERROR_DATA_LOSS] = GRPC_STATUS_DATA_LOSS,
        [ERROR_CANCELLED] = GRPC_STATUS_CANCELLED,
        [ERROR_UNIMPLEMENTED] = GRPC_STATUS_UNIMPLEMENTED,
        [ERROR_INTERNAL] = GRPC_STATUS_INTERNAL,
};
_Static_assert(sizeof status_of_kind / sizeof *status_of_kind == _ERROR_KIND_MAX, "one code a kind");

grpc_status_code rpc_status_of_error(enum error_kind kind) {
        return (unsigned)kind < _ERROR_KIND_MAX ? status_of_kind[kind] : GRPC_STATUS_INTERNAL;
}

enum error_kind rpc_error_of_status(grpc_status_code status) {
        if (status == GRPC_STATUS_OUT_OF_RANGE)
                return ERROR_INVALID;
        for (unsigned kind = 0; kind < _ERROR_KIND_MAX; kind++)
                if (status_of_kind[kind] == status)
                        return (enum error_kind)kind;
        return ERROR_INTERNAL;
}
