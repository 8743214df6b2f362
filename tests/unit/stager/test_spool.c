/* SPDX-License-Identifier: Apache-2.0 */
/* WRAP: fallocate */
/* Compressed blobs, kept as they come, and transfers that go on with what an earlier one has kept. */
#include "tests/unit/stager/tar_builder.h"

#include "cache/cache.h"
#include "stager/keeper.h"
#include "stager/spool.h"
#include "tests/unit/stager/engine_world.h"

#include <zstd.h>

#define SIZE (64 * MIB + 777) /* some windows */
#define KEPT (20 * MIB)

static struct buf plain = { .max = 256 * MIB };
static atomic_int_fast64_t spared; /* taken and not given back */
static atomic_int spares;
static bool no_space, damages, shortens;
static int staging;           /* of the transfer */
static const char *part_name; /* of what was kept */

/* A disk without space for the file of that name; or only the first time it is asked. */
static const char *full;
static bool forgives;
static atomic_int refusals;

int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len) {
        char link[64], path[256];

        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        path[n > 0 ? n : 0] = '\0';
        if (!full || strcmp(path_base(path), full) != 0 || (forgives && refusals > 0))
                return __real_fallocate(fd, mode, offset, len);
        refusals++;
        errno = ENOSPC;
        return -1;
}

/* Comes after what was kept has been looked at, and before it is decoded. */
static int on_spare(void *userdata, uint64_t bytes) {
        _cleanup_close_ int fd = openat(staging, CACHE_PACKED, O_RDWR | O_CLOEXEC);
        char byte;

        (void)userdata;
        spares++;
        if (damages && pread(fd, &byte, 1, KEPT / 2) == 1) {
                byte ^= 1;
                damages = pwrite(fd, &byte, 1, KEPT / 2) != 1;
        }
        if (shortens) {
                shortens = ftruncate(fd, KEPT / 2) < 0;
                return -ENOSPC; /* or the file would be made long again */
        }
        if (no_space)
                return -ENOSPC;
        spared += (int64_t)bytes;
        return 0;
}

static void on_spared(void *userdata, uint64_t bytes) {
        (void)userdata;
        spared -= (int64_t)bytes;
}

static int set_up_spool(void **state) {
        spared = 0;
        spares = 0;
        no_space = damages = shortens = forgives = false;
        full = NULL;
        part_name = CACHE_PACKED;
        refusals = 0;
        buf_clear(&plain);
        return set_up(state, "auto");
}

static int tear_down_spool(void **state) {
        assert_int_equal(spared, 0);
        buf_free(&plain);
        return tear_down(state);
}

/* The world's blob: @size bytes, in an archive with a file "a" or alone, in one frame of zstd. */
static void make_blob(struct world *w, enum plan_packing packing, size_t size) {
        struct buf data = BUF_INIT(256 * MIB);

        append_random(&plain, size, UINT64_MAX);
        if (packing == PLAN_TAR)
                tar_header(&data, '0', "a", NULL, size, 0644);
        assert_int_equal(buf_append(&data, plain.data, plain.len), 0);
        if (packing == PLAN_TAR) {
                tar_pad(&data);
                tar_end(&data);
        }
        char *out = malloc(ZSTD_compressBound(data.len));
        size_t len = ZSTD_compress(out, ZSTD_compressBound(data.len), data.data, data.len, 1);
        assert_int_equal(buf_append(&w->data, out, len), 0);
        free(out);
        buf_free(&data);
}

static struct delivery *start_spooled(struct world *w, enum plan_packing packing) {
        struct delivery *d = start(w, packing, PLAN_CODEC_ZSTD);

        d->order.spare = on_spare;
        d->order.spared = on_spared;
        staging = d->order.dir_fd;
        return d;
}

