/* SPDX-License-Identifier: Apache-2.0 */
/* What is remembered of hosts, for how long, and what a spoilt file does. */
#include "stager/hosts.h"
#include "tests/unit/test.h"

#include "base/path.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define NOW INT64_C(1800000000000)
#define HOUR (INT64_C(3600) * 1000)
#define FILE_NAME "hosts.json"

struct world {
        char dir[32];
        int dir_fd;
        struct hosts *hosts;
};

static int set_up(void **state) {
        struct world *w = calloc(1, sizeof *w);

        strcpy(w->dir, "/tmp/test_hosts.XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        w->hosts = hosts_new();
        *state = w;
        return 0;
}

static int tear_down(void **state) {
        struct world *w = *state;

        hosts_unref(w->hosts);
        close(w->dir_fd);
        int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(path_remove_tree(tmp, path_base(w->dir), NULL), 0);
        close(tmp);
        free(w);
        return 0;
}

static struct host_profile get(struct world *w, const char *name, int64_t now) {
        struct host_profile p;

        hosts_get(w->hosts, name, now, &p);
        return p;
}

static void write_text(const struct world *w, const char *text, size_t len) {
        struct error e;

        assert_int_equal(path_write_file(w->dir_fd, FILE_NAME, text, len, 0600, &e), 0);
}

/* Another process: a table of its own, from the file. */
static int read_again(struct world *w, int64_t now, struct error *e) {
        hosts_unref(w->hosts);
        w->hosts = hosts_new();
        return hosts_load(w->hosts, w->dir_fd, FILE_NAME, now, e);
}

static size_t count(struct world *w, int64_t now) {
        struct host_profile *list;
        size_t n;

        assert_int_equal(hosts_list(w->hosts, now, &list, &n), 0);
        free(list);
        return n;
}

static void test_what_was_learned_outlives_the_process(void **state) {
        const struct host_pace pace = { .best = 12, .limit = 14, .rate = 960000000, .latency_us = 31000 };
        struct world *w = *state;
        struct error e;

        assert_int_equal(read_again(w, NOW, &e), 0); /* there is no file */
        hosts_note_ranges(w->hosts, "r.example.com:5000", HOST_RANGES_BROKEN, NOW);
        hosts_note_pace(w->hosts, "s3.example.net", &pace, NOW);
        hosts_note_connections(w->hosts, "s3.example.net", 9, NOW);
        assert_int_equal(hosts_save(w->hosts, w->dir_fd, FILE_NAME, &e), 0);
        assert_int_equal(read_again(w, NOW + HOUR, &e), 0);
        struct host_profile p = get(w, "s3.example.net", NOW + HOUR);
        assert_memory_equal(&p.pace, &pace, sizeof pace);
        assert_int_equal(p.ranges, HOST_RANGES_UNKNOWN);
        assert_int_equal(p.connections, 0); /* of another process */
        assert_int_equal(p.used_ms, NOW);
        assert_int_equal(get(w, "r.example.com:5000", NOW + HOUR).ranges, HOST_RANGES_BROKEN);
        assert_int_equal(get(w, "r.example.com", NOW + HOUR).ranges, HOST_RANGES_UNKNOWN);
}

static void test_refusals_are_forgotten_after_a_day_and_the_rest_is_not(void **state) {
        struct world *w = *state;

        hosts_note_ranges(w->hosts, "a", HOST_RANGES_IGNORED, NOW);
        hosts_note_pace(w->hosts, "a", &(struct host_pace){ .best = 6, .limit = 8 }, NOW);
        hosts_note_ranges(w->hosts, "b", HOST_RANGES_HONOURED, NOW);
        assert_int_equal(get(w, "a", NOW + 23 * HOUR).ranges, HOST_RANGES_IGNORED);
        assert_int_equal(get(w, "a", NOW + 23 * HOUR).pace.limit, 8);
        struct host_profile p = get(w, "a", NOW + 25 * HOUR);
        assert_int_equal(p.ranges, HOST_RANGES_UNKNOWN);
        assert_int_equal(p.pace.limit, 0);
        assert_int_equal(p.pace.best, 6);
        assert_int_equal(get(w, "b", NOW + 25 * HOUR).ranges, HOST_RANGES_HONOURED);
}

static void test_the_oldest_host_makes_room(void **state) {
        struct world *w = *state;
        char name[32];

        for (unsigned i = 0; i < 3 * HOSTS_MAX; i++) {
                snprintf(name, sizeof name, "host%u", i);
                hosts_note_ranges(w->hosts, name, HOST_RANGES_HONOURED, NOW + i);
        }
        assert_int_equal(count(w, NOW), HOSTS_MAX);
        snprintf(name, sizeof name, "host%u", 3 * HOSTS_MAX - 1);
        assert_int_equal(get(w, name, NOW).ranges, HOST_RANGES_HONOURED);
        snprintf(name, sizeof name, "host%u", 2 * HOSTS_MAX);
        assert_int_equal(get(w, name, NOW).ranges, HOST_RANGES_HONOURED);
        snprintf(name, sizeof name, "host%u", 2 * HOSTS_MAX - 1);
        assert_int_equal(get(w, name, NOW).ranges, HOST_RANGES_UNKNOWN);
}

static void test_the_oldest_host_makes_room_wherever_it_is(void **state) {
        struct world *w = *state;
        char name[32];

        for (unsigned i = 0; i < HOSTS_MAX; i++) { /* the later, the older */
                snprintf(name, sizeof name, "host%u", i);
                hosts_note_ranges(w->hosts, name, HOST_RANGES_HONOURED, NOW - i);
        }
        hosts_note_ranges(w->hosts, "new", HOST_RANGES_HONOURED, NOW);
        assert_int_equal(get(w, name, NOW).ranges, HOST_RANGES_UNKNOWN);
        for (unsigned i = 0; i < HOSTS_MAX - 1; i++) {
                snprintf(name, sizeof name, "host%u", i);
                assert_int_equal(get(w, name, NOW).ranges, HOST_RANGES_HONOURED);
        }
}

static void test_list_has_the_latest_first(void **state) {
        struct host_profile *list;
        struct world *w = *state;
        size_t n;

        hosts_note_connections(w->hosts, "a", 1, NOW);
        hosts_note_connections(w->hosts, "c", 3, NOW + 2);
        hosts_note_connections(w->hosts, "b", 2, NOW + 1);
        assert_int_equal(hosts_list(w->hosts, NOW, &list, &n), 0);
        assert_int_equal(n, 3);
        for (size_t i = 0; i < n; i++)
                assert_int_equal(list[i].connections, 3 - i);
        free(list);
}

static void test_spoilt_file_is_refused_and_written_anew(void **state) {
        static const char *const texts[] = { "",
                                             "{",
                                             "[]",
                                             "\xff\xfe",
                                             "{\"hosts\": []}",
                                             "{\"version\": 2, \"hosts\": []}",
                                             "{\"version\": 1, \"hosts\": {}}" };
        struct world *w = *state;
        struct error e;

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                write_text(w, texts[i], strlen(texts[i]));
                assert_true(read_again(w, NOW, &e) < 0);
                assert_int_equal(count(w, NOW), 0);
                assert_int_equal(hosts_save(w->hosts, w->dir_fd, FILE_NAME, &e), 0);
                assert_int_equal(read_again(w, NOW, &e), 0);
        }
}

