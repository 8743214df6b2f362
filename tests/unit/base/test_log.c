/* SPDX-License-Identifier: Apache-2.0 */
/* stderr is a file of the test while something is logged, and the clock is the test's. */
#include "tests/unit/test.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

#include <jansson.h>
#include <limits.h>
#include <sys/mman.h>

/* WRAP: time_monotonic_ms */
int64_t __wrap_time_monotonic_ms(void);

static int64_t now_ms;
static char written[1 << 20];
static int capture_fd, real_stderr;

int64_t __wrap_time_monotonic_ms(void) {
        return __atomic_load_n(&now_ms, __ATOMIC_RELAXED);
}

static void capture(void) {
        capture_fd = memfd_create("log", MFD_CLOEXEC);
        real_stderr = dup(STDERR_FILENO);
        dup2(capture_fd, STDERR_FILENO);
}

/* What was logged since capture(). */
static const char *captured(void) {
        ssize_t n;

        dup2(real_stderr, STDERR_FILENO);
        close(real_stderr);
        n = pread(capture_fd, written, sizeof written - 1, 0);
        close(capture_fd);
        assert_true(n >= 0);
        written[n] = '\0';
        return written;
}

/* The message of the one JSON line that was logged. */
static const char *captured_message(json_t **line) {
        json_error_t why;
        const char *text = captured();

        assert_int_equal(strcspn(text, "\n"), strlen(text) - 1);
        *line = json_loads(text, JSON_REJECT_DUPLICATES, &why);
        if (!*line)
                fail_msg("%s: %s", why.text, text);
        return json_string_value(json_object_get(*line, "msg"));
}

static int set_up(void **state) {
        (void)state;
        now_ms += 1000000; /* every site's interval is over */
        return log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, NULL);
}

static void test_a_json_line_has_time_level_and_message(void **state) {
        json_t *line;

        (void)state;
        capture();
        log_warning("disk %d is \"full\"\n\\", 7);
        assert_string_equal(captured_message(&line), "disk 7 is \"full\"\n\\");
        assert_string_equal(json_string_value(json_object_get(line, "level")), "warning");
        assert_int_equal(strlen(json_string_value(json_object_get(line, "time"))),
                         strlen("2026-01-01T00:00:00.000Z"));
        assert_null(json_object_get(line, "topic"));
        json_decref(line);
}

static void test_every_byte_gives_valid_json(void **state) {
        char text[256 + 1];
        json_t *line;

        (void)state;
        for (int i = 1; i < 256; i++)
                text[i - 1] = (char)i;
        text[255] = '\0';
        capture();
        log_info("%s", text);
        assert_non_null(captured_message(&line)); /* jansson takes valid UTF-8 only */
        json_decref(line);
}

static void test_text_has_no_control_characters(void **state) {
        const char *text;

        (void)state;
        log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, NULL);
        capture();
        log_error("a\x1b[2J\nb \"c\" \xc2\x9b 31m \xff €");
        text = captured();
        assert_string_equal(strchr(text, ' '),
                            " error: a\\u001b[2J\\nb \"c\" \xef\xbf\xbd 31m \xef\xbf\xbd €\n");
}

static void test_lines_above_the_level_are_not_written(void **state) {
        (void)state;
        log_setup(LOG_LEVEL_WARNING, LOG_FORMAT_TEXT, NULL);
        capture();
        log_info("no");
        log_warning("yes");
        assert_null(strstr(captured(), "no"));
        assert_non_null(strstr(written, "yes"));
}

static void test_topics_are_chosen_one_by_one(void **state) {
        (void)state;
        assert_int_equal(log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "ring, http"), 0);
        capture();
        log_debug(RING, "ring line");
        log_debug(CACHE, "cache line");
        assert_non_null(strstr(captured(), "debug [ring]: ring line\n"));
        assert_null(strstr(written, "cache"));
        assert_int_equal(log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "all"), 0);
        assert_int_equal(log_enabled_topics, (1u << _LOG_TOPIC_MAX) - 1);
        assert_int_equal(log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT, NULL), 0);
        assert_int_equal(log_enabled_topics, (1u << _LOG_TOPIC_MAX) - 1);
        assert_int_equal(log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, "ring,rong"), -EINVAL);
}

