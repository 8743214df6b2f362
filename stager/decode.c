/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip by ISA-L: members one after the other make one stream; zeros may follow the last one (tape padding),
 * anything else is an error, as in Go's reader, which is what the other clients of a registry use. zstd by
 * libzstd: frames likewise; the window is capped, because a frame may ask for 2 GiB.
 */
#include "stager/decode.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <zstd.h>

#define ZSTD_WINDOW_LOG_MAX 27 /* 128 MiB, allocated only if a frame asks for it */

struct decoder {
        enum plan_codec codec;
        bool inside;    /* of a member or frame; the input must not end there */
        bool padding;   /* only zeros may follow */
        bool in_header; /* gzip: of the member */
        struct isal_gzip_header header;
        size_t complete;            /* members or frames */
        struct inflate_state *gzip; /* one of these two, by @codec; the other is NULL */
        ZSTD_DCtx *zstd;
};

int decoder_new(struct decoder **ret, enum plan_codec codec, struct error *e) {
        _cleanup_(decoder_freep) struct decoder *d = calloc(1, sizeof *d);

        if (!d)
                return error_errno(e, ENOMEM, "start a decoder");
        d->codec = codec;
        if (codec == PLAN_CODEC_GZIP)
                d->gzip = malloc(sizeof *d->gzip);
        else
                d->zstd = ZSTD_createDCtx();
        if (!d->gzip && !d->zstd)
                return error_errno(e, ENOMEM, "start a decoder");
        if (d->gzip)
                isal_inflate_init(d->gzip);
        else
                ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
        *ret = take_ptr(d);
        return 0;
}

void decoder_free(struct decoder *d) {
        if (!d)
                return;
        free(d->gzip);
        ZSTD_freeDCtx(d->zstd);
        free(d);
}

void decoder_follow(struct decoder *d) {
        d->complete++;
}

/* Between members: skips padding and starts the next one. 1: there is one; 0: no input left. */
static int gzip_enter(struct decoder *d, struct error *e) {
        struct inflate_state *g = d->gzip;

        while (g->avail_in > 0 && d->complete > 0 && *g->next_in == 0) {
                d->padding = true;
                g->next_in++;
                g->avail_in--;
        }
        if (g->avail_in == 0)
                return 0;
        if (d->padding || *g->next_in != 0x1f)
                return error_set(e, ERROR_INVALID,
                                 d->complete
                                     ? "there are bytes after the gzip stream that do not belong to it"
                                     : "the blob is not gzip");
        isal_inflate_reset(g);
        isal_gzip_header_init(&d->header);
        g->crc_flag = ISAL_GZIP_NO_HDR_VER;
        d->inside = d->in_header = true;
        return 1;
}

static const char *gzip_reason(int r) {
        switch (r) {
        case ISAL_INCORRECT_CHECKSUM:
                return "wrong checksum";
        case ISAL_INVALID_WRAPPER:
        case ISAL_UNSUPPORTED_METHOD:
                return "bad header";
        default:
                return "bad data";
        }
}

/* isal_inflate() reads headers too, but loses its way if one comes in two pieces. 1: it is complete. */
static int gzip_header(struct decoder *d, struct error *e) {
        int r = isal_read_gzip_header(d->gzip, &d->header);

        if (r < 0)
                return error_set(e, ERROR_INVALID, "the gzip stream is damaged (%s)", gzip_reason(r));
        d->in_header = r != ISAL_DECOMP_OK;
        return !d->in_header;
}

/* 1: the member's data come next; 0: no input left. */
static int gzip_begin(struct decoder *d, struct error *e) {
        int r = d->inside ? 1 : gzip_enter(d, e);

        return r > 0 && d->in_header ? gzip_header(d, e) : r;
}

static int gzip_run(struct decoder *d, struct error *e) {
        struct inflate_state *g = d->gzip;

        while (g->avail_out > 0) {
                int r = gzip_begin(d, e);

                if (r <= 0)
                        return r;
                uint32_t in = g->avail_in, out = g->avail_out;
                r = isal_inflate(g);
                if (r < 0 || r == ISAL_NEED_DICT)
                        return error_set(e, ERROR_INVALID, "the gzip stream is damaged (%s)", gzip_reason(r));
                if (g->block_state == ISAL_BLOCK_FINISH) {
                        d->inside = false;
                        d->complete++;
                } else if (g->avail_in == in && g->avail_out == out) {
                        return 0;
                }
        }
        return 1;
}

