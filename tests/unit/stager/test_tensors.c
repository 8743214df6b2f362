/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "base/buf.h"
#include "stager/tensors.h"

struct memory {
        const char *data;
        size_t len;
};

static ssize_t read_memory(void *userdata, void *data, size_t len, uint64_t offset) {
        const struct memory *m = userdata;

        if (offset >= m->len)
                return 0;
        if (len > m->len - offset)
                len = m->len - (size_t)offset;
        memcpy(data, m->data + offset, len);
        return (ssize_t)len;
}

static int scan(struct tensors_summary *ret, enum tensors_format format, const struct buf *file,
                uint64_t size, struct error *e) {
        struct memory m = { buf_text(file), file->len };
        struct tensors_source source = { .read = read_memory, .userdata = &m, .size = size };
        uint64_t budget = 1 << 20;

        return tensors_read(ret, format, &source, &budget, e);
}

static void put_le(struct buf *b, uint64_t v, unsigned bytes) {
        for (unsigned i = 0; i < bytes; i++) {
                uint8_t byte = (uint8_t)(v >> 8 * i);
                assert_int_equal(buf_append(b, &byte, 1), 0);
        }
}

/* ---- safetensors ---- */

static int scan_safetensors(struct tensors_summary *ret, const char *json, uint64_t data_size,
                            struct error *e) {
        struct buf b = BUF_INIT(1 << 20);
        int r;

        put_le(&b, strlen(json), 8);
        assert_int_equal(buf_append(&b, json, strlen(json)), 0);
        r = scan(ret, TENSORS_SAFETENSORS, &b, b.len + data_size, e);
        buf_free(&b);
        return r;
}

static void test_safetensors_tensors_are_counted_by_type(void **state) {
        static const char json[] =
            "{\"__metadata__\":{\"format\":\"pt\",\"na\\u006de\":\"\\u00e9\"},"
            "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},\n"
            " \"b\" : {\"shape\":[4], \"data_offsets\":[24,32], \"dtype\":\"BF16\"},"
            "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[32,36]},"
            "\"none\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[36,36]}}   ";
        struct tensors_summary t = { 0 };
        struct error e = { 0 };

        (void)state;
        assert_int_equal(scan_safetensors(&t, json, 36, &e), 0);
        assert_int_equal(t.all.tensors, 4);
        assert_int_equal(t.all.parameters, 6 + 4 + 1 + 0);
        assert_string_equal(json_string_value(json_object_get(t.metadata, "format")), "pt");
        assert_string_equal(json_string_value(json_object_get(t.metadata, "name")), "\xc3\xa9");
        tensors_summary_clear(&t);
}

static void test_a_safetensors_header_that_lies_is_refused(void **state) {
        static const struct {
                const char *json;
                uint64_t data_size;
                const char *told;
        } cases[] = {
                { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9,
                  "8 bytes, the file 9" },
                { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, "outside the file" },
                { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "outside the file" },
                { "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "does not follow" },
                { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
                  "too large" },
                { "{\"a\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
                  "does not follow" },
                { "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0,
                  "too large" },
                { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,0]}}", 0, "than a number" },
                { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "without dtype" },
                { "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4,
                  "does not have" },
                { "{\"a\":{\"x\":1}}", 0, "does not have" },
                { "{\"a\":{}", 0, "without dtype" },
                { "{\"a", 0, "ends too early" },
                { "{\"a\\q\":{}}", 0, "bad escape" },
                { "{\"a\\ud8\":{}}", 0, "\\u escape" },
                { "{\"a\n\":{}}", 0, "control character" },
                { "[]", 0, "something else than JSON" },
                { "{} x", 1, "0 bytes, the file 1" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct tensors_summary t = { .format = _TENSORS_FORMAT_MAX };
                struct error e = { 0 };
                assert_int_equal(scan_safetensors(&t, cases[i].json, cases[i].data_size, &e), -EINVAL);
                if (!strstr(e.text, cases[i].told))
                        fail_msg("\"%s\" does not say \"%s\"", e.text, cases[i].told);
                assert_int_equal(t.format, _TENSORS_FORMAT_MAX); /* a failure leaves the result alone */
        }
}

