/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ways. It begins with the first one, if there are units for it, and may change to the second, for good:
 *
 *   at once    source -> scan -> units, each some whole frames, at least BATCH -> pool -> output in order
 *   in order   source -> decoder -> @out
 *
 * A ring of units: the oldest one is given out while the others are decoded, and one is filled.
 *
 *   first                     first + n_sent
 *   [ given out ][ decoded ][ decoded ][ being filled ]
 *
 * It changes when the scan does not know where a frame ends, when a unit turns out broken, and at the end.
 * What then lies in the units and has not been given out is the decoder's first input, so whatever is wrong
 * is found, and said, in the same way as if there had never been any units.
 */
#include "stager/decode_stream.h"

#include "stager/decode_scan.h"

#define BATCH ((size_t)1 << 20) /* bytes of input, or of output, that are worth another thread */

struct decode_stream {
        enum plan_codec codec;
        struct decode_source source;
        const char *in; /* of the source, not used yet */
        size_t in_len;
        bool ended; /* the source has */

        struct decode_pool *pool;
        struct decode_unit *units[DECODE_UNITS_MAX]; /* a ring of n_units */
        size_t n_units, first, n_sent;
        struct decode_scan scan;
        bool lost;      /* the scan is */
        bool between;   /* it is between two frames */
        bool given;     /* the first unit's output is in use */
        bool has_whole; /* a unit was given out */

        bool in_order;
        struct decoder *decoder; /* from then on */
        const char *feed;        /* its input that is left */
        size_t feed_len;
        size_t n_left; /* units from `first` on whose input it gets */
        bool flushing; /* it has more to give without input */
        void *out;
        size_t size;
};

static struct decode_unit *unit(const struct decode_stream *s, size_t i) {
        return s->units[(s->first + i) % s->n_units];
}

static void give_units_back(struct decode_stream *s) {
        for (size_t i = 0; i < s->n_units; i++)
                decode_pool_drop(s->pool, s->units[i]);
        if (s->n_units > 0)
                decode_pool_give(s->pool, s->units, s->n_units);
        s->n_units = 0;
}

/* For good. What was sent is decoded again. */
static int change_to_order(struct decode_stream *s, struct error *e) {
        s->in_order = true;
        s->n_left = s->n_units > s->n_sent ? s->n_sent + 1 : s->n_sent;
        for (size_t i = 0; i < s->n_sent; i++)
                decode_pool_drop(s->pool, unit(s, i));
        int r = decoder_new(&s->decoder, s->codec, e);
        if (r == 0 && s->has_whole)
                decoder_follow(s->decoder);
        return r;
}

int decode_stream_new(struct decode_stream **ret, enum plan_codec codec, const struct decode_source *source,
                      struct decode_pool *pool, void *out, size_t size, struct error *e) {
        _cleanup_(decode_stream_freep) struct decode_stream *s = calloc(1, sizeof *s);
        int r = 0;

        if (!s)
                return error_errno(e, ENOMEM, "start a decoder");
        s->codec = codec;
        s->source = *source;
        s->pool = pool;
        s->out = out;
        s->size = size;
        decode_scan_init(&s->scan, codec);
        if (pool)
                s->n_units = decode_pool_take(pool, s->units, codec);
        if (s->n_units == 0)
                r = change_to_order(s, e);
        if (r < 0)
                return r;
        *ret = take_ptr(s);
        return 0;
}

void decode_stream_free(struct decode_stream *s) {
        if (!s)
                return;
        give_units_back(s);
        decoder_free(s->decoder);
        free(s);
}

/* More of the source, if nothing is left of what it gave. */
static int more(struct decode_stream *s, struct error *e) {
        const void *in;

        if (s->in_len > 0 || s->ended)
                return 0;
        int r = s->source.next(s->source.userdata, &in, &s->in_len, e);
        if (r > 0)
                s->in = in;
        else
                s->in_len = 0;
        s->ended = r == 0;
        return r < 0 ? r : 0;
}

