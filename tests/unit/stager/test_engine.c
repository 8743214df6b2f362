/* SPDX-License-Identifier: Apache-2.0 */
/* WRAP: openat ring_write fetch_ended */
/* Whole transfers from a server of our own, on both backends of the ring. */
#include "tests/unit/stager/tar_builder.h"

#include "cache/cache.h"
#include "stager/keeper.h"
#include "tests/unit/stager/engine_world.h"

#include <dirent.h>
#include <isa-l/igzip_lib.h>
#include <zstd.h>

/* The disk's faults. */
static atomic_bool refuse_direct_open, refuse_direct_write;
static atomic_int fail_writes_after = -1; /* so many succeed, then there is no space; -1: all succeed */

int __real_openat(int dir_fd, const char *name, int flags, ...);
int __wrap_openat(int dir_fd, const char *name, int flags, ...);
void __real_ring_write(struct ring *r, struct ring_op *op, int fd, const void *data, size_t len,
                       uint64_t offset);
void __wrap_ring_write(struct ring *r, struct ring_op *op, int fd, const void *data, size_t len,
                       uint64_t offset);

int __wrap_openat(int dir_fd, const char *name, int flags, ...) {
        mode_t mode = 0;
        va_list ap;

        va_start(ap, flags);
        if (flags & (O_CREAT | __O_TMPFILE))
                mode = va_arg(ap, mode_t);
        va_end(ap);
        if (refuse_direct_open && (flags & O_DIRECT)) {
                errno = EINVAL;
                return -1;
        }
        return __real_openat(dir_fd, name, flags, mode);
}

void __wrap_ring_write(struct ring *r, struct ring_op *op, int fd, const void *data, size_t len,
                       uint64_t offset) {
        if (refuse_direct_write && (fcntl(fd, F_GETFL) & O_DIRECT))
                op->done(op, -EINVAL);
        else if (fail_writes_after == 0)
                op->done(op, -ENOSPC);
        else
                __real_ring_write(r, op, fd, data, len, offset);
        if (fail_writes_after > 0)
                fail_writes_after--;
}

/* How long a range waits is test_fetch's subject; here it does not. */
void __real_fetch_ended(struct fetch *f, struct range *r, const struct fetch_end *end, const struct error *e);
void __wrap_fetch_ended(struct fetch *f, struct range *r, const struct fetch_end *end, const struct error *e);

void __wrap_fetch_ended(struct fetch *f, struct range *r, const struct fetch_end *end,
                        const struct error *e) {
        __real_fetch_ended(f, r, end, e);
        for (struct range *left = f->ranges; left; left = left->next)
                left->not_before_ms = 0;
}

static int tear_down_faults(void **state) {
        refuse_direct_open = refuse_direct_write = false;
        fail_writes_after = -1;
        return tear_down(state);
}

static void test_raw_blobs_of_every_size_arrive(void **state) {
        static const size_t sizes[] = {
                0,       1,           4095,           4096,           MIB - 1, MIB,         MIB + 1,
                2 * MIB, 3 * MIB + 1, 4 * MIB - 4095, 5 * MIB + 4096, 9 * MIB, 20 * MIB + 7
        };
        struct world *w = *state;

        make_random(w, sizes[sizeof sizes / sizeof *sizes - 1]);
        serve(w);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                w->data.len = w->server.size = sizes[i];
                struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
                go(d);
                assert_blob(d);
        }
}

static void test_ranges_of_one_blob_run_in_parallel_within_the_limit(void **state) {
        struct world *w = *state;

        make_random(w, 44 * MIB);
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        assert_blob(d);
        assert_true(w->server.ranges >= 20);
        assert_in_range(w->server.most, 2, 6 + 1); /* and the one that locates */
}

static void test_blobs_larger_together_than_the_memory_all_arrive(void **state) {
        struct world *w = *state;

        make_random(w, 6 * MIB + 99);
        serve(w);
        for (unsigned i = 0; i < 10; i++)
                go(start(w, PLAN_RAW, PLAN_CODEC_NONE));
        for (unsigned i = 0; i < 10; i++)
                assert_blob(&w->deliveries[i]);
}

