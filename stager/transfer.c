/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One attempt:
 *
 *   open what is placed into -> intake_begin (locate)
 *     -> raw:             segments are written by the reactor, the thread only waits
 *        raw with codec:  intake -> decoder -> the file
 *        tar:             intake [-> decoder] -> unpack
 *     -> the blob to its last byte -> digest -> durable
 *
 * The digester hashes the same bytes meanwhile, so it may be ahead of the content or behind it.
 *
 * The digest has the first word: whatever else seems wrong with the content, if the digest is wrong too then
 * the bytes are not those that were asked for. Then everything is thrown away and tried once more from zero,
 * because a proxy may have spoilt one answer.
 */
#include "stager/transfer.h"

#include "base/log.h"
#include "base/metrics.h"
#include "base/path.h"
#include "stager/decode.h"
#include "stager/intake.h"
#include "stager/unpack.h"

#include <fcntl.h>

#define ATTEMPTS 2
#define TRAILER_MAX ((uint64_t)1 << 30) /* decoded bytes behind an archive: padding, at most */

struct attempt {
        struct transfer *transfer;
        struct intake intake;
        struct survey survey; /* of a plain tar */
        struct unpack_notes notes;
        struct decoder *decoder; /* NULL: the bytes are as they come */
        struct segment *output;  /* of the decoder */
        const char *in;          /* its input that is left */
        size_t in_len;
        bool flushing; /* the decoder has more to give without input */
        bool ended;    /* the intake has */
        struct transfer_result result;
};

/* The decoded stream: unpack_source and the raw file's way. */
static int next_decoded(void *userdata, const void **ret, size_t *ret_len, struct error *e) {
        struct attempt *a = userdata;

        if (!a->decoder)
                return intake_next(&a->intake, ret, ret_len, e);
        for (;;) {
                if (a->in_len == 0 && !a->flushing && !a->ended) {
                        const void *in;
                        int r = intake_next(&a->intake, &in, &a->in_len, e);

                        if (r < 0)
                                return r;
                        a->in = in;
                        a->ended = r == 0;
                }
                if (a->ended && !a->flushing)
                        return decoder_end(a->decoder, e);
                int r =
                    decoder_run(a->decoder, &a->in, &a->in_len, a->output->data, SEGMENT_SIZE, ret_len, e);
                if (r < 0)
                        return r;
                a->flushing = r == 1;
                *ret = a->output->data;
                if (*ret_len > 0)
                        return 1;
        }
}

static mode_t raw_mode(const struct transfer *t) {
        mode_t mode = t->order.mode ? t->order.mode : 0444;

        return ((mode & 0777) | 0444) & ~(mode_t)022;
}

static int end_raw(struct attempt *a, struct place_file *f, uint64_t size, struct error *e) {
        const struct transfer *t = a->transfer;
        int r = place_end(
            f,
            &(struct place_end){
                .size = size, .mode = raw_mode(t), .mtime = { .tv_sec = t->order.mtime }, .sync = true },
            e);

        if (r == 0)
                r = placer_drain(&a->transfer->placer, e);
        if (r == 0 && fsync(t->order.dir_fd) < 0)
                r = error_errno(e, errno, "flush a directory to the disk");
        a->result = (struct transfer_result){ .bytes = size, .files = 1 };
        return r;
}

/* Straight: what the window holds is what the file holds. Only a layout's bytes come another way. */
static int carry_raw(struct attempt *a, struct place_file *f, struct error *e) {
        int r = intake_begin(&a->intake, a->transfer, f, e);

        if (r == 0 && !a->intake.segment)
                return intake_drain(&a->intake, e);
        const void *data;
        size_t len;
        uint64_t offset = 0;
        while (r == 0 && (r = intake_next(&a->intake, &data, &len, e)) > 0) {
                r = place_write(f, data, len, offset, e);
                offset += len;
        }
        return r;
}

