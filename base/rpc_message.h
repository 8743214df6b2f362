/* SPDX-License-Identifier: Apache-2.0 */
/* rpc_message: protobuf messages in and out of gRPC's byte buffers, and the names of the status codes.
 * Private to rpc_*. */
#pragma once

#include "base/cleanup.h"

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

DEFINE_CLEANUP(grpc_byte_buffer *, grpc_byte_buffer_destroy);

/* grpc_init() with its log led into ours; each call is paired with a grpc_shutdown(). */
void rpc_library_init(void);

/* The caller destroys the buffer once the batch that sends it is over. */
grpc_byte_buffer *rpc_message_pack(const ProtobufCMessage *msg);

/* NULL: no buffer, not a message of @type, or a string in it that is not UTF-8 or has a NUL. To be freed with
 * protobuf_c_message_free_unpacked(). */
ProtobufCMessage *rpc_message_unpack(grpc_byte_buffer *b, const ProtobufCMessageDescriptor *type);

/* "OK", "NotFound", …; "Unknown" for a number that is no code. */
const char *rpc_status_name(grpc_status_code status);