static void test_connections_that_break_are_taken_up_where_they_broke(void **state) {
        struct world *w = *state;
        struct transfer_progress p;

        make_random(w, 20 * MIB);
        w->server.cut = 12;
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        assert_blob(d);
        assert_int_equal(w->server.cut, 0);
        transfer_progress(d->transfer, &p);
        assert_true(p.retries >= 8);
        assert_true(p.received < 2 * w->data.len);
}

static void test_server_errors_are_tried_again(void **state) {
        struct world *w = *state;

        make_random(w, 8 * MIB);
        w->server.refuse = 5;
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        assert_blob(d);
        assert_int_equal(w->server.refuse, 0);
}

static void test_server_that_never_recovers_is_given_up(void **state) {
        struct world *w = *state;

        make_random(w, MIB + 100000);
        w->server.cut = INT32_MAX; /* every answer is half of what is left: progress ends below 16 KiB */
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        assert_failed(d, ERROR_UNAVAILABLE);
}

static void test_expired_address_is_found_again(void **state) {
        struct world *w = *state;

        make_random(w, 12 * MIB);
        w->server.forbid = 3;
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        assert_blob(d);
        assert_int_equal(w->server.forbid, 0);
        assert_in_range(w->server.locates, 2, 4);
}

static void test_address_that_stays_expired_is_given_up(void **state) {
        struct world *w = *state;

        make_random(w, 3 * MIB);
        w->server.forbid = INT32_MAX;
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        assert_failed(d, ERROR_UNAVAILABLE);
}

static void test_server_without_ranges_gives_one_stream(void **state) {
        struct world *w = *state;

        make_random(w, 34 * MIB + 5);
        w->server.ignore_range = true;
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        assert_blob(d);
        assert_int_equal(w->server.ranges, 0);
}

static void test_stream_that_breaks_starts_over_and_skips(void **state) {
        struct world *w = *state;

        make_random(w, 20 * MIB + 5);
        w->server.ignore_range = true;
        w->server.cut = 5;
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        assert_blob(d);
}

static void test_server_that_closes_each_connection_works(void **state) {
        struct world *w = *state;

        make_random(w, 12 * MIB);
        w->server.close_each = true;
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        assert_blob(d);
}

static void test_one_wrong_answer_is_fetched_again(void **state) {
        struct world *w = *state;

        make_random(w, 12 * MIB);
        w->server.flip = 1;
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        assert_blob(d);
        assert_int_equal(w->server.flip, 0);
        assert_int_equal(w->server.distrusted, 1);
}

static void test_wrong_bytes_are_data_loss_and_leave_nothing(void **state) {
        struct world *w = *state;

        make_random(w, 5 * MIB);
        w->server.flip = INT32_MAX;
        serve(w);
        for (int tar = 0; tar < 2; tar++) {
                struct delivery *d = start(w, tar ? PLAN_TAR : PLAN_RAW, PLAN_CODEC_NONE);

                go(d);
                assert_failed(d, ERROR_DATA_LOSS);
                assert_non_null(strstr(d->error.text, "does not match its digest (got sha256:"));
        }
}

/* A layer with files of many sizes; the same again for each codec. */
#define N_FILES 9u
static const size_t file_sizes[N_FILES] = { 0,       10,           4096,   65535, 65536, 65536 * 3 + 1,
                                            2 * MIB, 3 * MIB + 77, 5 * MIB };

static void make_layer(struct world *w, struct buf *contents) {
        struct buf tar = BUF_INIT(256 * MIB);

        tar_header(&tar, '5', "models", NULL, 0, 0755);
        for (unsigned i = 0; i < N_FILES; i++) {
                char name[32];
                size_t from = contents->len;

                append_random(contents, file_sizes[i], 0x0f0f0f0fff0f0f0f);
                snprintf(name, sizeof name, "models/file%u", i);
                tar_header(&tar, '0', name, NULL, file_sizes[i], 0644);
                tar_data(&tar, buf_text(contents) + from, file_sizes[i]);
        }
        tar_end(&tar);
        for (unsigned i = 0; i < 20; i++)
                tar_end(&tar); /* padding that no reader of archives looks at */
        w->data = tar;
}

