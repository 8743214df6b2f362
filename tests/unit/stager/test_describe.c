/* SPDX-License-Identifier: Apache-2.0 */
/* What a pod's events say of a job, word for word. */
#include "tests/unit/test.h"

#include "stager/stager.h"

#define GIB ((uint64_t)1 << 30)
#define HOST (char *)"r.example.com"

static void test_what_is_said_of_a_job(void **state) {
        static const struct {
                struct stage_progress progress;
                const char *text;
        } cases[] = {
                { { .state = "waiting", .host = HOST, .ahead = 32, .eta_ms = -1 },
                  "waiting until one of 32 other models is done" },
                { { .state = "resolving", .host = HOST, .eta_ms = -1 },
                  "asking r.example.com for its manifest" },
                { { .state = "resolving", .host = (char *)"", .eta_ms = -1 }, "resolving" },
                { { .state = "resolving",
                    .host = HOST,
                    .eta_ms = -1,
                    .trouble = "r.example.com answered with HTTP 503" },
                  "asking r.example.com for its manifest, again because r.example.com answered with HTTP "
                  "503" },
                { { .state = "fetching", .host = HOST, .eta_ms = -1 }, "fetching" },
                { { .state = "fetching",
                    .host = HOST,
                    .done = 12 * GIB,
                    .size = 30 * GIB,
                    .rate = GIB,
                    .eta_ms = 18000 },
                  "fetching, 40 %, 12.0 GiB of 30.0 GiB, 1.0 GiB/s, 18.0s left" },
                { { .state = "fetching",
                    .host = HOST,
                    .done = GIB,
                    .size = 4 * GIB,
                    .rate = GIB,
                    .eta_ms = -1 },
                  "fetching, 25 %, 1.0 GiB of 4.0 GiB, 1.0 GiB/s" },
                { { .state = "fetching", .host = HOST, .size = 4 * GIB, .queued = true, .eta_ms = -1 },
                  "waiting until other models are fetched, 0 %, 0 B of 4.0 GiB" },
                { { .state = "fetching",
                    .host = HOST,
                    .done = GIB,
                    .size = 4 * GIB,
                    .rate = GIB, /* of before */
                    .eta_ms = 3000,
                    .trouble = "mirror.example.com cannot be reached: Connection refused" },
                  "fetching, 25 %, 1.0 GiB of 4.0 GiB, again because mirror.example.com cannot be reached: "
                  "Connection refused" },
                { { .state = "assembling", .host = HOST, .done = GIB, .size = GIB, .eta_ms = -1 },
                  "assembling, 100 %, 1.0 GiB of 1.0 GiB" },
                { { .state = "fetching", .host = HOST, .done = UINT64_MAX, .size = UINT64_MAX, .eta_ms = -1 },
                  "fetching, 100 %, 16.0 EiB of 16.0 EiB" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char text[512];

                stage_progress_describe(&cases[i].progress, text, sizeof text);
                assert_string_equal(text, cases[i].text);
        }
}

static void test_a_long_host_and_a_small_buffer_are_borne(void **state) {
        char host[3000], text[40];
        struct stage_progress p = { .state = "resolving", .host = host, .eta_ms = -1 };

        (void)state;
        memset(host, 'x', sizeof host - 1);
        host[sizeof host - 1] = '\0';
        stage_progress_describe(&p, text, sizeof text);
        assert_int_equal(strlen(text), sizeof text - 1);
        assert_memory_equal(text, "asking xxx", 10);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_is_said_of_a_job),
                cmocka_unit_test(test_a_long_host_and_a_small_buffer_are_borne),
        };

        return cmocka_run_group_tests_name("stager/describe", tests, NULL, NULL);
}
