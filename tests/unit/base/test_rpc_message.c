/* SPDX-License-Identifier: Apache-2.0 */
/* Messages as they lie on the wire, where protobuf-c is less strict than proto3. */
#include "tests/unit/test.h"

#include "base/rpc_message.h"
#include "proto/modelstage.pb-c.h"

#include <stdbool.h>

#define BYTES(text) text, sizeof text - 1

static ProtobufCMessage *unpack(const char *bytes, size_t len) {
        grpc_slice slice = grpc_slice_from_copied_buffer(bytes, len);
        _cleanup_(grpc_byte_buffer_destroyp) grpc_byte_buffer *b = grpc_raw_byte_buffer_create(&slice, 1);

        grpc_slice_unref(slice);
        return rpc_message_unpack(b, &modelstage__v1__warm_request__descriptor);
}

/* Of a WarmRequest: 0x0a is its reference, 0x12 its selection; in that, 0x0a is the root, 0x12 an include. */
static void test_strings_that_would_be_cut_or_are_no_text_are_refused(void **state) {
        static const struct {
                const char *name, *bytes;
                size_t len;
                bool good;
        } cases[] = {
                { "a string",
                  BYTES("\x0a\x03"
                        "a/b"),
                  true },
                { "an empty string", BYTES("\x0a\x00"), true },
                { "nothing", BYTES(""), true },
                { "a NUL in the middle",
                  BYTES("\x0a\x03"
                        "a\0b"),
                  false },
                { "a NUL at the end",
                  BYTES("\x0a\x02"
                        "a\0"),
                  false },
                { "only a NUL", BYTES("\x0a\x01\0"), false },
                { "one that a later one replaces",
                  BYTES("\x0a\x02"
                        "a\0\x0a\x01"
                        "b"),
                  false },
                { "a nested one",
                  BYTES("\x12\x04\x0a\x02"
                        "a\0"),
                  false },
                { "the second of a list",
                  BYTES("\x12\x07\x12\x01"
                        "a\x12\x02"
                        "b\0"),
                  false },
                { "a nested good one",
                  BYTES("\x12\x03\x12\x01"
                        "a"),
                  true },
                { "no UTF-8", BYTES("\x0a\x01\xff"), false },
                { "no UTF-8, nested", BYTES("\x12\x03\x12\x01\xff"), false },
                { "a field that is not known",
                  BYTES("\xfa\x7f\x02\0\0"
                        "\xf9\x7f"
                        "12345678\xfd\x7f"
                        "1234\xf8\x7f\x80\x01\x0a\x01"
                        "a"),
                  true },
                { "a bad one behind it",
                  BYTES("\xfa\x7f\x02\0\0"
                        "\xf8\x7f\x80\x01\x0a\x01\0"),
                  false },
                { "one that breaks off",
                  BYTES("\x0a\x03"
                        "a"),
                  false },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                ProtobufCMessage *m = unpack(cases[i].bytes, cases[i].len);

                if ((m != NULL) != cases[i].good)
                        fail_msg("%s was %s", cases[i].name, m ? "accepted" : "refused");
                if (m)
                        protobuf_c_message_free_unpacked(m, NULL);
        }
}

static int set_up(void **state) {
        (void)state;
        rpc_library_init();
        return 0;
}

static int tear_down(void **state) {
        (void)state;
        grpc_shutdown();
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_strings_that_would_be_cut_or_are_no_text_are_refused),
        };

        return cmocka_run_group_tests_name("base/rpc_message", tests, set_up, tear_down);
}