static void compress(struct world *w, enum plan_codec codec) {
        size_t cap = w->data.len + w->data.len / 8 + MIB;
        char *out = malloc(cap);

        if (codec == PLAN_CODEC_ZSTD) {
                w->data.len = ZSTD_compress(out, cap, w->data.data, w->data.len, 1);
        } else {
                struct isal_zstream s;

                isal_deflate_stateless_init(&s);
                s.gzip_flag = IGZIP_GZIP;
                s.end_of_stream = 1;
                s.next_in = (uint8_t *)w->data.data;
                s.avail_in = (uint32_t)w->data.len;
                s.next_out = (uint8_t *)out;
                s.avail_out = (uint32_t)cap;
                assert_int_equal(isal_deflate_stateless(&s), COMP_OK);
                w->data.len = s.total_out;
        }
        free(w->data.data);
        w->data.data = out;
        w->data.size = cap - 1;
}

static void assert_layer(struct delivery *d, const struct buf *contents) {
        size_t from = 0;

        assert_done(d);
        for (unsigned i = 0; i < N_FILES; i++) {
                char name[32];

                snprintf(name, sizeof name, "tree/models/file%u", i);
                assert_content(d, name, buf_text(contents) + from, file_sizes[i]);
                from += file_sizes[i];
        }
        assert_int_equal(d->placed.files, N_FILES);
        assert_int_equal(d->placed.bytes, contents->len);
        assert_int_equal(d->wrote, contents->len);
}

static void test_tar_is_unpacked_from_every_codec(void **state) {
        static const enum plan_codec codecs[] = { PLAN_CODEC_NONE, PLAN_CODEC_GZIP, PLAN_CODEC_ZSTD };
        struct world *w = *state;
        bool serving = false;

        for (size_t i = 0; i < 3; i++) {
                _cleanup_buf_ struct buf contents = BUF_INIT(256 * MIB);

                buf_free(&w->data);
                make_layer(w, &contents);
                if (codecs[i] != PLAN_CODEC_NONE)
                        compress(w, codecs[i]);
                if (!serving)
                        serve(w);
                serving = true;
                w->server.data = w->data.data;
                w->server.size = w->data.len;
                w->server.cut = 4;
                struct delivery *d[4];
                for (unsigned k = 0; k < 4; k++)
                        go(d[k] = start(w, PLAN_TAR, codecs[i]));
                for (unsigned k = 0; k < 4; k++)
                        assert_layer(d[k], &contents);
        }
}

/* Each frame is a part of the archive, as pzstd and zstd:chunked make them. */
static void test_archive_of_many_frames_is_decoded_by_several_threads(void **state) {
        struct world *w = *state;
        _cleanup_buf_ struct buf contents = BUF_INIT(256 * MIB);
        struct buf frames = BUF_INIT(256 * MIB);

        make_layer(w, &contents);
        for (size_t done = 0, n; done < w->data.len; done += n) {
                static char out[MIB];

                n = w->data.len - done < 500000 ? w->data.len - done : 500000;
                size_t len = ZSTD_compress(out, sizeof out, w->data.data + done, n, 1);
                assert_int_equal(buf_append(&frames, out, len), 0);
        }
        buf_free(&w->data);
        w->data = frames;
        w->settings->engine.decode_threads = 3;
        serve(w);
        for (unsigned k = 0; k < 3; k++)
                go(start(w, PLAN_TAR, PLAN_CODEC_ZSTD));
        for (unsigned k = 0; k < 3; k++)
                assert_layer(&w->deliveries[k], &contents);
        w->server.flip = INT32_MAX;
        struct delivery *d = start(w, PLAN_TAR, PLAN_CODEC_ZSTD);
        go(d);
        assert_failed(d, ERROR_DATA_LOSS);
}

static void test_raw_file_may_be_compressed(void **state) {
        struct world *w = *state;
        _cleanup_buf_ struct buf plain = BUF_INIT(256 * MIB);

        make_random(w, 3 * MIB + 5);
        assert_int_equal(buf_append(&plain, w->data.data, w->data.len), 0);
        compress(w, PLAN_CODEC_ZSTD);
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_ZSTD);
        go(d);
        assert_done(d);
        assert_content(d, "blob", plain.data, plain.len);
        assert_int_equal(d->placed.bytes, plain.len);
}

