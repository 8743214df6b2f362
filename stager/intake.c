/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ways in, one way out:
 *
 *   at a registry    locate -> the first segment -> window; the reactor brings the rest -> next_of_window
 *                                                     \-> the digester
 *   in a layout      locate -> the file -> a segment of ARENA_OUTPUT -> hash, again and again -> next_of_file
 *
 * The blob thread locates: it may block, the reactor may not. The first segment comes with the first answer,
 * unless it was kept from an earlier transfer; a blob that is no larger is complete then and the reactor
 * never hears of it. When an address expires the reactor asks by WINDOW_LOCATE, which is heard at the next
 * read, or while the digest is waited for. A blob of no bytes is not located at all.
 */
#include "stager/intake.h"

#include "base/log.h"
#include "base/metrics.h"

#include <inttypes.h>
#include <sys/stat.h>

#define LOCATES 4u /* each of which is tried some times by oci */

/* The address has expired, or nobody answers there; blocks. The reactor goes on when the window knows. A
 * registry that restarts is waited for, as by the ranges (fetch.c). */
static int locate_again(struct transfer *t, struct error *e) {
        struct oci_blob *b = t->order.source;
        size_t none = 0;
        int r;

        for (unsigned i = 0; i < LOCATES; i++) {
                r = oci_blob_locate(b, NULL, 0, &none, e);
                if (r >= 0 || e->kind != ERROR_UNAVAILABLE)
                        break;
        }
        if (r < 0)
                return r;
        fetch_set_host(&t->fetch, oci_blob_host(b));
        window_located(&t->window);
        reactor_wake(t->engine->reactor);
        return 0;
}

/* A layout's file is read by this thread, a segment at a time. */
static int begin_file(struct intake *in, struct error *e) {
        const struct transfer *t = in->transfer;
        struct stat st;

        if (fstat(oci_blob_file(t->order.source), &st) < 0)
                return error_errno(e, errno, "look at a blob of the layout");
        if ((uint64_t)st.st_size != t->order.size)
                return error_set(e, ERROR_DATA_LOSS,
                                 "a blob of the layout has %" PRIu64 " bytes, its descriptor says %" PRIu64,
                                 (uint64_t)st.st_size, t->order.size);
        in->segment = arena_wait(t->engine->arena);
        return 0;
}

/* The first bytes are in @s: they become the window's first segment. */
static void show_first(struct transfer *t, struct segment *s, size_t got) {
        (void)regions_extend(&t->regions, &t->window, s); /* nothing is held back yet */
        s->got = got;
        if (s->got == s->len && s->file)
                place_segment(s);
        window_show(&t->window, s);
        t->fetch.received += got;
        if (got > 0)
                metric_add(FETCHED_BYTES, (double)got, oci_blob_registry(t->order.source));
}

/* @first (may be NULL) has the first @got bytes of the blob. */
static int begin_window(struct intake *in, struct segment *first, size_t got, struct place_file *whole,
                        struct error *e) {
        struct transfer *t = in->transfer;
        struct region all = { .to = t->order.size, .file = whole };

        digest_begin(&t->digest, &in->hash);
        if (whole)
                (void)regions_add(&t->regions, &t->window, &all, 1, &all);
        if (first)
                show_first(t, first, got);
        if (in->offset + got == t->order.size)
                return 0;
        if (fetch_begin(&t->fetch, in->offset + got) < 0)
                return error_errno(e, ENOMEM, "fetch a blob");
        fetch_set_host(&t->fetch, oci_blob_host(t->order.source));
        int r = in->survey ? survey_go_on(in->survey, e) : 0;
        if (r < 0)
                return r;
        reactor_attach(t->engine->reactor, &t->fetch);
        t->attached = true;
        return 0;
}

/* With its first bytes, unless they are here. */
static int begin_blob(struct intake *in, struct place_file *whole, struct error *e) {
        struct transfer *t = in->transfer;
        struct segment *s = in->offset == 0 ? arena_wait(t->engine->arena) : NULL;
        size_t cap = t->order.size < SEGMENT_SIZE ? (size_t)t->order.size : SEGMENT_SIZE, got = 0;
        int r = 0;

        if (s || !in->located)
                r = oci_blob_locate(t->order.source, s ? s->data : NULL, s ? cap : 0, &got, e);
        if (r >= 0)
                r = window_check(&t->window, e);
        if (r < 0 || oci_blob_file(t->order.source) >= 0) {
                if (s)
                        arena_unref(t->engine->arena, s);
                return r < 0 ? r : begin_file(in, e);
        }
        return begin_window(in, s, got < cap ? got : cap, whole, e);
}

int intake_begin(struct intake *in, struct place_file *whole, struct error *e) {
        struct transfer *t = in->transfer;
        int r = window_check(&t->window, e);

        in->offset = in->hash.len;
        t->verified = in->offset;
        if (r < 0)
                return r;
        r = t->order.size > 0 ? begin_blob(in, whole, e) : 0;
        in->begun = r == 0;
        return r;
}