/* As an earlier transfer would have left it, when @upto bytes had come. */
static void keep_part(const struct delivery *d, size_t upto) {
        const struct journal_head head = { .digest = d->order.digest,
                                           .size = d->order.size,
                                           .packing = d->order.packing,
                                           .codec = d->order.codec };
        const char *blob = buf_text(&d->world->data);
        struct keeper *keeper;
        struct sha256 hash;
        struct error e;

        assert_int_equal(path_write_file(d->order.dir_fd, part_name, blob, upto, 0600, &e), 0);
        assert_int_equal(mkdirat(d->order.dir_fd, "tree", 0755), 0); /* half of it, as it was */
        assert_int_equal(path_write_file(d->order.dir_fd, "tree/a", "half", 4, 0600, &e), 0);
        assert_int_equal(keeper_new(&keeper, NULL, d->order.dir_fd, &head, &(struct keeper_start){ 0 }, &e),
                         0);
        keeper_file(keeper, 0, d->order.size, part_name, 0);
        sha256_init(&hash);
        for (size_t done = 0; done < upto; done += MIB) {
                sha256_update(&hash, blob + done, MIB);
                keeper_mark(keeper, &hash);
        }
        assert_int_equal(keeper_finish(keeper), upto);
        keeper_free(keeper);
}

/* An archive of @size bytes at a registry, of which @kept bytes were kept. */
static struct delivery *ready(struct world *w, size_t size, size_t kept) {
        make_blob(w, PLAN_TAR, size);
        serve(w);
        struct delivery *d = start_spooled(w, PLAN_TAR);
        if (kept > 0)
                keep_part(d, kept);
        return d;
}

static uint64_t received(const struct delivery *d) {
        struct transfer_progress p;

        transfer_progress(d->transfer, &p);
        return p.received;
}

static void assert_placed(struct delivery *d) {
        assert_done(d);
        assert_content(d, d->order.packing == PLAN_TAR ? "tree/a" : "blob", buf_text(&plain), plain.len);
        assert_int_equal(d->placed.bytes, plain.len);
        assert_int_equal(d->wrote, plain.len);
        assert_int_equal(spared, 0);
}

