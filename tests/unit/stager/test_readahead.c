/* SPDX-License-Identifier: Apache-2.0 */
/* WRAP: cache_model_find cache_model_files memory_look sendfile metric_change */
/* The decisions, the reading of files in a folder, and the thread with a cache and a memory of the test's own. */
#include "tests/unit/test.h"

#include "base/metrics.h"
#include "base/path.h"
#include "stager/readahead.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CACHESTAT 451 /* the system call's number, everywhere; Debian 12's headers do not have it */
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

/* Pages of file @i that were in memory and that the kernel has taken back; before Linux 6.5 nobody can tell. */
static size_t taken_back(struct world *w, size_t i) {
        struct {
                uint64_t offset, len;
        } range = { .len = files[i].size };
        struct {
                uint64_t cache, dirty, writeback, evicted, recently_evicted;
        } found = { .evicted = 0 };
        int fd = openat(w->dir_fd, files[i].path, O_RDONLY | O_CLOEXEC);

        if (range.len == 0 || syscall(CACHESTAT, fd, &range, &found, 0) < 0)
                found.evicted = 0;
        close(fd);
        return (size_t)found.evicted;
}

/* Every page is there, but for those that the kernel has taken back: nobody has mapped them yet. */
static bool is_warm(struct world *w, size_t i) {
        size_t pages, here = resident(w, i, &pages);

        return here == pages || (here > pages - pages / 10 && here + taken_back(w, i) >= pages);
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

static uint64_t read_these(struct world *w, const struct cache_file *list, size_t n, uint64_t budget) {
        return readahead_files(&(struct readahead_source){ .dir_fd = w->dir_fd,
                                                           .files = list,
                                                           .n_files = n,
                                                           .budget = budget,
                                                           .go_on = go_on,
                                                           .userdata = w });
}

static uint64_t read_files(struct world *w, uint64_t budget) {
        return read_these(w, files, N_FILES, budget);
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
        n = resident(w, 1, &pages) + taken_back(w, 1);
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

static void test_many_small_files_are_not_asked_about_one_by_one(void **state) {
        struct world *w = *state;
        struct cache_file many[200];

        for (size_t i = 0; i < 200; i++)
                many[i] = files[4];
        assert_int_equal(read_these(w, many, 200, ALL), 200 * files[4].size);
        assert_int_equal(w->asked, 13);
        for (size_t i = 0; i < 200; i++)
                many[i].path = (char *)"missing";
        assert_int_equal(read_these(w, many, 200, ALL), 0);
        assert_int_equal(w->asked, 26);
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

/* ---- the thread ---- */

/* What the thread is told, and what it has done; `lock` guards all of it. */
static struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        const char *path; /* of every model */
        bool is_known;    /* there are models */
        struct memory_room room;
        void (*on_step)(unsigned n); /* before the n-th sendfile() */
        unsigned steps, models;      /* models: those that were looked for */
        struct digest last;
        unsigned ended; /* models that have been counted */
        uint64_t read, stopped, no_room;
} stage = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

int __wrap_cache_model_find(struct cache *c, const struct digest *key, struct cache_model **ret);
int __wrap_cache_model_files(struct cache *c, const struct digest *key, struct cache_file **ret,
                             size_t *ret_n, struct error *e);
int __wrap_memory_look(struct memory_room *ret, const char *root);
ssize_t __real_sendfile(int out, int in, off_t *offset, size_t count);
ssize_t __wrap_sendfile(int out, int in, off_t *offset, size_t count);
void __wrap_metric_change(enum metric id, double delta, const char *const *labels);

int __wrap_cache_model_find(struct cache *c, const struct digest *key, struct cache_model **ret) {
        LOCK_SCOPE(&stage.lock);

        (void)c;
        stage.models++;
        stage.last = *key;
        pthread_cond_broadcast(&stage.changed);
        if (!stage.is_known)
                return -ENOENT;
        *ret = calloc(1, sizeof **ret);
        (*ret)->path = strdup(stage.path);
        (*ret)->reference = strdup("registry.example.com/model:1");
        return 0;
}

int __wrap_cache_model_files(struct cache *c, const struct digest *key, struct cache_file **ret,
                             size_t *ret_n, struct error *e) {
        struct cache_file *list = calloc(N_FILES, sizeof *list);

        (void)c, (void)key, (void)e;
        for (size_t i = 0; i < N_FILES; i++)
                list[i] = (struct cache_file){ .path = strdup(files[i].path), .size = files[i].size };
        *ret = list;
        *ret_n = N_FILES;
        return 0;
}

int __wrap_memory_look(struct memory_room *ret, const char *root) {
        LOCK_SCOPE(&stage.lock);

        (void)root;
        *ret = stage.room;
        return 0;
}

ssize_t __wrap_sendfile(int out, int in, off_t *offset, size_t count) {
        unsigned n;

        {
                LOCK_SCOPE(&stage.lock);
                n = ++stage.steps;
                pthread_cond_broadcast(&stage.changed);
        }
        if (stage.on_step)
                stage.on_step(n);
        return __real_sendfile(out, in, offset, count);
}

void __wrap_metric_change(enum metric id, double delta, const char *const *labels) {
        LOCK_SCOPE(&stage.lock);

        assert_int_equal(id, METRIC_READAHEAD_BYTES);
        if (strcmp(labels[0], "read") == 0)
                stage.read += (uint64_t)delta;
        else if (strcmp(labels[0], "stopped") == 0)
                stage.stopped += (uint64_t)delta;
        else if (strcmp(labels[0], "no_room") == 0) { /* the last one */
                stage.no_room += (uint64_t)delta;
                stage.ended++;
        } else
                fail();
        pthread_cond_broadcast(&stage.changed);
}

static void wait_for(const unsigned *counter, unsigned n) {
        LOCK_SCOPE(&stage.lock);

        while (*counter < n)
                pthread_cond_wait(&stage.changed, &stage.lock);
}

static struct readahead *begin(struct world *w, const char *policy) {
        static struct settings s;
        struct readahead *r;
        struct error e;

        stage.path = w->dir;
        stage.is_known = true;
        stage.room = (struct memory_room){ .whole = 100 * GIB, .room = 100 * GIB };
        stage.on_step = NULL;
        stage.steps = stage.models = stage.ended = 0;
        stage.read = stage.stopped = stage.no_room = 0;
        s.engine.readahead = (char *)policy;
        assert_int_equal(readahead_new(&r, &s, NULL, &e), 0);
        return r;
}

static struct digest key_of(uint8_t n) {
        struct digest d;

        assert_int_equal(digest_of(&d, &n, 1), 0);
        return d;
}

static void add(struct readahead *r, uint8_t n) {
        struct digest key = key_of(n);

        readahead_add(r, &key);
}

static void test_a_model_that_was_added_is_read(void **state) {
        struct world *w = *state;
        struct readahead *r = begin(w, "auto");

        add(r, 1);
        wait_for(&stage.ended, 1);
        readahead_free(r);
        assert_int_equal(stage.read, ALL);
        assert_int_equal(stage.stopped + stage.no_room, 0);
        for (size_t i = 0; i < N_FILES; i++)
                assert_true(is_warm(w, i));
}

static void test_a_model_without_room_is_left_alone(void **state) {
        struct readahead *r = begin(*state, "auto");

        stage.room.room = 2 * ALL;
        stage.room.whole = 3 * ALL;
        add(r, 1);
        wait_for(&stage.ended, 1);
        readahead_free(r);
        assert_int_equal(stage.no_room, ALL);
        assert_int_equal(stage.read + stage.stopped, 0);
}

static void test_a_model_that_is_gone_is_no_trouble(void **state) {
        struct readahead *r = begin(*state, "on");

        stage.is_known = false;
        add(r, 1);
        add(r, 2);
        wait_for(&stage.models, 2);
        readahead_free(r);
        assert_int_equal(stage.ended, 0);
}

static void test_off_has_no_thread(void **state) {
        struct readahead *r = begin(*state, "off");

        add(r, 1);
        readahead_free(r);
        assert_int_equal(stage.models, 0);
}

static char away[80];

static void remove_model(unsigned n) {
        if (n == 2)
                assert_int_equal(rename(stage.path, away), 0);
}

static void test_a_model_that_is_removed_is_read_no_further(void **state) {
        struct world *w = *state;
        struct readahead *r = begin(w, "on");

        snprintf(away, sizeof away, "%s.away", w->dir);
        stage.on_step = remove_model;
        add(r, 1);
        wait_for(&stage.ended, 1);
        readahead_free(r);
        assert_int_equal(rename(away, w->dir), 0);
        assert_int_equal(stage.steps, 2);
        assert_int_equal(stage.read, 16 * MIB);
        assert_int_equal(stage.stopped, ALL - 16 * MIB);
}

static void fill_memory(unsigned n) {
        LOCK_SCOPE(&stage.lock);

        if (n == 1)
                stage.room.room = stage.room.whole / 100 * 9;
}

static void test_it_stops_when_memory_gets_short(void **state) {
        struct readahead *r = begin(*state, "on");

        stage.on_step = fill_memory;
        add(r, 1);
        wait_for(&stage.ended, 1);
        readahead_free(r);
        assert_int_equal(stage.read, 8 * MIB);
        assert_int_equal(stage.stopped, ALL - 8 * MIB);
}

static unsigned gate; /* steps that may pass; guarded by stage.lock */

static void wait_at_gate(unsigned n) {
        LOCK_SCOPE(&stage.lock);

        while (n > gate)
                pthread_cond_wait(&stage.changed, &stage.lock);
}

static void open_gate(void) {
        LOCK_SCOPE(&stage.lock);

        gate = UINT32_MAX;
        pthread_cond_broadcast(&stage.changed);
}

/* Behind one that is being read: those that wait are read once, in order; of too many the oldest are left out. */
static void test_one_model_at_a_time(void **state) {
        struct readahead *r = begin(*state, "on");
        struct digest last = key_of(29);

        gate = 0;
        stage.on_step = wait_at_gate;
        add(r, 1);
        wait_for(&stage.steps, 1);
        for (uint8_t n = 1; n < 30; n++)
                add(r, n), add(r, n);
        assert_int_equal(stage.models, 1);
        open_gate();
        wait_for(&stage.ended, 16);
        readahead_free(r);
        assert_int_equal(stage.models, 16); /* the first, and the last 15 */
        assert_int_equal(stage.read, 16 * ALL);
        assert_true(digest_equal(&stage.last, &last));
}

static void test_freeing_ends_what_is_under_way(void **state) {
        struct readahead *r = begin(*state, "on");

        gate = 0;
        stage.on_step = wait_at_gate;
        add(r, 1);
        add(r, 2);
        wait_for(&stage.steps, 1);
        open_gate();
        readahead_free(r);
        assert_int_equal(stage.read + stage.stopped, stage.ended * ALL);
        assert_true(stage.ended >= 1);
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
                cmocka_unit_test_setup_teardown(test_many_small_files_are_not_asked_about_one_by_one, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_files_that_are_missing_or_short, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_model_that_was_added_is_read, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_model_without_room_is_left_alone, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_model_that_is_gone_is_no_trouble, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_off_has_no_thread, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_a_model_that_is_removed_is_read_no_further, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_it_stops_when_memory_gets_short, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_one_model_at_a_time, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_freeing_ends_what_is_under_way, set_up, tear_down),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