static void test_a_type_newer_than_the_table_is_still_counted(void **state) {
        struct tensors_summary t = { 0 };
        struct error e = { 0 };

        (void)state;
        assert_int_equal(
            scan_safetensors(&t, "{\"a\":{\"dtype\":\"F3_E1M1\",\"shape\":[8],\"data_offsets\":[0,3]}}", 3,
                             &e),
            0);
        assert_int_equal(t.all.parameters, 8);
        assert_int_equal(t.dtypes[TENSORS_DTYPES_MAX - 1].tensors, 1);
        tensors_summary_clear(&t);
}

static void test_an_impossible_header_length_is_refused(void **state) {
        static const uint64_t lengths[] = { 3, 100000001, UINT64_MAX };

        (void)state;
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
                struct buf b = BUF_INIT(1 << 20);
                struct tensors_summary t;
                struct error e = { 0 };
                put_le(&b, lengths[i], 8);
                assert_int_equal(buf_append(&b, "{}", 2), 0);
                assert_int_equal(scan(&t, TENSORS_SAFETENSORS, &b, b.len, &e), -EINVAL);
                assert_non_null(strstr(e.text, "impossible"));
                buf_free(&b);
        }
}

/* ---- GGUF ---- */

static void put_string(struct buf *b, const char *s) {
        put_le(b, strlen(s), 8);
        assert_int_equal(buf_append(b, s, strlen(s)), 0);
}

static void put_start(struct buf *b, uint64_t version, uint64_t tensors, uint64_t pairs) {
        assert_int_equal(buf_append(b, "GGUF", 4), 0);
        put_le(b, version, 4);
        put_le(b, tensors, 8);
        put_le(b, pairs, 8);
}

static void put_tensor(struct buf *b, const char *name, uint64_t rows, uint64_t columns, uint64_t type) {
        put_string(b, name);
        put_le(b, 2, 4);
        put_le(b, columns, 8);
        put_le(b, rows, 8);
        put_le(b, type, 4);
        put_le(b, 0, 8);
}

static void test_gguf_tensors_and_wanted_values_are_read(void **state) {
        struct buf b = BUF_INIT(1 << 20);
        struct tensors_summary t = { 0 };
        struct error e = { 0 };

        (void)state;
        put_start(&b, 3, 2, 4);
        put_string(&b, "general.architecture");
        put_le(&b, 8, 4);
        put_string(&b, "llama");
        put_string(&b, "llama.context_length");
        put_le(&b, 4, 4);
        put_le(&b, 8192, 4);
        put_string(&b, "tokenizer.ggml.tokens"); /* array of strings, skipped */
        put_le(&b, 9, 4);
        put_le(&b, 8, 4);
        put_le(&b, 2, 8);
        put_string(&b, "<s>");
        put_string(&b, "</s>");
        put_string(&b, "tokenizer.ggml.scores"); /* array of floats, skipped */
        put_le(&b, 9, 4);
        put_le(&b, 6, 4);
        put_le(&b, 2, 8);
        put_le(&b, 0, 8);
        put_tensor(&b, "token_embd.weight", 10, 32, 12);
        put_tensor(&b, "norm.weight", 1, 32, 0);
        assert_int_equal(scan(&t, TENSORS_GGUF, &b, b.len + 1000, &e), 0);
        assert_int_equal(t.all.tensors, 2);
        assert_int_equal(t.all.parameters, 320 + 32);
        assert_int_equal(t.dtypes[12].parameters, 320);
        assert_string_equal(json_string_value(json_object_get(t.metadata, "general.architecture")), "llama");
        assert_int_equal(json_integer_value(json_object_get(t.metadata, "llama.context_length")), 8192);
        assert_int_equal(json_object_size(t.metadata), 2);
        tensors_summary_clear(&t);
        buf_free(&b);
}

