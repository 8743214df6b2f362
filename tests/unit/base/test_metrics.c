/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics are one set a process, so every test uses families of its own or looks at differences. */
#include "base/metrics.h"
#include "tests/unit/test.h"

#include <pthread.h>

#define LABELS(...) ((const char *[]){ __VA_ARGS__, NULL })

static struct buf text = BUF_INIT(4 << 20);

static const char *scrape(void) {
        buf_clear(&text);
        assert_int_equal(metrics_write(&text), 0);
        return buf_text(&text);
}

static void assert_line(const char *expected) {
        const char *at = strstr(scrape(), expected);

        if (!at || at[strlen(expected)] != '\n' || (at != buf_text(&text) && at[-1] != '\n'))
                fail_msg("no line \"%s\" in\n%s", expected, buf_text(&text));
}

static unsigned count_lines(const char *prefix) {
        unsigned n = 0;

        for (const char *at = scrape(); at; at = strchr(at, '\n')) {
                at += *at == '\n';
                n += strncmp(at, prefix, strlen(prefix)) == 0;
        }
        return n;
}

static void test_families_without_labels_are_shown_from_the_start(void **state) {
        (void)state;
        assert_line("# HELP modelstage_cache_models Models that are complete in the cache");
        assert_line("# TYPE modelstage_cache_models gauge");
        assert_line("modelstage_cache_models 0");
        assert_line("modelstage_stage_bytes_per_second_count 0");
        assert_line("modelstage_stage_bytes_per_second_bucket{le=\"+Inf\"} 0");
        assert_int_equal(count_lines("# TYPE modelstage_digest_mismatches_total"), 0); /* it has a label */
}

static void test_counter_adds_up_by_label(void **state) {
        (void)state;
        metric_add(CACHE_REQUESTS, 1, "hit");
        metric_add(CACHE_REQUESTS, 2, "miss");
        metric_add(CACHE_REQUESTS, 3.5, "hit");
        assert_line("# TYPE modelstage_cache_requests_total counter");
        assert_line("modelstage_cache_requests_total{result=\"hit\"} 4.5");
        assert_line("modelstage_cache_requests_total{result=\"miss\"} 2");
        assert_true(metric_value(METRIC_CACHE_REQUESTS, LABELS("hit")) == 4.5);
        assert_true(metric_value(METRIC_CACHE_REQUESTS, LABELS("joined")) == 0);
}

static void test_large_numbers_are_exact(void **state) {
        (void)state;
        metric_add(FETCHED_BYTES, 9007199254740991.0, "big.example");
        assert_line("modelstage_fetched_bytes_total{registry=\"big.example\"} 9007199254740991");
}

static void test_gauge_is_set_and_changed(void **state) {
        (void)state;
        metric_set(VOLUMES, 7);
        metric_add(VOLUMES, -2);
        assert_line("modelstage_volumes 5");
        metric_set(BUILD_INFO, 1, "0.1.0", "uring");
        assert_line("modelstage_build_info{version=\"0.1.0\",io=\"uring\"} 1");
}

static void test_histogram_buckets_are_cumulative(void **state) {
        (void)state;
        metric_observe(PUBLISH_SECONDS, 0.01, "hit"); /* a bound belongs to its bucket */
        metric_observe(PUBLISH_SECONDS, 3, "hit");
        metric_observe(PUBLISH_SECONDS, 1e6, "hit");
        assert_line("# TYPE modelstage_publish_seconds histogram");
        assert_line("modelstage_publish_seconds_bucket{result=\"hit\",le=\"0.01\"} 1");
        assert_line("modelstage_publish_seconds_bucket{result=\"hit\",le=\"2\"} 1");
        assert_line("modelstage_publish_seconds_bucket{result=\"hit\",le=\"5\"} 2");
        assert_line("modelstage_publish_seconds_bucket{result=\"hit\",le=\"1800\"} 2");
        assert_line("modelstage_publish_seconds_bucket{result=\"hit\",le=\"+Inf\"} 3");
        assert_line("modelstage_publish_seconds_sum{result=\"hit\"} 1000003.01");
        assert_line("modelstage_publish_seconds_count{result=\"hit\"} 3");
}

static void test_label_values_are_escaped(void **state) {
        (void)state;
        metric_add(REGISTRY_RETRIES, 1, "a\"b\\c\nd", "ünïcode");
        assert_line("modelstage_registry_retries_total{registry=\"a\\\"b\\\\c\\nd\",reason=\"ünïcode\"} 1");
}

static void test_hostile_label_values_are_other(void **state) {
        char *big = malloc(10 * 1024);

        (void)state;
        memset(big, 'x', 10 * 1024 - 1);
        big[10 * 1024 - 1] = '\0';
        metric_add(DIGEST_MISMATCHES, 1, big);
        metric_add(DIGEST_MISMATCHES, 1, "not \xff utf-8");
        assert_line("modelstage_digest_mismatches_total{registry=\"other\"} 2");
        assert_int_equal(count_lines("modelstage_digest_mismatches_total{"), 1);
        free(big);
}

