/* SPDX-License-Identifier: Apache-2.0 */
/* WRAP: fsync fdatasync pwrite fallocate ftruncate */
/* Files of any size and with any holes, written in any pieces, against a copy in memory. */
#include "tests/unit/stager/place_world.h"

/* What a flush of a file found. */
static atomic_int flushes;
static atomic_uint flushed_mode;
static atomic_int_fast64_t flushed_mtime;

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);

int __wrap_fsync(int fd) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -1;
        flushed_mode = st.st_mode & 07777;
        flushed_mtime = st.st_mtim.tv_sec;
        flushes++;
        return __real_fsync(fd);
}

/* A file system that takes O_DIRECT at open and refuses each first write, by MiB. */
static atomic_bool refusing;
static atomic_uint refused;

ssize_t __real_pwrite(int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset);

/* A full disk, in small: what is less than a block does not go. */
static atomic_bool refusing_ends;
static atomic_int refused_ends;

ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset) {
        unsigned bit = 1u << ((size_t)offset / MIB);

        if (refusing_ends && len < BLOCK) {
                refused_ends++;
                errno = ENOSPC;
                return -1;
        }

        if (refusing && !(atomic_fetch_or(&refused, bit) & bit)) {
                errno = EINVAL;
                return -1;
        }
        return __real_pwrite(fd, data, len, offset);
}

/* How space is given: 0, or the errno that fallocate() fails with. */
static atomic_int no_space, asked_for_space, cuts;

int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len) {
        asked_for_space++;
        if (no_space == 0)
                return __real_fallocate(fd, mode, offset, len);
        errno = no_space;
        return -1;
}

int __real_ftruncate(int fd, off_t size);
int __wrap_ftruncate(int fd, off_t size);

int __wrap_ftruncate(int fd, off_t size) {
        cuts++;
        return __real_ftruncate(fd, size);
}

int __wrap_fdatasync(int fd) { /* leaves mode and times to chance */
        (void)fd;
        errno = EINVAL;
        return -1;
}

/* Pieces of data and, if @sparse, holes between them; the same into @want. Returns the data's bytes. */
static size_t write_pieces(struct place_file *f, struct test_rng *rng, char *want, size_t size, bool sparse) {
        struct error e;
        size_t data = 0;

        memset(want, 0, size);
        for (size_t pos = 0; pos < size;) {
                size_t n = 1 + test_rng_next(rng) % (test_rng_next(rng) % 3 ? 3000 : 700000);

                if (n > size - pos)
                        n = size - pos;
                if (!sparse || test_rng_next(rng) % 2) {
                        for (size_t i = 0; i < n; i++)
                                want[pos + i] = (char)test_rng_next(rng);
                        if (place_write(f, want + pos, n, pos, &e) < 0)
                                fail_msg("%s", e.text);
                        data += n;
                }
                pos += n;
        }
        return data;
}

static void test_files_are_what_was_written_whatever_the_pieces_and_holes(void **state) {
        enum { FILES = 60 };
        static char *want[FILES];
        size_t sizes[FILES], data = 0, whole = 0;
        struct test_rng rng = test_rng_new("place");
        struct world *w = *state;
        struct error e;
        char name[16];

        for (int i = 0; i < FILES; i++) {
                bool sparse = i % 2;

                sizes[i] = test_rng_next(&rng) % (i % 3 ? 200000 : MAX_SIZE);
                want[i] = malloc(sizes[i] + 1);
                whole += sizes[i];
                snprintf(name, sizeof name, "%d", i);
                struct place_file *f = begin(w, name, sizes[i], sparse);
                data += write_pieces(f, &rng, want[i], sizes[i], sparse);
                end(f, sizes[i], i % 7 == 0);
        }
        assert_int_equal(placer_drain(&w->placer, &e), 0);
        assert_in_range(w->wrote, data, whole); /* holes smaller than a block are written */
        for (int i = 0; i < FILES; i++) {
                snprintf(name, sizeof name, "%d", i);
                assert_same(w, name, want[i], sizes[i]);
                free(want[i]);
        }
}