static void test_malformed_archive_with_the_right_digest_is_invalid(void **state) {
        struct world *w = *state;
        char digest[DIGEST_TEXT_SIZE];

        make_random(w, 5 * MIB);
        serve(w);
        for (enum plan_codec c = PLAN_CODEC_NONE; c <= PLAN_CODEC_ZSTD; c++) {
                struct delivery *d = start(w, PLAN_TAR, c);

                go(d);
                assert_failed(d, ERROR_INVALID);
                assert_non_null(strstr(d->error.text, digest_format(&d->order.digest, digest)));
        }
}

static void test_compressed_archive_whose_stream_does_not_end_well_is_invalid(void **state) {
        struct world *w = *state;
        bool serving = false;

        for (enum plan_codec c = PLAN_CODEC_GZIP; c <= PLAN_CODEC_ZSTD; c++) {
                _cleanup_buf_ struct buf contents = BUF_INIT(256 * MIB);
                /* The archive itself is whole. zstd: a frame to skip, of which the end is missing. */
                static const char frame[12] = "\x51\x2a\x4d\x18\xa0\x0f\0\0abcd";

                buf_free(&w->data);
                make_layer(w, &contents);
                compress(w, c);
                w->data.max = 256 * MIB;
                if (c == PLAN_CODEC_GZIP)
                        w->data.len -= 4;
                else
                        assert_int_equal(buf_append(&w->data, frame, sizeof frame), 0);
                if (!serving)
                        serve(w);
                serving = true;
                w->server.data = w->data.data;
                w->server.size = w->data.len;
                struct delivery *d = start(w, PLAN_TAR, c);
                go(d);
                assert_failed(d, ERROR_INVALID);
                assert_non_null(strstr(d->error.text, "ends too early"));
        }
}

static void test_bomb_is_stopped_when_it_may_not_grow(void **state) {
        struct world *w = *state;
        char *zeros = calloc(1, 32 * MIB);

        tar_header(&w->data, '0', "bomb", NULL, 32 * MIB, 0644);
        tar_data(&w->data, zeros, 32 * MIB);
        tar_end(&w->data);
        free(zeros);
        compress(w, PLAN_CODEC_ZSTD);
        serve(w);
        struct delivery *d = start(w, PLAN_TAR, PLAN_CODEC_ZSTD);
        d->grow_limit = 0;
        go(d);
        assert_failed(d, ERROR_NO_SPACE);
        assert_true(d->wrote <= w->data.len);
        d = start(w, PLAN_TAR, PLAN_CODEC_ZSTD);
        go(d);
        assert_done(d);
        assert_int_equal(d->grown, 64 * MIB);
}

static void test_layout_files_are_read_from_disk(void **state) {
        struct world *w = *state;

        make_random(w, 6 * MIB + 3);
        serve(w);
        int fd = openat(w->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, w->data.data, w->data.len), w->data.len);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        d->blob->file = fd;
        go(d);
        assert_blob(d);
        assert_int_equal(ftruncate(fd, 100), 0);
        d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        d->blob->file = fd;
        go(d);
        assert_failed(d, ERROR_DATA_LOSS);
        assert_int_equal(w->server.requests, 0);
        close(fd);
}

static void test_cancelled_transfer_ends_at_once(void **state) {
        struct world *w = *state;

        make_random(w, 20 * MIB);
        w->server.stall = true;
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        blob_server_wait_stalled(&w->server, 2);
        transfer_cancel(d->transfer);
        assert_failed(d, ERROR_CANCELLED);
}

static void test_transfer_cancelled_in_the_queue_does_not_wait_for_its_turn(void **state) {
        struct world *w = *state;

        make_random(w, 20 * MIB);
        w->server.stall = true;
        serve(w);
        for (unsigned i = 0; i < 4; i++)
                go(start(w, PLAN_RAW, PLAN_CODEC_NONE));
        blob_server_wait_stalled(&w->server, 4);
        struct delivery *first = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        struct delivery *second = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(first);
        go(second);
        transfer_cancel(second->transfer);
        assert_failed(second, ERROR_CANCELLED);
        transfer_cancel(first->transfer);
        assert_failed(first, ERROR_CANCELLED);
        for (unsigned i = 0; i < 4; i++)
                assert_false(w->deliveries[i].done);
}

