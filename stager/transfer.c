/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One attempt:
 *
 *   open what is placed into -> intake_begin (locate)
 *     -> raw:             segments are written by the reactor, the thread only waits
 *        raw with codec:  intake -> decoder -> the file
 *        tar:             intake [-> decoder] -> unpack
 *        with a decoder, the blob also goes to a spool, from which it can be gone on with
 *     -> the blob to its last byte -> digest -> durable
 *
 * The digester hashes the same bytes meanwhile, so it may be ahead of the content or behind it.
 *
 * The digest has the first word: whatever else seems wrong with the content, if the digest is wrong too then
 * the bytes are not those that were asked for. Then everything is thrown away and tried once more from zero,
 * because a proxy may have spoilt one answer. If a part was kept from an earlier transfer (keep.h), the first
 * time is not counted and nobody is blamed: it may have been wrong then already. Likewise if the disk is full
 * and something on it is only there to be gone on with.
 */
#include "stager/transfer.h"

#include "base/log.h"
#include "base/metrics.h"
#include "base/path.h"
#include "stager/decode_stream.h"
#include "stager/intake.h"
#include "stager/keep.h"
#include "stager/record.h"
#include "stager/replay.h"
#include "stager/spool.h"
#include "stager/unpack.h"

#include <fcntl.h>

#define ATTEMPTS 2
#define TRAILER_MAX ((uint64_t)1 << 30) /* decoded bytes behind an archive: padding, at most */

struct attempt {
        struct transfer *transfer;
        struct intake intake;
        struct keep keep;
        struct replay *replay; /* of a tar that is gone on with */
        uint64_t header;       /* of its first member behind what was kept; the blob's size: not known */
        struct survey survey;  /* of a plain tar */
        struct unpack_notes notes;
        struct decode_stream *decoder; /* NULL: the bytes are as they come */
        struct spool spool;            /* of what goes through it */
        struct segment *output;        /* of the decoder */
        struct transfer_result result;
};

static int next_encoded(void *userdata, const void **ret, size_t *ret_len, struct error *e) {
        struct attempt *a = userdata;
        int r = spool_next(&a->spool, ret, ret_len, e);

        if (r == 0 && !a->intake.begun)
                r = intake_begin(&a->intake, a->spool.file, e);
        return r == 0 ? intake_next(&a->intake, ret, ret_len, e) : r;
}

/* Behind what was kept nothing is asked for before that is decoded: the window would only be in the way of
 * others. */
static int begin_encoded(struct attempt *a, struct error *e) {
        return a->keep.resume.start.pos > 0 ? 0 : intake_begin(&a->intake, a->spool.file, e);
}

