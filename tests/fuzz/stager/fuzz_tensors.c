/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a safetensors and as a GGUF file: an error or a summary whose parts add up, and no more read
 * than allowed. */
#include <assert.h>
#include <string.h>

#include "stager/tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct memory {
        const uint8_t *data;
        size_t len, was_read;
};

static ssize_t read_memory(void *userdata, void *data, size_t len, uint64_t offset) {
        struct memory *m = userdata;

        assert(offset <= m->len && len <= m->len - offset);
        memcpy(data, m->data + offset, len);
        m->was_read += len;
        return (ssize_t)len;
}

static void check(enum tensors_format format, const uint8_t *data, size_t size) {
        struct memory m = { data, size, 0 };
        struct tensors_source source = { .read = read_memory, .userdata = &m, .size = size };
        struct tensors_summary t;
        struct error e = { 0 };
        uint64_t budget = 1 << 20, tensors = 0, parameters = 0;

        if (tensors_read(&t, format, &source, &budget, &e) < 0) {
                assert(e.kind == ERROR_INVALID && e.text[0]);
                return;
        }
        for (unsigned i = 0; i < TENSORS_DTYPES_MAX; i++) {
                tensors += t.dtypes[i].tensors;
                parameters += t.dtypes[i].parameters;
        }
        assert(tensors == t.all.tensors && parameters == t.all.parameters);
        assert(m.was_read + budget == 1 << 20);
        tensors_summary_clear(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        check(TENSORS_SAFETENSORS, data, size);
        check(TENSORS_GGUF, data, size);
        return 0;
}