static void test_levels_have_names(void **state) {
        (void)state;
        assert_int_equal(log_level_parse("error"), LOG_LEVEL_ERROR);
        assert_int_equal(log_level_parse("debug"), LOG_LEVEL_DEBUG);
        assert_int_equal(log_level_parse("Debug"), -EINVAL);
}

static void log_in_one_place(int n) {
        for (int i = 0; i < n; i++)
                log_info("line");
}

static size_t count(const char *text, const char *what) {
        size_t n = 0;

        for (const char *p = text; (p = strstr(p, what)); p++)
                n++;
        return n;
}

static void test_one_place_cannot_flood_and_says_how_much_it_dropped(void **state) {
        (void)state;
        capture();
        log_in_one_place(1000);
        assert_int_equal(count(captured(), "\"line\""), 20);
        now_ms += 10000;
        capture();
        log_in_one_place(2);
        log_info("another place");
        assert_int_equal(count(captured(), "\n"), 3);
        assert_non_null(strstr(written, "line (980 more like this before)"));
        assert_int_equal(count(written, "more like this"), 1);
}

static void test_secrets_are_hidden_wherever_they_are(void **state) {
        json_t *line;

        (void)state;
        log_redact("hunter2!");
        log_redact("hunter2!longer");
        log_redact("ger\"quoted");
        log_redact("abc"); /* too short to be a secret */
        log_redact("");
        log_redact(NULL);
        capture();
        log_info("https://u:hunter2!@h/ abc xhunter2!longer hunter2!longer\"quoted hunter2");
        assert_string_equal(captured_message(&line),
                            "https://u:[redacted]@h/ abc x[redacted] [redacted] hunter2");
        json_decref(line);
}

static void test_a_secret_that_the_end_of_the_line_cuts_is_hidden(void **state) {
        static const char secret[] = "S3CRET-CANARY-0123456789";
        char text[9000];

        (void)state;
        log_redact(secret);
        for (size_t before = 8150; before < 8200; before++) {
                memset(text, 'x', before);
                strcpy(text + before, secret);
                now_ms += 10000;
                capture();
                log_info("%s", text);
                assert_null(strstr(captured(), "S3CR"));
        }
        /* many secrets in front shrink the line, so that its cut end comes into sight */
        text[0] = '\0';
        for (size_t n = 0; n + sizeof secret < sizeof text; n += sizeof secret - 1)
                strcpy(text + n, secret);
        capture();
        log_info("%s", text);
        assert_null(strstr(captured(), "S3CR"));
}

static void test_the_latest_secrets_are_remembered(void **state) {
        char secret[32];

        (void)state;
        for (int i = 0; i < 3000; i++) {
                snprintf(secret, sizeof secret, "token-%04d", i);
                log_redact(secret);
                log_redact(secret);
        }
        capture();
        log_info("token-2999 token-1976 token-1975");
        assert_non_null(strstr(captured(), "[redacted] [redacted] token-1975"));
}

/* A registry that hands out tokens all day must not make the log forget the password that buys them. */
static void test_a_secret_in_use_is_not_forgotten(void **state) {
        char secret[32];

        (void)state;
        for (int i = 0; i < 3000; i++) {
                snprintf(secret, sizeof secret, "bought-%04d", i);
                log_redact(secret);
                if (i % 1000 == 0)
                        log_redact("the password");
        }
        capture();
        log_info("(the password)");
        assert_non_null(strstr(captured(), "([redacted])"));
}