/* The decoded stream: unpack_source and the raw file's way. */
static int next_decoded(void *userdata, const void **ret, size_t *ret_len, struct error *e) {
        struct attempt *a = userdata;

        return a->decoder ? decode_stream_next(a->decoder, ret, ret_len, e)
                          : intake_next(&a->intake, ret, ret_len, e);
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
        int r = intake_begin(&a->intake, f, e);

        if (r == 0 && !a->intake.segment)
                return intake_drain(&a->intake, e);
        const void *data;
        size_t len;
        uint64_t offset = a->intake.offset;
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
        int r = begin_encoded(a, e);

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

static int adopt_plain(void *userdata, struct unpack_adopted *ret, uint64_t data, uint64_t size,
                       int parent_fd, const char *name, struct error *e) {
        struct attempt *a = userdata;

        return survey_adopt(&ret->file, &ret->from, &a->survey, data, size, parent_fd, name, e);
}

/* The archive at a registry or in a layout, from where what was kept ends. */
static int begin_plain(void *userdata, struct error *e) {
        struct attempt *a = userdata;
        struct transfer *t = a->transfer;

        survey_begin(&a->survey, &t->fetch, &t->placer, t->order.dir_fd, a->header);
        a->intake.survey = &a->survey;
        return intake_begin(&a->intake, NULL, e);
}

/* The last file that was kept, which may be in the middle of being written: then it is the first region. */
static int go_on_with(void *userdata, struct unpack_adopted *ret, const struct replay_last *l,
                      struct error *e) {
        struct attempt *a = userdata;
        struct transfer *t = a->transfer;
        uint64_t end = l->data + l->size;
        struct region r = { .from = l->data, .to = end, .data = l->data, .taken = true };

        a->header = (end + SCOUT_BLOCK - 1) / SCOUT_BLOCK * SCOUT_BLOCK;
        if (l->kept == l->size)
                return 0;
        int result = place_open_kept(&ret->file, &t->placer, l->parent_fd, l->name, l->size, l->kept, e);
        r.file = ret->file;
        if (result == 0 && !oci_blob_is_layout(t->order.source) &&
            regions_add(&t->regions, &t->window, &r, SEGMENT_SIZE, &r))
                ret->from = r.offset;
        return result;
}

/* What was kept is read first, and then the rest is asked for. */
static int begin_again(struct attempt *a, struct unpack_source *ret, const struct unpack_source *plain,
                       struct error *e) {
        const struct replay_order order = {
                .dir_fd = a->transfer->order.dir_fd,
                .upto = a->keep.resume.start.pos,
                .placer = &a->transfer->placer,
                .after = plain,
                .arrive = begin_plain,
                .last = go_on_with,
                .userdata = a,
        };
        int r = replay_new(&a->replay, &order, e);

        a->header = a->transfer->order.size;
        if (r == 0)
                *ret = replay_source(a->replay);
        return r;
}

static int unpack_plain(struct attempt *a, int tree_fd, struct unpack_result *ret, struct error *e) {
        const struct unpack_source plain = { .next = next_decoded,
                                             .skip = skip_plain,
                                             .adopt = adopt_plain,
                                             .adopt_min = UNPACK_ADOPT_MIN,
                                             .userdata = a };
        struct unpack_source source = plain;
        struct record record;
        int r = a->keep.resume.start.pos > 0 ? begin_again(a, &source, &plain, e) : begin_plain(a, e);

        if (r < 0)
                return r;
        record_init(&record, a->keep.keeper, &source);
        source = record_source(&record);
        r = unpack_tar(ret, tree_fd, &a->transfer->placer, &source, &a->notes, e);
        if (r == 0 && a->survey.fetch) /* it has begun */
                survey_give_up(&a->survey);
        return r;
}

static int unpack_decoded(struct attempt *a, int tree_fd, struct unpack_result *ret, struct error *e) {
        const struct unpack_source decoded = { .next = next_decoded, .userdata = a };
        int r = begin_encoded(a, e);

        if (r == 0)
                r = unpack_tar(ret, tree_fd, &a->transfer->placer, &decoded, &a->notes, e);
        return r == 0 ? drain_decoded(a, e) : r;
}

static int carry_tar(struct attempt *a, int tree_fd, struct error *e) {
        struct unpack_result unpacked;
        int r =
            a->decoder ? unpack_decoded(a, tree_fd, &unpacked, e) : unpack_plain(a, tree_fd, &unpacked, e);

        if (r == 0)
                a->result =
                    (struct transfer_result){ .bytes = a->transfer->placer.claimed, .files = unpacked.files };
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
        if (a->keep.resume.start.pos > 0)
                return error_set(e, ERROR_DATA_LOSS,
                                 "blob %s, of which a part was kept, does not match its digest (got %s)",
                                 digest_format(&t->order.digest, want), digest_format(&got, text));
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
        uint64_t size = t->order.size, kept = a->keep.resume.start.pos;
        int r;

        if (a->decoder)
                r = place_open(&f, &t->placer, t->order.dir_fd, "blob", UINT64_MAX, true, e);
        else if (kept > 0)
                r = place_open_kept(&f, &t->placer, t->order.dir_fd, "blob", size, kept, e);
        else
                r = place_open_straight(&f, &t->placer, t->order.dir_fd, "blob", size, e);
        if (r < 0)
                return r;
        if (!a->decoder)
                keeper_file(a->keep.keeper, kept, size, "blob", kept);
        r = a->decoder ? carry_decoded(a, f, &size, e) : carry_raw(a, f, e);
        if (a->intake.begun)
                r = judge(a, r, ret_mismatch, e);
        return r < 0 ? r : end_raw(a, f, size, e);
}

static int attempt_tar(struct attempt *a, bool *ret_mismatch, struct error *e) {
        struct transfer *t = a->transfer;
        const char *name = a->keep.resume.start.pos > 0 && !a->decoder ? REPLAY_TREE : "tree";
        _cleanup_close_ int tree_fd = -1;

        if (mkdirat(t->order.dir_fd, name, 0755) < 0)
                return error_errno(e, errno, "make the directory of a layer");
        tree_fd = path_open(t->order.dir_fd, name, O_RDONLY | O_DIRECTORY, 0, e);
        if (tree_fd < 0)
                return tree_fd;
        if (fchmod(tree_fd, 0755) < 0)
                return error_errno(e, errno, "set the mode of a layer");
        int r = carry_tar(a, tree_fd, e);
        if (r == 0 && !a->intake.begun) /* then nothing would have been compared with the digest */
                r = error_set(e, ERROR_INVALID, "what was kept of the archive goes on behind its end");
        if (a->intake.begun)
                r = judge(a, r, ret_mismatch, e);
        if (r == 0)
                r = unpack_finish(tree_fd, &t->placer, &a->notes, e);
        survey_end(&a->survey);
        if (r == 0 && fsync(t->order.dir_fd) < 0)
                r = error_errno(e, errno, "flush a directory to the disk");
        return r;
}

/* On a thread of the digester. */
static void mark(void *userdata, const struct sha256 *hash) {
        keeper_mark(userdata, hash);
}

/* Without one a journal would have nothing to speak of. */
static int begin_spool(struct attempt *a, struct error *e) {
        const struct transfer *t = a->transfer;
        const struct resume *from = &a->keep.resume;
        int r = spool_is_for(t) ? spool_begin(&a->spool, a->transfer, from, e) : 0;

        if (a->spool.file)
                keeper_file(a->keep.keeper, from->start.pos, t->order.size, CACHE_PACKED, from->start.pos);
        else
                keep_no_more(&a->keep);
        return r;
}

static int begin_decoder(struct attempt *a, struct error *e) {
        const struct decode_source source = { .next = next_encoded, .userdata = a };
        const struct transfer *t = a->transfer;

        a->output = arena_wait(t->engine->arena);
        return decode_stream_new(&a->decoder, t->order.codec, &source, t->engine->decoders, a->output->data,
                                 SEGMENT_SIZE, e);
}

static int begin_attempt(struct attempt *a, bool fresh, struct error *e) {
        struct transfer *t = a->transfer;
        int r = window_check(&t->window, e);

        if (r < 0)
                return r;
        placer_restart(&t->placer);
        r = keep_begin(&a->keep, t, fresh, e);
        if (r < 0)
                return r;
        a->intake.hash = a->keep.resume.state;
        a->intake.located = a->keep.located;
        window_reset(&t->window, a->keep.resume.start.pos, t->order.size);
        regions_clear(&t->regions);
        fetch_reset(&t->fetch);
        if (t->order.codec != PLAN_CODEC_NONE) {
                r = begin_spool(a, e);
                if (r == 0)
                        r = begin_decoder(a, e);
        }
        t->digest.edge = a->keep.keeper ? mark : NULL;
        t->digest.edge_data = a->keep.keeper;
        return r;
}

static void end_attempt(struct attempt *a, int r, const struct error *e) {
        struct transfer *t = a->transfer;

        intake_end(&a->intake);
        unpack_notes_clear(&a->notes);
        placer_restart(&t->placer); /* closes what a failure has left open */
        replay_free(a->replay);
        spool_end(&a->spool, r == 0);
        keep_end(&a->keep, r, e);
        decode_stream_free(a->decoder);
        if (a->output)
                arena_unref(t->engine->arena, a->output);
}

/* *ret_again: what is or was kept may be the reason of the failure. */
static int attempt_run(struct transfer *t, bool fresh, struct transfer_result *ret, bool *ret_mismatch,
                       bool *ret_again, struct error *e) {
        struct attempt a = {
                .transfer = t, .intake = { .transfer = t }, .keep = { .transfer = t }, .spool = { .fd = -1 }
        };
        char digest[DIGEST_TEXT_SIZE];
        int r = begin_attempt(&a, fresh, e);
        bool had_spool = spool_is_in_use(&a.spool);

        if (r == 0)
                r = t->order.packing == PLAN_RAW ? attempt_raw(&a, ret_mismatch, e)
                                                 : attempt_tar(&a, ret_mismatch, e);
        bool had_both = a.replay && !replay_has_arrived(a.replay);
        end_attempt(&a, r, e);
        if (r == 0)
                *ret = a.result;
        if (r < 0 && e->kind == ERROR_NO_SPACE) {
                t->no_spool |= had_spool; /* for good, then */
                *ret_again = had_spool || had_both;
        } else {
                *ret_again = r < 0 && a.keep.resume.start.pos > 0 && !keep_is_worth(e);
        }
        if (r < 0 && e->kind == ERROR_INVALID) /* a model may have many */
                return error_wrap(e, "blob %s", digest_format(&t->order.digest, digest));
        return r;
}

int transfer_run(struct transfer *t, struct transfer_result *ret, struct error *e) {
        bool mismatch = false, again = false;
        int r = -EINVAL;

        for (int i = 0; i < ATTEMPTS; i += !again) {
                if (i > 0 || again)
                        log_warning("%s; trying once more", e->text);
                mismatch = false;
                r = attempt_run(t, i > 0 || again, ret, &mismatch, &again, e);
                if (r == 0 || (!mismatch && !again))
                        break;
        }
        window_reset(&t->window, 0, t->order.size);
        return r;
}