static void test_file_that_is_too_large_is_refused(void **state) {
        _cleanup_free_ char *text = malloc(1 << 20);
        struct world *w = *state;
        struct error e;

        memset(text, ' ', 1 << 20);
        write_text(w, text, 1 << 20);
        assert_true(read_again(w, NOW, &e) < 0);
}

static void test_entries_that_make_no_sense_are_left_out(void **state) {
        static const char *const entries[] = {
                "7",
                "{}",
                "{\"host\": \"x\"}",
                "{\"host\": \"\", \"used\": 1800000000000}",
                "{\"host\": \"a b\", \"used\": 1800000000000}",
                "{\"host\": \"a\\u001b[2J\", \"used\": 1800000000000}",
                "{\"host\": \"x\", \"used\": -1}",
                "{\"host\": \"x\", \"used\": 1900000000000}",
                "{\"host\": \"x\", \"used\": 1700000000000}",
                "{\"host\": \"x\", \"used\": 1800000000000, \"best\": 100000}",
                "{\"host\": \"x\", \"used\": 1800000000000, \"best\": \"many\"}",
                "{\"host\": \"x\", \"used\": 1800000000000, \"limit\": 99999999999}",
                "{\"host\": \"x\", \"used\": 1800000000000, \"ranges\": \"perhaps\"}",
        };
        struct world *w = *state;
        struct error e;
        char text[512];

        for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
                int len = snprintf(text, sizeof text,
                                   "{\"version\": 1, \"hosts\": [%s, {\"host\": \"good\", \"used\": "
                                   "1800000000000, \"best\": 5}]}",
                                   entries[i]);

                write_text(w, text, (size_t)len);
                assert_int_equal(read_again(w, NOW, &e), 0);
                assert_int_equal(count(w, NOW), 1);
                assert_int_equal(get(w, "good", NOW).pace.best, 5);
        }
}

static void test_nothing_is_written_without_news(void **state) {
        struct world *w = *state;
        struct error e;

        assert_int_equal(hosts_save(w->hosts, w->dir_fd, FILE_NAME, &e), 0);
        assert_int_equal(faccessat(w->dir_fd, FILE_NAME, F_OK, 0), -1);
        hosts_note_ranges(w->hosts, "a", HOST_RANGES_HONOURED, NOW);
        assert_int_equal(hosts_save(w->hosts, w->dir_fd, FILE_NAME, &e), 0);
        assert_int_equal(unlinkat(w->dir_fd, FILE_NAME, 0), 0);
        hosts_note_ranges(w->hosts, "a", HOST_RANGES_HONOURED, NOW + HOUR);
        assert_int_equal(hosts_save(w->hosts, w->dir_fd, FILE_NAME, &e), 0);
        assert_int_equal(faccessat(w->dir_fd, FILE_NAME, F_OK, 0), -1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                T(test_what_was_learned_outlives_the_process),
                T(test_refusals_are_forgotten_after_a_day_and_the_rest_is_not),
                T(test_the_oldest_host_makes_room),
                T(test_the_oldest_host_makes_room_wherever_it_is),
                T(test_list_has_the_latest_first),
                T(test_spoilt_file_is_refused_and_written_anew),
                T(test_file_that_is_too_large_is_refused),
                T(test_entries_that_make_no_sense_are_left_out),
                T(test_nothing_is_written_without_news),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