/* Through a decoder: the size is not known before. */
static int carry_decoded(struct attempt *a, struct place_file *f, uint64_t *ret_size, struct error *e) {
        const void *data;
        size_t len;
        uint64_t offset = 0;
        int r = intake_begin(&a->intake, a->transfer, NULL, e);

        while (r == 0 && (r = next_decoded(a, &data, &len, e)) > 0) {
                /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): set, because there is data */
                r = place_write(f, data, len, offset, e);
                offset += len;
        }
        *ret_size = offset;
        return r;
}

/* What is behind the archive's end mark: nobody wants it, but only there it is known that the stream ends
 * well. */
static int drain_decoded(struct attempt *a, struct error *e) {
        const void *data;
        size_t len;
        uint64_t rest = 0;
        int r;

        while ((r = next_decoded(a, &data, &len, e)) > 0)
                if ((rest += len) > TRAILER_MAX)
                        return error_set(e, ERROR_INVALID,
                                         "there is more than 1 GiB behind the archive's end");
        return r;
}

static int64_t skip_plain(void *userdata, uint64_t len, struct error *e) {
        struct attempt *a = userdata;

        return intake_skip(&a->intake, len, e);
}

static int adopt_plain(void *userdata, struct unpack_adopted *ret, uint64_t header, uint64_t size,
                       int parent_fd, const char *name, struct error *e) {
        struct attempt *a = userdata;

        return survey_adopt(&ret->file, &ret->from, &a->survey, header, size, parent_fd, name, e);
}

static int carry_tar(struct attempt *a, int tree_fd, struct error *e) {
        struct transfer *t = a->transfer;
        const struct unpack_source plain = {
                .next = next_decoded, .skip = skip_plain, .adopt = adopt_plain, .userdata = a
        };
        const struct unpack_source decoded = { .next = next_decoded, .userdata = a };
        struct unpack_result unpacked;

        if (!a->decoder) {
                survey_begin(&a->survey, &t->fetch, &t->placer, t->order.dir_fd);
                a->intake.survey = &a->survey;
        }
        int r = intake_begin(&a->intake, t, NULL, e);
        if (r == 0)
                r = unpack_tar(&unpacked, tree_fd, &t->placer, a->decoder ? &decoded : &plain, &a->notes, e);
        if (r == 0 && a->decoder)
                r = drain_decoded(a, e);
        if (r == 0)
                a->result = (struct transfer_result){ .bytes = t->placer.claimed, .files = unpacked.files };
        return r;
}

static int verify(struct attempt *a, bool *ret_mismatch, struct error *e) {
        const struct transfer *t = a->transfer;
        char want[DIGEST_TEXT_SIZE], text[DIGEST_TEXT_SIZE];
        struct digest got;
        const char *host = oci_blob_host(t->order.source);

        intake_digest(&a->intake, &got);
        if (digest_equal(&got, &t->order.digest))
                return 0;
        *ret_mismatch = true;
        metric_add(DIGEST_MISMATCHES, 1, oci_blob_registry(t->order.source));
        (void)oci_blob_distrust(t->order.source); /* the next attempt asks elsewhere if it can */
        return error_set(
            e, ERROR_DATA_LOSS,
            "blob %s from %s does not match its digest (got %s); the registry or a proxy serves wrong bytes",
            digest_format(&t->order.digest, want), host ? host : "the layout", digest_format(&got, text));
}

/* What the content led to (@r, @e), seen in the light of the digest. Errors of our own have come before the
 * blob's end. */
static int judge(struct attempt *a, int r, bool *ret_mismatch, struct error *e) {
        struct error other;

        if (r < 0 && !(e->kind == ERROR_INVALID))
                return r;
        int v = intake_drain(&a->intake, &other);
        if (v == 0)
                v = verify(a, ret_mismatch, &other);
        return v < 0 ? error_copy(e, &other) : r;
}