static void test_file_system_without_direct_writes_gets_plain_ones(void **state) {
        struct world *w = *state;
        _cleanup_buf_ struct buf contents = BUF_INIT(256 * MIB);

        make_layer(w, &contents);
        serve(w);
        for (int late = 0; late < 2; late++) {
                refuse_direct_open = !late;
                refuse_direct_write = late;
                struct delivery *raw = start(w, PLAN_RAW, PLAN_CODEC_NONE);
                struct delivery *tar = start(w, PLAN_TAR, PLAN_CODEC_NONE);
                go(raw);
                go(tar);
                assert_blob(raw);
                assert_layer(tar, &contents);
        }
}

static void test_full_disk_ends_the_transfer_and_leaves_nothing(void **state) {
        struct world *w = *state;
        _cleanup_buf_ struct buf contents = BUF_INIT(256 * MIB);

        make_layer(w, &contents);
        serve(w);
        for (int tar = 0; tar < 2; tar++) {
                struct delivery *d = start(w, tar ? PLAN_TAR : PLAN_RAW, PLAN_CODEC_NONE);

                fail_writes_after = 5;
                go(d);
                assert_failed(d, ERROR_NO_SPACE);
                assert_true(d->wrote < w->data.len);
                fail_writes_after = -1;
        }
}

/* The journal has marks by then; but to keep the disk full would help nobody. */
static void test_full_disk_keeps_nothing_of_what_had_come(void **state) {
        struct world *w = *state;

        make_random(w, 44 * MIB);
        serve(w);
        for (int after = 16; after < 40; after += 6) {
                struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);

                fail_writes_after = after;
                go(d);
                assert_failed(d, ERROR_NO_SPACE);
                fail_writes_after = -1;
        }
}

static void test_buffered_writes_work_when_they_are_asked_for(void **state) {
        struct world *w = *state;
        struct error e;

        assert_int_equal(settings_set(w->settings, "engine.write", "buffered", &e), 0);
        refuse_direct_write = true; /* would be noticed */
        make_random(w, 7 * MIB + 3);
        serve(w);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        assert_blob(d);
}

static unsigned open_files(void) {
        DIR *dir = opendir("/proc/self/fd");
        unsigned n = 0;

        while (readdir(dir))
                n++;
        closedir(dir);
        return n;
}

static void test_engine_that_is_freed_cancels_what_runs_and_waits(void **state) {
        struct world *w = *state;

        make_random(w, 20 * MIB);
        w->server.stall = true;
        serve(w);
        for (unsigned i = 0; i < 8; i++)
                go(start(w, PLAN_RAW, PLAN_CODEC_NONE));
        blob_server_wait_stalled(&w->server, 4);
        engine_free(take_ptr(w->engine));
        for (unsigned i = 0; i < 8; i++)
                assert_failed(&w->deliveries[i], ERROR_CANCELLED);
}

/* A journal that speaks of bytes behind the archive's end, as no keeper writes it: nothing would be left to
 * read, and so nothing to compare with the digest. */