static void test_mode_and_time_are_flushed_with_the_data(void **state) {
        struct world *w = *state;
        static char data[2 * MIB];
        struct error e;

        flushes = 0;
        struct place_file *f = begin(w, "a", sizeof data, false);
        assert_int_equal(place_write(f, data, sizeof data, 0, &e), 0);
        end(f, sizeof data, true);
        assert_int_equal(placer_drain(&w->placer, &e), 0);
        assert_same(w, "a", data, sizeof data);
        if (strcmp(reactor_io(w->reactor), "posix") != 0)
                return; /* the kernel's own call is not seen from here */
        assert_int_equal(flushes, 1);
        assert_int_equal(flushed_mode, 0444);
        assert_int_equal(flushed_mtime, 5);
}

static void test_data_that_goes_backwards_is_refused(void **state) {
        struct world *w = *state;
        struct error e;
        static char block[100000];

        struct place_file *f = begin(w, "a", MIB, true);
        assert_int_equal(place_write(f, block, sizeof block, 0, &e), 0);
        assert_true(place_write(f, block, sizeof block, 99999, &e) < 0);
        assert_int_equal(e.kind, ERROR_INVALID);
        assert_true(place_write(f, block, sizeof block, UINT64_MAX - 10, &e) < 0);
}

static void test_a_name_that_exists_is_not_opened(void **state) {
        struct world *w = *state;
        struct place_file *f;
        struct error e;

        assert_int_equal(symlinkat("outside", w->dir_fd, "link"), 0);
        assert_true(place_open(&f, &w->placer, w->dir_fd, "link", 10, false, &e) < 0);
        assert_int_equal(faccessat(w->dir_fd, "outside", F_OK, 0), -1);
}

static void test_restart_does_not_tell_the_same_bytes_twice(void **state) {
        struct world *w = *state;
        static char data[300000];
        struct error e;

        for (int i = 1; i <= 2; i++) {
                struct place_file *f = begin(w, "a", sizeof data, false);

                assert_int_equal(place_write(f, data, sizeof data, 0, &e), 0);
                end(f, sizeof data, false);
                assert_int_equal(placer_drain(&w->placer, &e), 0);
                assert_int_equal(w->wrote, sizeof data);
                placer_restart(&w->placer);
                assert_int_equal(unlinkat(w->dir_fd, "a", 0), 0);
        }
}

static void test_what_was_left_open_is_closed_and_gives_its_memory_back(void **state) {
        struct world *w = *state;
        static char data[700000];
        struct error e;

        assert_int_equal(place_write(begin(w, "a", MIB, false), data, sizeof data, 0, &e), 0);
        assert_int_equal(place_write(begin(w, "b", 5 * MIB, true), data, sizeof data, 3 * MIB, &e), 0);
        placer_restart(&w->placer);
        assert_int_equal(arena_available(w->arena, ARENA_OUTPUT), arena_segments(w->arena, ARENA_OUTPUT));
}

static int place_all(struct world *w, const char *name, const char *data, size_t size, struct error *e) {
        struct place_file *f = begin(w, name, size, false);
        int r = place_write(f, data, size, 0, e);

        if (r < 0)
                return r;
        end(f, size, false);
        return placer_drain(&w->placer, e);
}

static void test_files_are_complete_where_no_space_can_be_allocated_ahead(void **state) {
        struct world *w = *state;
        static char data[3 * MIB + 57];
        struct error e;

        memset(data, 5, sizeof data);
        no_space = EOPNOTSUPP;
        asked_for_space = 0;
        int r = place_all(w, "a", data, sizeof data, &e);
        no_space = 0;
        if (r < 0)
                fail_msg("%s", e.text);
        assert_int_equal(asked_for_space, 1);
        assert_same(w, "a", data, sizeof data);
}

static void test_a_disk_without_space_is_told_before_anything_is_written(void **state) {
        struct world *w = *state;
        static char data[3 * MIB];
        struct error e;

        no_space = ENOSPC;
        int r = place_write(begin(w, "a", sizeof data, false), data, sizeof data, 0, &e);
        no_space = 0;
        assert_true(r < 0);
        assert_int_equal(e.kind, ERROR_NO_SPACE);
        assert_int_equal(w->wrote, 0);
}