static void test_series_are_capped_and_nothing_is_lost(void **state) {
        char name[32];

        (void)state;
        for (int i = 0; i < 2 * METRIC_MAX_SERIES; i++) {
                snprintf(name, sizeof name, "host-%d.example", i);
                metric_add(REGISTRY_REQUESTS, 1, name, "200");
        }
        metric_add(REGISTRY_REQUESTS, 1, "host-0.example", "200"); /* was there before: still counted apart */
        assert_int_equal(count_lines("modelstage_registry_requests_total{"), METRIC_MAX_SERIES);
        assert_line("modelstage_registry_requests_total{registry=\"host-0.example\",code=\"200\"} 2");
        assert_true(metric_value(METRIC_REGISTRY_REQUESTS, LABELS("other", "other")) ==
                    METRIC_MAX_SERIES + 1);
}

static void collect(void *userdata) {
        int *n = userdata;

        metric_set(CACHE_LAYERS, ++*n);
}

static void test_collectors_run_before_each_scrape_until_forgotten(void **state) {
        int n = 0, other = 40;

        (void)state;
        metrics_on_scrape(collect, &n);
        assert_line("modelstage_cache_layers 1");
        assert_line("modelstage_cache_layers 2");
        metrics_on_scrape(collect, &other);
        assert_line("modelstage_cache_layers 41");
        metrics_forget_scrape(&n);
        metrics_forget_scrape(&other);
        assert_line("modelstage_cache_layers 41");
        assert_int_equal(n, 3);
}

static void test_output_over_the_cap_is_an_error(void **state) {
        struct buf tiny = BUF_INIT(100);

        (void)state;
        assert_int_equal(metrics_write(&tiny), -EFBIG);
        buf_free(&tiny);
}

/* What promtool's parser insists on: one HELP and one TYPE before the samples, and samples of no other
 * family. */
static void test_every_sample_follows_its_family(void **state) {
        char family[128] = "", line[1024];

        (void)state;
        for (const char *at = scrape(), *end; *at; at = end + 1) {
                end = strchr(at, '\n');
                assert_non_null(end);
                snprintf(line, sizeof line, "%.*s", (int)(end - at), at);
                if (sscanf(line, "# HELP %127s", family) == 1)
                        continue;
                char type_of[128] = "";
                if (sscanf(line, "# TYPE %127s", type_of) == 1) {
                        assert_string_equal(type_of, family);
                        continue;
                }
                assert_int_equal(strncmp(line, family, strlen(family)), 0);
                assert_true(strchr("{ _", line[strlen(family)]) != NULL);
        }
}

#define N_THREADS 4
#define N_CHANGES 5000

static void *change_main(void *arg) {
        (void)arg;
        for (int i = 0; i < N_CHANGES; i++) {
                metric_add(SAVED_BYTES, 1, i % 2 ? "model" : "layer");
                metric_observe(RPC_SECONDS, 0.5, "Threads", "OK");
        }
        return NULL;
}

static void test_threads_lose_no_change(void **state) {
        pthread_t threads[N_THREADS];

        (void)state;
        for (int i = 0; i < N_THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, change_main, NULL), 0);
        scrape();
        for (int i = 0; i < N_THREADS; i++)
                pthread_join(threads[i], NULL);
        assert_true(metric_value(METRIC_SAVED_BYTES, LABELS("model")) == N_THREADS * N_CHANGES / 2);
        assert_line("modelstage_rpc_seconds_count{method=\"Threads\",code=\"OK\"} 20000");
        assert_line("modelstage_rpc_seconds_sum{method=\"Threads\",code=\"OK\"} 10000");
}

static int done(void **state) {
        (void)state;
        buf_free(&text);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_families_without_labels_are_shown_from_the_start),
                cmocka_unit_test(test_counter_adds_up_by_label),
                cmocka_unit_test(test_large_numbers_are_exact),
                cmocka_unit_test(test_gauge_is_set_and_changed),
                cmocka_unit_test(test_histogram_buckets_are_cumulative),
                cmocka_unit_test(test_label_values_are_escaped),
                cmocka_unit_test(test_hostile_label_values_are_other),
                cmocka_unit_test(test_series_are_capped_and_nothing_is_lost),
                cmocka_unit_test(test_collectors_run_before_each_scrape_until_forgotten),
                cmocka_unit_test(test_output_over_the_cap_is_an_error),
                cmocka_unit_test(test_every_sample_follows_its_family),
                cmocka_unit_test(test_threads_lose_no_change),
        };
        return cmocka_run_group_tests(tests, NULL, done);
}
