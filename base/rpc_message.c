/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What both ends of a call need: packing without a copy, unpacking with the checks that protobuf-c leaves out
 * (strings are UTF-8 and have no NUL), and the two tables between our error kinds and gRPC's codes.
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

/* The rest of a packed message. */
struct wire {
        const uint8_t *at, *end;
};

static bool wire_varint(uint64_t *ret, struct wire *w) {
        uint64_t value = 0;

        for (unsigned shift = 0; shift < 64 && w->at < w->end; shift += 7) {
                uint8_t byte = *w->at++;

                value |= (uint64_t)(byte & 0x7f) << shift;
                if (byte < 0x80) {
                        *ret = value;
                        return true;
                }
        }
        return false;
}

static bool wire_skip(struct wire *w, uint64_t n) {
        if (n > (uint64_t)(w->end - w->at))
                return false;
        w->at += n;
        return true;
}

/* A value of that wire type; *ret is the inside of a length-delimited one, otherwise empty. */
static bool wire_value(struct wire *ret, struct wire *w, unsigned type) {
        uint64_t n = 0;

        *ret = (struct wire){ w->at, w->at };
        switch (type) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
                return wire_varint(&n, w);
        case PROTOBUF_C_WIRE_TYPE_64BIT:
                return wire_skip(w, 8);
        case PROTOBUF_C_WIRE_TYPE_32BIT:
                return wire_skip(w, 4);
        case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
                if (!wire_varint(&n, w))
                        return false;
                ret->at = w->at;
                if (!wire_skip(w, n))
                        return false;
                ret->end = w->at;
                return true;
        default:
                return false; /* groups, which proto3 does not have */
        }
}

/*
 * Whether all strings are UTF-8 without NUL. The packed form is looked at, because a string that was unpacked
 * has lost its length: what is behind a NUL would be gone without a trace, and another name be served than
 * the one that was asked for. As deep as the schema, which has no recursive types.
 */
static bool strings_are_text(const ProtobufCMessageDescriptor *type, struct wire w) {
        while (w.at < w.end) {
                const ProtobufCFieldDescriptor *field;
                struct wire in;
                uint64_t tag;

                if (!wire_varint(&tag, &w) || tag > UINT32_MAX || !wire_value(&in, &w, tag & 7))
                        return false;
                field = protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
                if (!field)
                        continue;

                size_t len = (size_t)(in.end - in.at);
                if (field->type == PROTOBUF_C_TYPE_STRING &&
                    (memchr(in.at, '\0', len) || !text_is_utf8((const char *)in.at, len)))
                        return false;
                if (field->type == PROTOBUF_C_TYPE_MESSAGE && !strings_are_text(field->descriptor, in))
                        return false;
        }
        return true;
}

ProtobufCMessage *rpc_message_unpack(grpc_byte_buffer *b, const ProtobufCMessageDescriptor *type) {
        grpc_byte_buffer_reader reader;

        if (!b || !grpc_byte_buffer_reader_init(&reader, b))
                return NULL;

        grpc_slice flat = grpc_byte_buffer_reader_readall(&reader);
        struct wire w = { GRPC_SLICE_START_PTR(flat), GRPC_SLICE_END_PTR(flat) };
        ProtobufCMessage *m = NULL;

        if (strings_are_text(type, w))
                m = protobuf_c_message_unpack(type, NULL, GRPC_SLICE_LENGTH(flat),
                                              GRPC_SLICE_START_PTR(flat));
        grpc_slice_unref(flat);
        grpc_byte_buffer_reader_destroy(&reader);
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
