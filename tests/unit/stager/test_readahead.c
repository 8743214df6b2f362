/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "base/path.h"
#include "stager/readahead.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* ---- decisions ---- */

static void test_auto_reads_what_fits_comfortably(void **state) {
        const struct memory_room m = { .whole = 100 * GIB, .room = 50 * GIB };

        (void)state;
        assert_int_equal(readahead_budget(READAHEAD_AUTO, 0, &m), 0);
        assert_int_equal(readahead_budget(READAHEAD_AUTO, 1, &m), 1);
        assert_int_equal(readahead_budget(READAHEAD_AUTO, 19 * GIB, &m), 19 * GIB);
        assert_int_equal(readahead_budget(READAHEAD_AUTO, 20 * GIB, &m), 0);
        assert_int_equal(readahead_budget(READAHEAD_AUTO, UINT64_MAX, &m), 0);
}

/* 40 % of it would, but then there would be less than 10 % of all left. */
static void test_auto_leaves_a_tenth(void **state) {
        const struct memory_room m = { .whole = 100 * GIB, .room = 12 * GIB };

        (void)state;
        assert_int_equal(readahead_budget(READAHEAD_AUTO, 2 * GIB, &m), 2 * GIB);
        assert_int_equal(readahead_budget(READAHEAD_AUTO, 3 * GIB, &m), 0);
}

static void test_on_reads_as_much_as_there_is_room_for(void **state) {
        const struct memory_room m = { .whole = 100 * GIB, .room = 50 * GIB };
        const struct memory_room little = { .whole = 100 * GIB, .room = 9 * GIB };

        (void)state;
        assert_int_equal(readahead_budget(READAHEAD_ON, 30 * GIB, &m), 30 * GIB);
        assert_int_equal(readahead_budget(READAHEAD_ON, 60 * GIB, &m), 40 * GIB);
        assert_int_equal(readahead_budget(READAHEAD_ON, 1, &little), 0);
}

static void test_off_reads_nothing(void **state) {
        const struct memory_room m = { .whole = 100 * GIB, .room = 100 * GIB };

        (void)state;
        assert_int_equal(readahead_budget(READAHEAD_OFF, 1, &m), 0);
}

static void test_less_than_a_tenth_is_low(void **state) {
        (void)state;
        assert_true(readahead_is_low(&(struct memory_room){ .whole = 1000, .room = 99 }));
        assert_false(readahead_is_low(&(struct memory_room){ .whole = 1000, .room = 100 }));
}

/* ---- reading ---- */

static struct cache_file files[] = {
        { .path = (char *)"a.bin", .size = 3 * MIB + 5 },
        { .path = (char *)"b.safetensors", .size = 20 * MIB + 1 },
        { .path = (char *)"dir/a.gguf", .size = MIB },
        { .path = (char *)"empty", .size = 0 },
        { .path = (char *)"z.json", .size = 100 },
};
#define N_FILES (sizeof files / sizeof *files)
#define ALL (24 * MIB + 106)

struct world {
        char dir[64];
        int dir_fd;
        unsigned asked, limit; /* of go_on() */
};