static void test_a_very_long_secret_is_hidden_to_its_end(void **state) {
        char secret[3000];

        (void)state;
        memset(secret, 'S', sizeof secret - 1);
        memset(secret + 700, 'T', 10);
        secret[sizeof secret - 1] = '\0';
        log_redact(secret);
        capture();
        log_info("Bearer %s \"%s\" end", secret, secret);
        assert_non_null(strstr(captured(), "Bearer [redacted] \\\"[redacted]\\\" end"));
}

/* Every place of the table has had a long secret: none may leave it to the next one that it was long. */
static void test_a_short_secret_in_the_place_of_a_long_one_is_hidden_alone(void **state) {
        char secret[600];

        (void)state;
        memset(secret, 'L', sizeof secret - 1);
        secret[sizeof secret - 1] = '\0';
        for (int i = 0; i < 1024; i++) {
                snprintf(secret, 8, "%06d", i);
                secret[6] = 'L';
                secret[7] = 'L';
                log_redact(secret);
        }
        for (int i = 0; i < 1024; i++) {
                snprintf(secret, sizeof secret, "short-%04d", i);
                log_redact(secret);
        }
        for (int i = 0; i < 1024; i++) {
                now_ms += 10000;
                capture();
                log_info("(short-%04d.tail)", i);
                assert_non_null(strstr(captured(), "([redacted].tail)"));
        }
}

static void test_a_long_line_is_one_write_and_still_json(void **state) {
        char text[20000];
        const char *message;
        json_t *line;

        (void)state;
        memset(text, '"', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        capture();
        log_info("%s", text);
        message = captured_message(&line);
        assert_true(text_ends_with(message, "…"));
        assert_true(strlen(written) <= PIPE_BUF);
        assert_true(strlen(written) > PIPE_BUF - 32);
        json_decref(line);
}

static void test_errno_is_kept_and_can_be_printed(void **state) {
        (void)state;
        capture();
        errno = ENOENT;
        log_info("%m");
        assert_int_equal(errno, ENOENT);
        assert_non_null(strstr(captured(), "No such file"));
}

static void *log_and_redact(void *arg) {
        for (int i = 0; i < 200; i++) {
                char secret[32];

                snprintf(secret, sizeof secret, "thread-%d-%d", *(int *)arg, i);
                log_redact(secret);
                log_info("a line of a thread: %s", secret);
                __atomic_add_fetch(&now_ms, 500, __ATOMIC_RELAXED);
        }
        return NULL;
}

static void test_lines_of_threads_do_not_mix(void **state) {
        pthread_t threads[4];
        int ids[4] = { 0, 1, 2, 3 };
        size_t lines;

        (void)state;
        log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, NULL);
        capture();
        for (int i = 0; i < 4; i++)
                pthread_create(&threads[i], NULL, log_and_redact, &ids[i]);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        lines = count(captured(), "\n");
        assert_true(lines > 0);
        assert_int_equal(count(written, " info: a line of a thread: "), lines);
}

int main(void) {
#define T(name) cmocka_unit_test_setup(name, set_up)
        const struct CMUnitTest tests[] = {
                T(test_a_json_line_has_time_level_and_message),
                T(test_every_byte_gives_valid_json),
                T(test_text_has_no_control_characters),
                T(test_lines_above_the_level_are_not_written),
                T(test_topics_are_chosen_one_by_one),
                T(test_levels_have_names),
                T(test_one_place_cannot_flood_and_says_how_much_it_dropped),
                T(test_secrets_are_hidden_wherever_they_are),
                T(test_a_secret_that_the_end_of_the_line_cuts_is_hidden),
                T(test_the_latest_secrets_are_remembered),
                T(test_a_secret_in_use_is_not_forgotten),
                T(test_a_very_long_secret_is_hidden_to_its_end),
                T(test_a_short_secret_in_the_place_of_a_long_one_is_hidden_alone),
                T(test_a_long_line_is_one_write_and_still_json),
                T(test_errno_is_kept_and_can_be_printed),
                T(test_lines_of_threads_do_not_mix),
        };
        return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