static int attempt_raw(struct attempt *a, bool *ret_mismatch, struct error *e) {
        struct transfer *t = a->transfer;
        struct place_file *f;
        uint64_t size = t->order.size;
        int r;

        if (a->decoder)
                r = place_open(&f, &t->placer, t->order.dir_fd, "blob", UINT64_MAX, true, e);
        else
                r = place_open_straight(&f, &t->placer, t->order.dir_fd, "blob", size, e);
        if (r < 0)
                return r;
        r = a->decoder ? carry_decoded(a, f, &size, e) : carry_raw(a, f, e);
        if (a->intake.begun)
                r = judge(a, r, ret_mismatch, e);
        return r < 0 ? r : end_raw(a, f, size, e);
}

static int attempt_tar(struct attempt *a, bool *ret_mismatch, struct error *e) {
        struct transfer *t = a->transfer;
        _cleanup_close_ int tree_fd = -1;

        if (mkdirat(t->order.dir_fd, "tree", 0755) < 0)
                return error_errno(e, errno, "make the directory of a layer");
        tree_fd = path_open(t->order.dir_fd, "tree", O_RDONLY | O_DIRECTORY, 0, e);
        if (tree_fd < 0)
                return tree_fd;
        if (fchmod(tree_fd, 0755) < 0)
                return error_errno(e, errno, "set the mode of a layer");
        int r = carry_tar(a, tree_fd, e);
        if (a->intake.begun)
                r = judge(a, r, ret_mismatch, e);
        if (r == 0)
                r = unpack_finish(tree_fd, &t->placer, &a->notes, e);
        survey_end(&a->survey);
        if (r == 0 && fsync(t->order.dir_fd) < 0)
                r = error_errno(e, errno, "flush a directory to the disk");
        return r;
}

static int clear_target(const struct transfer *t, struct error *e) {
        int r = path_remove_tree(t->order.dir_fd, "blob", e);

        return r < 0 ? r : path_remove_tree(t->order.dir_fd, "tree", e);
}

static int attempt_run(struct transfer *t, struct transfer_result *ret, bool *ret_mismatch, struct error *e) {
        struct attempt a = { .transfer = t, .intake = { .transfer = t } };
        char digest[DIGEST_TEXT_SIZE];
        int r = window_check(&t->window, e);

        if (r == 0)
                r = clear_target(t, e);
        if (r < 0)
                return r;
        window_reset(&t->window, 0, t->order.size);
        regions_clear(&t->regions);
        fetch_reset(&t->fetch);
        placer_restart(&t->placer);
        if (t->order.codec != PLAN_CODEC_NONE) {
                r = decoder_new(&a.decoder, t->order.codec, e);
                if (r < 0)
                        return r;
                a.output = arena_wait(t->engine->arena);
        }
        r = t->order.packing == PLAN_RAW ? attempt_raw(&a, ret_mismatch, e)
                                         : attempt_tar(&a, ret_mismatch, e);
        intake_end(&a.intake);
        unpack_notes_clear(&a.notes);
        placer_restart(&t->placer); /* closes what a failure has left open */
        if (a.output)
                arena_unref(t->engine->arena, a.output);
        decoder_free(a.decoder);
        if (r == 0)
                *ret = a.result;
        if (r < 0 && e->kind == ERROR_INVALID) /* a model may have many */
                return error_wrap(e, "blob %s", digest_format(&t->order.digest, digest));
        return r;
}

int transfer_run(struct transfer *t, struct transfer_result *ret, struct error *e) {
        bool mismatch = false;
        int r = -EINVAL;

        for (int i = 0; i < ATTEMPTS; i++) {
                if (i > 0)
                        log_warning("%s; trying once more", e->text);
                mismatch = false;
                r = attempt_run(t, ret, &mismatch, e);
                if (r == 0 || !mismatch)
                        break;
        }
        window_reset(&t->window, 0, t->order.size);
        if (r < 0)
                (void)clear_target(t, NULL);
        return r;
}