static bool exists(const struct delivery *d, const char *name) {
        return faccessat(d->order.dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void test_a_compressed_blob_is_kept_until_it_is_there(void **state) {
        struct world *w = *state;

        struct delivery *d = ready(w, SIZE, 0);

        go(d);
        assert_placed(d);
        assert_int_equal(spares, 1);
        assert_true(exists(d, CACHE_JOURNAL));
        assert_false(exists(d, CACHE_PACKED));
}

static void check_going_on(struct world *w, enum plan_packing packing) {
        make_blob(w, packing, SIZE);
        serve(w);
        struct delivery *d = start_spooled(w, packing);
        keep_part(d, KEPT);
        go(d);
        assert_placed(d);
        assert_int_equal(received(d), w->data.len - KEPT);
}

static void test_an_archive_is_gone_on_with(void **state) {
        check_going_on(*state, PLAN_TAR);
}

static void test_a_file_is_gone_on_with(void **state) {
        check_going_on(*state, PLAN_RAW);
}

static void test_without_space_to_spare_it_works_and_nothing_is_kept(void **state) {
        struct world *w = *state;

        struct delivery *d = ready(w, SIZE, 0);

        no_space = true;
        go(d);
        assert_placed(d);
        assert_int_equal(spares, 1);
        assert_false(exists(d, CACHE_PACKED) || exists(d, CACHE_JOURNAL));
}

static void test_without_space_to_spare_what_was_kept_serves(void **state) {
        struct world *w = *state;

        struct delivery *d = ready(w, SIZE, KEPT);

        no_space = true;
        go(d);
        assert_placed(d);
        assert_int_equal(received(d), w->data.len - KEPT);
}

/* The file system says no, whatever the books say. */
static void test_a_spool_that_cannot_be_allocated_is_done_without(void **state) {
        struct world *w = *state;

        struct delivery *d = ready(w, SIZE, 0);

        full = CACHE_PACKED;
        go(d);
        assert_placed(d);
        assert_true(refusals > 0);
        assert_int_equal(received(d), w->data.len);
        assert_false(exists(d, CACHE_PACKED) || exists(d, CACHE_JOURNAL));
}

static void test_the_disk_is_full_beside_what_was_kept(void **state) {
        struct world *w = *state;

        struct delivery *d = ready(w, SIZE, KEPT);

        full = CACHE_PACKED;
        go(d);
        assert_placed(d);
        assert_true(refusals > 0);
        assert_int_equal(received(d), w->data.len - KEPT);
}

/* As an earlier transfer would have left it that had all of "a", which "b" is a link to. */
static void keep_linked_file(const struct delivery *d, const struct buf *content) {
        const struct journal_head head = { .digest = d->order.digest,
                                           .size = d->order.size,
                                           .packing = PLAN_TAR };
        const char *blob = buf_text(&d->world->data);
        int dir_fd = d->order.dir_fd;
        struct keeper *keeper;
        struct sha256 hash;
        struct error e;

        assert_int_equal(mkdirat(dir_fd, "tree", 0755), 0);
        assert_int_equal(path_write_file(dir_fd, "tree/a", buf_text(content), content->len, 0644, &e), 0);
        assert_int_equal(linkat(dir_fd, "tree/a", dir_fd, "tree/b", 0), 0);
        assert_int_equal(keeper_new(&keeper, NULL, dir_fd, &head, &(struct keeper_start){ 0 }, &e), 0);
        keeper_bytes(keeper, 0, blob, 512);
        keeper_file(keeper, 512, 512 + content->len, "tree/a", 0);
        sha256_init(&hash);
        sha256_update(&hash, blob, 512 + content->len);
        keeper_mark(keeper, &hash);
        assert_int_equal(keeper_finish(keeper), 512 + content->len);
        keeper_free(keeper);
}

/* An archive of "a" and a link to it at a registry, of which all but the end was kept. */
static struct delivery *ready_with_link(struct world *w) {
        append_random(&plain, KEPT, UINT64_MAX);
        tar_header(&w->data, '0', "a", NULL, plain.len, 0644);
        tar_data(&w->data, buf_text(&plain), plain.len);
        tar_header(&w->data, '1', "b", "a", 0, 0644);
        tar_end(&w->data);
        serve(w);
        struct delivery *d = start(w, PLAN_TAR, PLAN_CODEC_NONE);
        keep_linked_file(d, &plain);
        return d;
}

/* It has other names, so it is written anew; but it counts once. */
static void test_a_kept_file_that_has_links_counts_once(void **state) {
        struct world *w = *state;
        struct delivery *d = ready_with_link(w);

        go(d);
        assert_done(d);
        assert_content(d, "tree/a", buf_text(&plain), plain.len);
        assert_content(d, "tree/b", buf_text(&plain), plain.len);
        assert_int_equal(received(d), w->data.len - 512 - plain.len);
        assert_int_equal(d->wrote, 512 + plain.len); /* what was kept */
}

/* There is no space for both: it comes again. */
static void test_the_disk_is_full_beside_a_kept_file_that_has_links(void **state) {
        struct world *w = *state;
        struct delivery *d = ready_with_link(w);

        full = "a";
        forgives = true;
        go(d);
        assert_done(d);
        assert_content(d, "tree/a", buf_text(&plain), plain.len);
        assert_content(d, "tree/b", buf_text(&plain), plain.len);
        assert_int_equal(refusals, 1);
        assert_in_range(received(d), w->data.len, 2 * w->data.len - 512 - plain.len); /* its end twice */
}

/* What fits without a spool comes in any case. */
static void test_a_disk_that_is_too_small_for_both_gets_the_files(void **state) {
        struct world *w = *state;

        struct delivery *d = ready(w, SIZE, 0);

        full = "a";
        forgives = true;
        go(d);
        assert_placed(d);
        assert_int_equal(refusals, 1);
        assert_int_equal(spares, 1); /* not again */
        assert_false(exists(d, CACHE_PACKED) || exists(d, CACHE_JOURNAL));
}

static void test_a_disk_that_is_too_small_is_too_small(void **state) {
        struct world *w = *state;

        struct delivery *d = ready(w, SIZE, 0);

        full = "a";
        go(d);
        assert_failed(d, ERROR_NO_SPACE);
        assert_int_equal(refusals, 2);
        assert_false(exists(d, CACHE_PACKED));
}

/* As if the journal spoke of another file. */
static void test_what_is_no_file_is_not_waited_for(void **state) {
        struct world *w = *state;

        part_name = "blob";
        struct delivery *d = ready(w, SIZE, KEPT);
        assert_int_equal(mkfifoat(d->order.dir_fd, CACHE_PACKED, 0600), 0);
        go(d);
        assert_placed(d);
        assert_int_equal(received(d), w->data.len);
}

static void test_what_is_one_window_is_not_kept(void **state) {
        struct world *w = *state;
        struct delivery *d = ready(w, 8 * MIB, 0);

        go(d);
        assert_placed(d);
        assert_int_equal(spares, 0);
}

static void test_what_is_a_little_more_is_kept(void **state) {
        struct world *w = *state;
        struct delivery *d = ready(w, 33 * MIB, 0);

        go(d);
        assert_placed(d);
        assert_int_not_equal(spares, 0);
}

static void test_who_has_no_space_to_spare_keeps_nothing(void **state) {
        struct world *w = *state;

        make_blob(w, PLAN_TAR, SIZE);
        serve(w);
        struct delivery *d = start(w, PLAN_TAR, PLAN_CODEC_ZSTD);
        keep_part(d, KEPT);
        go(d);
        assert_placed(d);
        assert_false(exists(d, CACHE_PACKED) || exists(d, CACHE_JOURNAL));
}

/* The digest begins behind what was kept, so nobody else would notice. */
static void check_change(struct world *w, bool *how) {
        struct delivery *d = ready(w, SIZE, KEPT);

        *how = true;
        go(d);
        assert_placed(d);
        assert_false(*how);
        assert_int_equal(spares, 2);
        assert_true(received(d) >= w->data.len);
}

static void test_what_changed_since_it_was_looked_at_is_fetched_again(void **state) {
        check_change(*state, &damages);
}

static void test_what_became_shorter_is_fetched_again(void **state) {
        check_change(*state, &shortens);
}

/* Nobody could go on with bytes that are not the blob's. */
static void test_wrong_bytes_leave_nothing(void **state) {
        struct world *w = *state;

        w->server.flip = INT32_MAX;
        struct delivery *d = ready(w, SIZE, 0);

        go(d);
        assert_failed(d, ERROR_DATA_LOSS);
        assert_false(exists(d, CACHE_PACKED));
}

static void test_a_cancelled_transfer_leaves_what_had_come(void **state) {
        struct world *w = *state;
        struct stat st;

        struct delivery *d = ready(w, SIZE, KEPT);

        w->server.stall = true;
        go(d);
        blob_server_wait_stalled(&w->server, 1);
        transfer_cancel(d->transfer);
        wait_done(d);
        assert_int_equal(d->error.kind, ERROR_CANCELLED);
        assert_true(exists(d, CACHE_JOURNAL));
        assert_int_equal(fstatat(d->order.dir_fd, CACHE_PACKED, &st, 0), 0);
        assert_int_equal(st.st_size, KEPT);
        assert_false(exists(d, "tree"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up_spool, tear_down_spool)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_a_compressed_blob_is_kept_until_it_is_there),
                T(test_an_archive_is_gone_on_with),
                T(test_a_file_is_gone_on_with),
                T(test_without_space_to_spare_it_works_and_nothing_is_kept),
                T(test_without_space_to_spare_what_was_kept_serves),
                T(test_a_spool_that_cannot_be_allocated_is_done_without),
                T(test_a_kept_file_that_has_links_counts_once),
                T(test_the_disk_is_full_beside_a_kept_file_that_has_links),
                T(test_the_disk_is_full_beside_what_was_kept),
                T(test_a_disk_that_is_too_small_for_both_gets_the_files),
                T(test_a_disk_that_is_too_small_is_too_small),
                T(test_what_is_no_file_is_not_waited_for),
                T(test_what_is_one_window_is_not_kept),
                T(test_what_is_a_little_more_is_kept),
                T(test_who_has_no_space_to_spare_keeps_nothing),
                T(test_what_changed_since_it_was_looked_at_is_fetched_again),
                T(test_what_became_shorter_is_fetched_again),
                T(test_wrong_bytes_leave_nothing),
                T(test_a_cancelled_transfer_leaves_what_had_come),
        };
        curl_global_init(CURL_GLOBAL_DEFAULT);
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        curl_global_cleanup();
        return failed;
}