static int next_of_file(struct intake *in, size_t most, const void **ret, size_t *ret_len, struct error *e) {
        struct transfer *t = in->transfer;
        uint64_t left = t->order.size - in->offset;
        size_t want = left < SEGMENT_SIZE ? (size_t)left : SEGMENT_SIZE;
        int r = window_check(&t->window, e);
        ssize_t n;

        if (r < 0)
                return r;
        if (left == 0)
                return 0;
        if (want > most)
                want = most;
        do
                n = pread(oci_blob_file(t->order.source), in->segment->data, want, (off_t)in->offset);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return error_errno(e, errno, "read a blob of the layout");
        if (n == 0)
                return error_set(e, ERROR_DATA_LOSS, "a blob of the layout became shorter while it was read");
        sha256_update(&in->hash, in->segment->data, (size_t)n);
        t->verified += (uint64_t)n;
        *ret = in->segment->data;
        *ret_len = (size_t)n;
        return 1;
}

static int next_of_window(struct intake *in, size_t most, const void **ret, size_t *ret_len,
                          struct error *e) {
        struct transfer *t = in->transfer;
        int r, looked = 0;

        window_consume(&t->window, WINDOW_CONTENT, in->given);
        in->given = 0;
        do {
                r = window_read(&t->window, WINDOW_CONTENT, ret, ret_len, e);
                if (r == WINDOW_LOCATE)
                        looked = locate_again(t, e);
                else if (r > 0 && in->survey) /* sees all bytes before anybody else does */
                        looked = survey_go_on(in->survey, e);
        } while (looked >= 0 && (r == WINDOW_LOCATE || r == WINDOW_NEWS));
        if (looked < 0)
                return looked;
        if (r == WINDOW_DATA && *ret_len > most)
                *ret_len = most;
        in->given = r == WINDOW_DATA ? *ret_len : 0;
        return r;
}

/* At most @most bytes, which is not 0. */
static int next_piece(struct intake *in, size_t most, const void **ret, size_t *ret_len, struct error *e) {
        int r =
            in->segment ? next_of_file(in, most, ret, ret_len, e) : next_of_window(in, most, ret, ret_len, e);

        if (r > 0)
                in->offset += *ret_len;
        return r;
}

int intake_next(struct intake *in, const void **ret, size_t *ret_len, struct error *e) {
        return next_piece(in, SIZE_MAX, ret, ret_len, e);
}

static int64_t skip_of_file(struct intake *in, uint64_t len, struct error *e) {
        uint64_t done = 0;
        const void *data;
        size_t n;
        int r = 1;

        while (done < len && (r = next_piece(in, len - done, &data, &n, e)) > 0)
                done += n;
        return r < 0 ? r : (int64_t)done;
}

int64_t intake_skip(struct intake *in, uint64_t len, struct error *e) {
        struct transfer *t = in->transfer;
        uint64_t left = t->order.size - in->offset;

        if (in->segment)
                return skip_of_file(in, len, e);
        if (len > left)
                len = left;
        in->given = 0;
        in->offset += len;
        window_skip(&t->window, WINDOW_CONTENT, in->offset);
        return (int64_t)len;
}

static int drain_file(struct intake *in, struct error *e) {
        const void *data;
        size_t len;
        int r;

        do
                r = intake_next(in, &data, &len, e);
        while (r > 0);
        return r;
}

/* The digester goes on alone. */
static int drain_window(struct intake *in, struct error *e) {
        struct transfer *t = in->transfer;
        int r;

        if (in->survey)
                survey_stop(in->survey);
        in->given = 0;
        window_skip(&t->window, WINDOW_CONTENT, t->order.size);
        while ((r = window_wait_digest(&t->window, e)) > 0) {
                if (r == WINDOW_LOCATE)
                        r = locate_again(t, e);
                if (r < 0)
                        return r;
        }
        return r;
}

int intake_drain(struct intake *in, struct error *e) {
        return in->segment ? drain_file(in, e) : drain_window(in, e);
}

/* A blob of no bytes was never in the window, and its hash is the one that this began with. */
void intake_digest(struct intake *in, struct digest *ret) {
        struct transfer *t = in->transfer;

        if (in->segment || t->order.size == 0) {
                sha256_final(&in->hash, ret);
                return;
        }
        digest_end(&t->digest);
        digest_result(&t->digest, ret);
}

void intake_end(struct intake *in) {
        struct transfer *t = in->transfer;

        if (t->attached)
                reactor_detach(t->engine->reactor, &t->fetch);
        t->attached = false;
        digest_end(&t->digest);
        if (in->segment)
                arena_unref(t->engine->arena, in->segment);
        in->segment = NULL;
}
