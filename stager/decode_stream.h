/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_stream: a compressed stream as the bytes it stands for, in order and in bounded memory. Where the
 * ends of its frames are known ahead (decode_scan.h), several of them are decoded at once; the result is the
 * same. The input is hostile. One thread at a time.
 */
#pragma once

#include "stager/decode_pool.h"

struct decode_source {
        /* The next compressed bytes, valid until the next call: 1; 0 at the end; a negative errno. */
        int (*next)(void *userdata, const void **ret, size_t *ret_len, struct error *e);
        void *userdata;
};

struct decode_stream;
/* @pool may be NULL. @out: @size bytes that the stream may use for output; the caller's. */
int decode_stream_new(struct decode_stream **ret, enum plan_codec codec, const struct decode_source *source,
                      struct decode_pool *pool, void *out, size_t size, struct error *e);
void decode_stream_free(struct decode_stream *s);
DEFINE_CLEANUP(struct decode_stream *, decode_stream_free);
/* The next decoded bytes, valid until the next call: 1; 0: the stream has ended well; a negative errno:
 * the source's, or ERROR_INVALID: damaged. */
int decode_stream_next(struct decode_stream *s, const void **ret, size_t *ret_len, struct error *e);