/* Whoever says that a file is large and then brings little has that much of the disk. */
static void test_space_that_is_allocated_ahead_is_claimed(void **state) {
        struct world *w = *state;
        static char data[512];
        struct error e;

        assert_int_equal(place_write(begin(w, "a", MIB, false), data, sizeof data, 0, &e), 0);
        assert_int_equal(w->placer.claimed, MIB);
        assert_int_equal(place_write(begin(w, "b", 65 * MIB, false), data, sizeof data, 0, &e), 0);
        assert_int_equal(w->placer.claimed, MIB + PLACE_GROW_STEP);
        assert_int_equal(place_write(begin(w, "c", MIB, true), data, sizeof data, MIB / 2, &e), 0);
        assert_int_equal(w->placer.claimed, MIB + PLACE_GROW_STEP + sizeof data);
        asked_for_space = 0;
        no_space = ENOSPC; /* counts */
        assert_int_equal(place_write(begin(w, "d", 66 * MIB, false), data, sizeof data, 65 * MIB, &e), 0);
        no_space = 0;
        assert_int_equal(asked_for_space, 0);
        assert_int_equal(w->placer.claimed, MIB + PLACE_GROW_STEP + 2 * sizeof data);
}

static void test_a_file_claims_its_size_once(void **state) {
        static const size_t sizes[] = { 100, 64 << 10, 100 * 1024 + 57, MIB, 3 * MIB + 1 };
        static char data[3 * MIB + 1];
        struct world *w = *state;
        uint64_t sum = 0;
        struct error e;

        memset(data, 3, sizeof data);
        for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
                size_t size = sizes[i / 2];
                char name[16];

                snprintf(name, sizeof name, "%zu", i);
                no_space = i % 2 ? EOPNOTSUPP : 0;
                int r = place_all(w, name, data, size, &e);
                no_space = 0;
                if (r < 0)
                        fail_msg("%s", e.text);
                sum += size;
                assert_int_equal(w->placer.claimed, sum);
                assert_same(w, name, data, size);
        }
}

/* To be cut costs the file system a read. */
static void test_a_file_in_one_segment_is_not_cut_to_its_size(void **state) {
        struct world *w = *state;
        static char data[100 * 1024 + 57];
        struct error e;

        memset(data, 9, sizeof data);
        for (int i = 0; i < 4; i++) {
                static const char *const names[] = { "apart", "with the rest", "unallocated", "both" };
                const char *name = names[i];
                int refuse = i % 2;

                cuts = refused_ends = 0;
                refusing_ends = refuse;
                no_space = i / 2 ? EOPNOTSUPP : 0;
                int r = place_all(w, name, data, sizeof data, &e);
                refusing_ends = false;
                no_space = 0;
                if (r < 0)
                        fail_msg("%s", e.text);
                assert_int_equal(cuts, refuse);
                assert_int_equal(refused_ends, refuse);
                assert_same(w, name, data, sizeof data);
        }
        assert_int_equal(w->wrote, 4 * sizeof data);
}

/* Several are under way when the first one is refused. */
static void test_direct_writes_that_are_refused_are_written_again(void **state) {
        struct world *w = *state;
        static char data[MAX_SIZE];
        struct error e;

        memset(data, 7, sizeof data);
        struct place_file *f = begin(w, "a", sizeof data, false);
        refused = 0;
        refusing = true;
        assert_int_equal(place_write(f, data, sizeof data, 0, &e), 0);
        end(f, sizeof data, false);
        int r = placer_drain(&w->placer, &e);
        refusing = false;
        if (r < 0)
                fail_msg("%s", e.text);
        assert_int_equal(refused, 0xf);
        assert_same(w, "a", data, sizeof data);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_files_are_what_was_written_whatever_the_pieces_and_holes),
                T(test_mode_and_time_are_flushed_with_the_data),
                T(test_data_that_goes_backwards_is_refused),
                T(test_a_name_that_exists_is_not_opened),
                T(test_restart_does_not_tell_the_same_bytes_twice),
                T(test_what_was_left_open_is_closed_and_gives_its_memory_back),
                T(test_files_are_complete_where_no_space_can_be_allocated_ahead),
                T(test_a_disk_without_space_is_told_before_anything_is_written),
                T(test_a_file_in_one_segment_is_not_cut_to_its_size),
                T(test_space_that_is_allocated_ahead_is_claimed),
                T(test_a_file_claims_its_size_once),
                cmocka_unit_test_setup_teardown(test_direct_writes_that_are_refused_are_written_again,
                                                set_up_posix, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