static int zstd_run(struct decoder *d, ZSTD_inBuffer *in, ZSTD_outBuffer *out, struct error *e) {
        while (out->pos < out->size) {
                size_t in_before = in->pos, out_before = out->pos;

                if (!d->inside && in->pos == in->size)
                        return 0;
                size_t r = ZSTD_decompressStream(d->zstd, out, in);
                if (ZSTD_isError(r))
                        return error_set(e, ERROR_INVALID, "the zstd stream is damaged (%s)",
                                         ZSTD_getErrorName(r));
                d->inside = r != 0;
                if (r == 0)
                        d->complete++;
                else if (in->pos == in_before && out->pos == out_before)
                        return 0;
        }
        return 1;
}

static int run_gzip(struct decoder *d, const char **in, size_t *in_len, void *out, size_t size,
                    size_t *ret_len, struct error *e) {
        struct inflate_state *g = d->gzip;
        uint32_t n = *in_len < UINT32_MAX ? (uint32_t)*in_len : UINT32_MAX;

        g->next_in = (uint8_t *)*in;
        g->avail_in = n;
        g->next_out = out;
        g->avail_out = (uint32_t)size;
        int r = gzip_run(d, e);
        if (r < 0)
                return r; /* what ISA-L has counted is not to be used then */
        if (g->avail_in > n || g->avail_out > size)
                return error_set(e, ERROR_INVALID, "the gzip stream is damaged (it ends inside a code)");
        *ret_len = size - g->avail_out;
        *in += n - g->avail_in;
        *in_len -= n - g->avail_in;
        return r;
}

static int run_zstd(struct decoder *d, const char **in, size_t *in_len, void *out, size_t size,
                    size_t *ret_len, struct error *e) {
        ZSTD_inBuffer i = { *in, *in_len, 0 };
        ZSTD_outBuffer o = { out, size, 0 };
        int r = zstd_run(d, &i, &o, e);

        if (r < 0)
                return r;
        *ret_len = o.pos;
        *in += i.pos;
        *in_len -= i.pos;
        return r;
}

int decoder_run(struct decoder *d, const char **in, size_t *in_len, void *out, size_t size, size_t *ret_len,
                struct error *e) {
        return d->codec == PLAN_CODEC_GZIP ? run_gzip(d, in, in_len, out, size, ret_len, e)
                                           : run_zstd(d, in, in_len, out, size, ret_len, e);
}

/* The output is never full: there is no more to give without input. */
static int gzip_whole(struct decoder *d, const char *in, size_t in_len, void *out, size_t size,
                      size_t *ret_len, struct error *e) {
        int r = run_gzip(d, &in, &in_len, out, size, ret_len, e);

        if (r == 1)
                return error_set(e, ERROR_INVALID, "the gzip stream has more bytes than it says");
        return r < 0 ? r : decoder_end(d, e);
}

/* Without the copy that libzstd makes when it does not know how large the output is. */
static int zstd_whole(struct decoder *d, const char *in, size_t in_len, void *out, size_t size,
                      size_t *ret_len, struct error *e) {
        size_t r = ZSTD_decompressDCtx(d->zstd, out, size, in, in_len);

        if (ZSTD_isError(r))
                return error_set(e, ERROR_INVALID, "the zstd stream is damaged (%s)", ZSTD_getErrorName(r));
        *ret_len = r;
        return 0;
}

int decoder_run_whole(struct decoder *d, const char *in, size_t in_len, void *out, size_t size,
                      size_t *ret_len, struct error *e) {
        return d->codec == PLAN_CODEC_GZIP ? gzip_whole(d, in, in_len, out, size, ret_len, e)
                                           : zstd_whole(d, in, in_len, out, size, ret_len, e);
}

int decoder_end(const struct decoder *d, struct error *e) {
        if (!d->inside && d->complete > 0)
                return 0;
        return error_set(e, ERROR_INVALID, "the %s stream ends too early",
                         d->codec == PLAN_CODEC_GZIP ? "gzip" : "zstd");
}