static void send(struct decode_stream *s) {
        decode_pool_submit(s->pool, unit(s, s->n_sent));
        s->n_sent++;
}

/* Takes what is here into the unit that is being filled, up to a frame's end; sends it if it is enough. */
static int fill(struct decode_stream *s, struct error *e) {
        struct decode_unit *u = unit(s, s->n_sent);
        const char *from = s->in;
        uint64_t content;
        enum scan_step step = decode_scan_feed(&s->scan, &s->in, &s->in_len, &content);

        if (decode_unit_append(u, from, (size_t)(s->in - from)) < 0)
                return error_errno(e, ENOMEM, "decode a blob");
        s->lost = step == SCAN_NOT;
        s->between = step == SCAN_END;
        if (step != SCAN_END)
                return 0;
        u->content += content;
        if (u->content >= BATCH || u->in_len >= BATCH)
                send(s);
        return 0;
}

/* All units but the one that is given out are on their way, unless the source has no more. */
static int refill(struct decode_stream *s, struct error *e) {
        int r = 0;

        while (r == 0 && s->n_sent < s->n_units && !s->lost) {
                r = more(s, e);
                if (s->ended && s->in_len == 0)
                        break;
                if (r == 0)
                        r = fill(s, e);
        }
        if (r < 0 || s->lost || s->n_sent == s->n_units)
                return r;
        if (unit(s, s->n_sent)->content > 0 && s->between)
                send(s); /* the last one */
        return 0;
}

static void release_first(struct decode_stream *s) {
        decode_unit_clear(unit(s, 0));
        s->first = (s->first + 1) % s->n_units;
        s->n_sent--;
        s->given = false;
}

/* 1: there is some; 0: go on in order; a negative errno. */
static int next_at_once(struct decode_stream *s, const void **ret, size_t *ret_len, struct error *e) {
        if (s->given)
                release_first(s);
        for (;;) {
                int r = refill(s, e);

                if (r < 0)
                        return r;
                if (s->n_sent == 0 || !decode_pool_finish(s->pool, unit(s, 0)))
                        return 0;
                s->has_whole = true;
                if (unit(s, 0)->out_len == 0) {
                        release_first(s);
                        continue;
                }
                *ret = unit(s, 0)->out;
                *ret_len = unit(s, 0)->out_len;
                s->given = true;
                return 1;
        }
}

/* The decoder has used up its input: what is left in the units comes next, then what the source gives. */
static int feed(struct decode_stream *s, struct error *e) {
        while (s->n_left > 0 && s->feed_len == 0) {
                s->feed = unit(s, 0)->in;
                s->feed_len = unit(s, 0)->in_len;
                s->first = (s->first + 1) % s->n_units;
                s->n_left--;
        }
        if (s->feed_len > 0)
                return 0;
        give_units_back(s);
        int r = more(s, e);
        s->feed = s->in;
        s->feed_len = s->in_len;
        s->in_len = 0;
        return r;
}

static int next_in_order(struct decode_stream *s, const void **ret, size_t *ret_len, struct error *e) {
        for (;;) {
                int r = s->feed_len == 0 && !s->flushing ? feed(s, e) : 0;

                if (r < 0)
                        return r;
                if (s->feed_len == 0 && !s->flushing)
                        return decoder_end(s->decoder, e);
                r = decoder_run(s->decoder, &s->feed, &s->feed_len, s->out, s->size, ret_len, e);
                if (r < 0)
                        return r;
                s->flushing = r == 1;
                *ret = s->out;
                if (*ret_len > 0)
                        return 1;
        }
}

int decode_stream_next(struct decode_stream *s, const void **ret, size_t *ret_len, struct error *e) {
        if (!s->in_order) {
                int r = next_at_once(s, ret, ret_len, e);

                if (r == 0)
                        r = change_to_order(s, e);
                else if (r > 0)
                        return r;
                if (r < 0)
                        return r;
        }
        return next_in_order(s, ret, ret_len, e);
}