static int set_up(void **state) {
        struct world *w = calloc(1, sizeof *w);
        char *zeros = calloc(1, MIB);

        snprintf(w->dir, sizeof w->dir, "/var/tmp/readahead-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(mkdirat(w->dir_fd, "dir", 0755), 0);
        w->limit = UINT32_MAX;
        for (size_t i = 0; i < N_FILES; i++) {
                int fd = openat(w->dir_fd, files[i].path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

                for (uint64_t n = 0; n < files[i].size; n += MIB) {
                        size_t len = files[i].size - n < MIB ? (size_t)(files[i].size - n) : MIB;

                        assert_int_equal(write(fd, zeros, len), len);
                }
                assert_int_equal(fsync(fd), 0);
                assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
                close(fd);
        }
        free(zeros);
        *state = w;
        return 0;
}

static int tear_down(void **state) {
        struct world *w = *state;
        int parent = open("/var/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        close(w->dir_fd);
        assert_int_equal(path_remove_tree(parent, path_base(w->dir), NULL), 0);
        close(parent);
        free(w);
        return 0;
}

/* Pages of file @i in memory, and of how many. */
static size_t resident(struct world *w, size_t i, size_t *ret_pages) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (size_t)(files[i].size + page - 1) / page, sum = 0;
        int fd = openat(w->dir_fd, files[i].path, O_RDONLY | O_CLOEXEC);

        *ret_pages = n;
        if (n > 0) {
                unsigned char *vector = calloc(1, n);
                void *map = mmap(NULL, files[i].size, PROT_READ, MAP_SHARED, fd, 0);

                assert_ptr_not_equal(map, MAP_FAILED);
                assert_int_equal(mincore(map, files[i].size, vector), 0);
                for (size_t k = 0; k < n; k++)
                        sum += vector[k] & 1;
                munmap(map, files[i].size);
                free(vector);
        }
        close(fd);
        return sum;
}

static bool is_warm(struct world *w, size_t i) {
        size_t pages;

        return resident(w, i, &pages) == pages;
}

static bool is_cold(struct world *w, size_t i) {
        size_t pages;

        return resident(w, i, &pages) == 0;
}

/* Where files are memory there is nothing to see. */
static void need_cold_files(struct world *w) {
        for (size_t i = 0; i < N_FILES; i++)
                if (!is_cold(w, i))
                        skip();
}

static bool go_on(void *userdata) {
        struct world *w = userdata;

        return w->asked++ < w->limit;
}

static uint64_t read_files(struct world *w, uint64_t budget) {
        return readahead_files(&(struct readahead_source){ .dir_fd = w->dir_fd,
                                                           .files = files,
                                                           .n_files = N_FILES,
                                                           .budget = budget,
                                                           .go_on = go_on,
                                                           .userdata = w });
}

static void test_all_files_are_in_memory_afterwards(void **state) {
        struct world *w = *state;

        assert_int_equal(read_files(w, ALL), ALL);
        for (size_t i = 0; i < N_FILES; i++)
                assert_true(is_warm(w, i));
}

static void test_tensors_come_first(void **state) {
        struct world *w = *state;

        need_cold_files(w);
        assert_int_equal(read_files(w, 21 * MIB + 1), 21 * MIB + 1);
        assert_true(is_warm(w, 1) && is_warm(w, 2));
        assert_true(is_cold(w, 0) && is_cold(w, 4));
}

static void test_the_budget_ends_within_a_file(void **state) {
        struct world *w = *state;
        size_t pages, n;

        need_cold_files(w);
        assert_int_equal(read_files(w, 10 * MIB), 10 * MIB);
        n = resident(w, 1, &pages);
        assert_in_range(n * (size_t)sysconf(_SC_PAGESIZE), 10 * MIB, 12 * MIB);
        assert_true(is_cold(w, 2));
}

static void test_it_stops_when_it_is_told_to(void **state) {
        struct world *w = *state;

        need_cold_files(w);
        w->limit = 1;
        assert_int_equal(read_files(w, ALL), 8 * MIB);
        assert_int_equal(w->asked, 2);
        assert_true(!is_warm(w, 1) && is_cold(w, 2));
}

static void test_files_that_are_missing_or_short(void **state) {
        struct world *w = *state;

        assert_int_equal(unlinkat(w->dir_fd, "dir/a.gguf", 0), 0);
        int fd = openat(w->dir_fd, "b.safetensors", O_WRONLY | O_CLOEXEC);
        assert_int_equal(ftruncate(fd, MIB), 0);
        close(fd);
        assert_int_equal(read_files(w, ALL), ALL - MIB - (19 * MIB + 1));
        assert_true(is_warm(w, 0) && is_warm(w, 4));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_auto_reads_what_fits_comfortably),
                cmocka_unit_test(test_auto_leaves_a_tenth),
                cmocka_unit_test(test_on_reads_as_much_as_there_is_room_for),
                cmocka_unit_test(test_off_reads_nothing),
                cmocka_unit_test(test_less_than_a_tenth_is_low),
                cmocka_unit_test_setup_teardown(test_all_files_are_in_memory_afterwards, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_tensors_come_first, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_the_budget_ends_within_a_file, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_it_stops_when_it_is_told_to, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_files_that_are_missing_or_short, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
