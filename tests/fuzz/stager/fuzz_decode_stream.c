/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte chooses codec and piece size, the rest is the stream. Several threads make of it what one
 * does. */
#include "stager/decode_stream.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define OUTPUT_MAX ((size_t)4 << 20) /* a bomb is the caller's to stop */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct pieces {
        const uint8_t *data;
        size_t size, step;
};

struct outcome {
        int result;
        size_t len;
        uint64_t sum; /* of the output, position-dependent */
};

static int next(void *userdata, const void **ret, size_t *ret_len, struct error *e) {
        struct pieces *p = userdata;
        size_t n = p->step < p->size ? p->step : p->size;

        (void)e;
        *ret = p->data;
        *ret_len = n;
        p->data += n;
        p->size -= n;
        return n > 0;
}

static struct outcome decode(enum plan_codec codec, struct decode_pool *pool, struct pieces p) {
        const struct decode_source source = { .next = next, .userdata = &p };
        _cleanup_(decode_stream_freep) struct decode_stream *s = NULL;
        static unsigned char buffer[65536];
        struct outcome o = { 0, 0, 0 };
        struct error e;
        const void *out;
        size_t len;

        o.result = decode_stream_new(&s, codec, &source, pool, buffer, sizeof buffer, &e);
        assert(o.result == 0);
        while (o.len < OUTPUT_MAX && (o.result = decode_stream_next(s, &out, &len, &e)) > 0) {
                assert(len > 0);
                for (size_t i = 0; i < len; i++)
                        o.sum = o.sum * 31 + ((const unsigned char *)out)[i];
                o.len += len;
        }
        return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static struct decode_pool *pool; /* for all inputs */
        struct error e;

        if (!pool && decode_pool_new(&pool, 3, &e) < 0)
                return 0;
        if (size == 0)
                return 0;
        enum plan_codec codec = data[0] & 1 ? PLAN_CODEC_ZSTD : PLAN_CODEC_GZIP;
        struct pieces p = { data + 1, size - 1, 1 + (size_t)(data[0] >> 1) * 50 };
        struct outcome at_once = decode(codec, pool, p), in_order = decode(codec, NULL, p);

        if (at_once.len >= OUTPUT_MAX || in_order.len >= OUTPUT_MAX)
                return 0;
        /* libzstd is stricter with pieces than with a whole frame that is malformed in some ways. */
        assert(at_once.result == in_order.result || codec == PLAN_CODEC_ZSTD);
        if (at_once.result == 0 && in_order.result == 0)
                assert(at_once.len == in_order.len && at_once.sum == in_order.sum);
        return 0;
}