static void expect_bad_gguf(struct buf *b, const char *told) {
        struct tensors_summary t;
        struct error e = { 0 };

        assert_int_equal(scan(&t, TENSORS_GGUF, b, b->len, &e), -EINVAL);
        if (!strstr(e.text, told))
                fail_msg("\"%s\" does not say \"%s\"", e.text, told);
        buf_free(b);
        b->max = 1 << 20;
}

static void test_a_gguf_header_that_lies_is_refused(void **state) {
        struct buf b = BUF_INIT(1 << 20);

        (void)state;
        assert_int_equal(buf_append(&b, "GGML\3\0\0\0", 8), 0);
        expect_bad_gguf(&b, "does not begin");
        put_start(&b, 1, 0, 0);
        expect_bad_gguf(&b, "version 1");
        put_start(&b, 3, UINT64_MAX, 0);
        expect_bad_gguf(&b, "impossible number");
        put_start(&b, 3, 1, 0);
        expect_bad_gguf(&b, "ends too early");
        put_start(&b, 3, 0, 1); /* a key of 2^64 - 1 bytes */
        put_le(&b, UINT64_MAX, 8);
        expect_bad_gguf(&b, "too long");
        put_start(&b, 3, 0, 1); /* an array of arrays */
        put_string(&b, "x");
        put_le(&b, 9, 4);
        put_le(&b, 9, 4);
        put_le(&b, 1, 8);
        expect_bad_gguf(&b, "unknown type");
        put_start(&b, 3, 0, 1); /* an array beyond the file */
        put_string(&b, "x");
        put_le(&b, 9, 4);
        put_le(&b, 10, 4);
        put_le(&b, 1 << 30, 8);
        expect_bad_gguf(&b, "beyond the end");
        put_start(&b, 3, 1, 0);
        put_tensor(&b, "x", (uint64_t)1 << 40, (uint64_t)1 << 40, 0);
        expect_bad_gguf(&b, "too large");
        buf_free(&b);
}

/* A header that would make us read gigabytes costs what the budget allows, whatever it claims. */
static void test_reading_is_bounded_by_the_budget(void **state) {
        struct buf b = BUF_INIT(4 << 20);
        struct tensors_summary t;
        struct error e = { 0 };
        uint64_t budget = 256 << 10;

        (void)state;
        put_start(&b, 3, 0, 1);
        put_string(&b, "x");
        put_le(&b, 9, 4);
        put_le(&b, 8, 4);
        put_le(&b, 1 << 20, 8);
        for (int i = 0; i < 1 << 16; i++)
                put_string(&b, "abcdefgh");
        struct memory m = { b.data, b.len };
        struct tensors_source source = { .read = read_memory, .userdata = &m, .size = b.len };
        assert_int_equal(tensors_read(&t, TENSORS_GGUF, &source, &budget, &e), -EINVAL);
        assert_non_null(strstr(e.text, "too large to be summarised"));
        assert_true(budget < 64 << 10);
        buf_free(&b);
}

static void test_names_tell_the_format(void **state) {
        (void)state;
        assert_int_equal(tensors_format_of("a/model-00001-of-00002.safetensors"), TENSORS_SAFETENSORS);
        assert_int_equal(tensors_format_of("model.gguf"), TENSORS_GGUF);
        assert_int_equal(tensors_format_of("model.safetensors.index.json"), -1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_safetensors_tensors_are_counted_by_type),
                cmocka_unit_test(test_a_safetensors_header_that_lies_is_refused),
                cmocka_unit_test(test_a_type_newer_than_the_table_is_still_counted),
                cmocka_unit_test(test_an_impossible_header_length_is_refused),
                cmocka_unit_test(test_gguf_tensors_and_wanted_values_are_read),
                cmocka_unit_test(test_a_gguf_header_that_lies_is_refused),
                cmocka_unit_test(test_reading_is_bounded_by_the_budget),
                cmocka_unit_test(test_names_tell_the_format),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
