/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte chooses codec and piece size, the rest is the stream. However it is cut into pieces, the
 * result is the same. */
#include "stager/decode.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define OUTPUT_MAX ((size_t)4 << 20) /* a bomb is the caller's to stop */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
        int result;
        size_t len;
        uint64_t sum; /* of the output, position-dependent */
};

static void add(struct outcome *o, const unsigned char *p, size_t len) {
        for (size_t i = 0; i < len; i++)
                o->sum = o->sum * 31 + p[i];
        o->len += len;
}

static struct outcome decode(enum plan_codec codec, const uint8_t *data, size_t size, size_t step,
                             size_t room) {
        static unsigned char out[65536];
        struct outcome o = { 0, 0, 0 };
        _cleanup_(decoder_freep) struct decoder *d = NULL;
        struct error e;

        o.result = decoder_new(&d, codec, &e);
        assert(o.result == 0);
        while (size > 0 && o.len < OUTPUT_MAX) {
                size_t n = step < size ? step : size, left = n;
                const char *in = (const char *)data;
                int r = 1;

                while ((r == 1 || left > 0) && o.len < OUTPUT_MAX) {
                        size_t len = 0;

                        r = decoder_run(d, &in, &left, out, room, &len, &e);
                        assert(len <= room && left <= n);
                        if (r < 0) {
                                o.result = r;
                                return o;
                        }
                        add(&o, out, len);
                }
                data += n;
                size -= n;
        }
        if (o.len < OUTPUT_MAX)
                o.result = decoder_end(d, &e);
        return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size == 0)
                return 0;
        enum plan_codec codec = data[0] & 1 ? PLAN_CODEC_ZSTD : PLAN_CODEC_GZIP;
        size_t step = 1 + (data[0] >> 1);
        struct outcome whole = decode(codec, data + 1, size - 1, size, sizeof(char[65536]));
        struct outcome pieces = decode(codec, data + 1, size - 1, step, 4096);

        if (whole.len >= OUTPUT_MAX || pieces.len >= OUTPUT_MAX)
                return 0;
        /* libzstd is stricter with pieces than with a whole frame that is malformed in some ways. */
        assert(whole.result == pieces.result || codec == PLAN_CODEC_ZSTD);
        if (whole.result == 0 && pieces.result == 0)
                assert(whole.len == pieces.len && whole.sum == pieces.sum);
        return 0;
}