static void test_what_is_kept_is_not_believed_without_the_digest(void **state) {
        struct world *w = *state;
        const size_t size = 5 * MIB, second = TAR_BLOCK + size + 2 * TAR_BLOCK;
        struct keeper *keeper;
        struct sha256 hash;
        struct error e;

        make_random(w, size);
        _cleanup_free_ char *content = malloc(size);
        memcpy(content, w->data.data, size);
        buf_clear(&w->data);
        tar_header(&w->data, '0', "a", NULL, size, 0644);
        tar_data(&w->data, content, size);
        tar_end(&w->data);
        assert_int_equal(w->data.len, second);
        tar_data(&w->data, content, size);
        assert_int_equal(buf_append(&w->data, "end", 3), 0);
        serve(w);
        struct delivery *d = start(w, PLAN_TAR, PLAN_CODEC_NONE);
        d->order.digest.bytes[0] ^= 1;
        assert_int_equal(mkdirat(d->order.dir_fd, "tree", 0755), 0);
        assert_int_equal(path_write_file(d->order.dir_fd, "tree/a", content, size, 0600, &e), 0);
        const struct journal_head head = { .digest = d->order.digest,
                                           .size = w->data.len,
                                           .packing = PLAN_TAR };
        assert_int_equal(keeper_new(&keeper, NULL, d->order.dir_fd, &head, &(struct keeper_start){ 0 }, &e),
                         0);
        keeper_bytes(keeper, 0, w->data.data, TAR_BLOCK);
        keeper_file(keeper, TAR_BLOCK, TAR_BLOCK + size, "tree/a", 0);
        keeper_bytes(keeper, TAR_BLOCK + size, w->data.data + TAR_BLOCK + size, 2 * TAR_BLOCK);
        keeper_file(keeper, second, second + size, "tree/a", 0);
        sha256_init(&hash);
        sha256_update(&hash, w->data.data, second + size);
        keeper_mark(keeper, &hash);
        assert_int_equal(keeper_finish(keeper), second + size);
        keeper_free(keeper);
        go(d);
        assert_failed(d, ERROR_DATA_LOSS);
}

static void test_engine_leaves_no_descriptor(void **state) {
        struct world *w = *state;
        struct error e;

        make_random(w, 4 * MIB);
        w->server.cut = 2;
        serve(w);
        engine_free(take_ptr(w->engine));
        unsigned before = open_files();
        assert_int_equal(engine_new(&w->engine, w->settings, &e), 0);
        struct delivery *d = start(w, PLAN_RAW, PLAN_CODEC_NONE);
        go(d);
        assert_blob(d);
        engine_free(take_ptr(w->engine));
        blob_server_stop(&w->server);
        w->server.listener = 0;
        assert_int_equal(open_files(), before); /* d's directory instead of the listener */
}

#define T(f) \
        cmocka_unit_test_setup_teardown(f, set_up_auto, tear_down_faults), { \
#f "/posix", f, set_up_posix, tear_down_faults, NULL \
        }

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_raw_blobs_of_every_size_arrive),
                T(test_ranges_of_one_blob_run_in_parallel_within_the_limit),
                T(test_blobs_larger_together_than_the_memory_all_arrive),
                T(test_connections_that_break_are_taken_up_where_they_broke),
                T(test_server_errors_are_tried_again),
                T(test_server_that_never_recovers_is_given_up),
                T(test_expired_address_is_found_again),
                T(test_address_that_stays_expired_is_given_up),
                T(test_server_without_ranges_gives_one_stream),
                T(test_stream_that_breaks_starts_over_and_skips),
                T(test_server_that_closes_each_connection_works),
                T(test_one_wrong_answer_is_fetched_again),
                T(test_wrong_bytes_are_data_loss_and_leave_nothing),
                T(test_tar_is_unpacked_from_every_codec),
                T(test_archive_of_many_frames_is_decoded_by_several_threads),
                T(test_raw_file_may_be_compressed),
                T(test_malformed_archive_with_the_right_digest_is_invalid),
                T(test_compressed_archive_whose_stream_does_not_end_well_is_invalid),
                T(test_bomb_is_stopped_when_it_may_not_grow),
                T(test_layout_files_are_read_from_disk),
                T(test_cancelled_transfer_ends_at_once),
                T(test_transfer_cancelled_in_the_queue_does_not_wait_for_its_turn),
                T(test_file_system_without_direct_writes_gets_plain_ones),
                T(test_full_disk_ends_the_transfer_and_leaves_nothing),
                T(test_full_disk_keeps_nothing_of_what_had_come),
                T(test_buffered_writes_work_when_they_are_asked_for),
                T(test_engine_that_is_freed_cancels_what_runs_and_waits),
                T(test_what_is_kept_is_not_believed_without_the_digest),
                T(test_engine_leaves_no_descriptor),
        };
        curl_global_init(CURL_GLOBAL_DEFAULT);
        cmocka_set_test_filter(getenv("TEST_FILTER")); /* NULL: all */
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        curl_global_cleanup();
        return failed;
}
