/* SPDX-License-Identifier: Apache-2.0 */
/* What reaches a terminal (a pty) and a pipe; each case is a child process whose stderr is one of these. */
#include "tests/unit/test.h"

#include <locale.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/modelstage/progress.h"
#include "tools/modelstage/signals.h"

#define HIDE "\033[?25l"
#define SHOW "\033[?25h"

static const char *const titles[] = { "host/one:v1", "host/two:v1", NULL };

static Modelstage__V1__BlobProgress blob = { .base = PROTOBUF_C_MESSAGE_INIT(
                                                 &modelstage__v1__blob_progress__descriptor),
                                             .digest = (char *)"sha256:00",
                                             .path = (char *)"weights\033[2J.bin",
                                             .size = 1000,
                                             .done = 500,
                                             .state = (char *)"fetching" };
static Modelstage__V1__BlobProgress *blob_list[] = { &blob };

static void update(struct progress *p, size_t i) {
        Modelstage__V1__Job job = MODELSTAGE__V1__JOB__INIT;

        job.state = (char *)"fetching";
        job.size = 1000;
        job.done = 500;
        job.blobs = blob_list;
        job.n_blobs = 1;
        progress_update_job(p, i, &job);
}

static void two_models(void) {
        struct progress *p = progress_new(titles, 2, false);

        update(p, 0);
        update(p, 1);
        progress_tick(p);
        progress_end(p, 0, "host/one:v1: miss");
        progress_end(p, 1, NULL);
        progress_wait(p);
        progress_free(p);
}

static void quiet(void) {
        struct progress *p = progress_new(titles, 2, true);

        update(p, 0);
        progress_tick(p);
        progress_end(p, 0, "host/one:v1: miss");
        progress_end(p, 1, NULL);
        progress_wait(p);
        progress_free(p);
}

static void interrupted(void) {
        struct progress *p = progress_new(titles, 1, false);

        update(p, 0);
        progress_tick(p);
        raise(SIGINT);
}

static void quit(void) {
        const struct rlimit no_core = { 0, 0 };
        struct progress *p = progress_new(titles, 1, false);

        setrlimit(RLIMIT_CORE, &no_core);
        update(p, 0);
        progress_tick(p);
        raise(SIGQUIT);
}

static void interrupted_with_deferral(void) {
        signals_defer();
        struct progress *p = progress_new(titles, 1, false);
        update(p, 0);
        progress_tick(p);
        raise(SIGTERM);
        if (signals_caught() != SIGTERM)
                _exit(1);
        progress_free(p);
        signals_raise();
}

/* Runs @body with stderr on a terminal of @columns, or on a pipe for 0; returns its wait status and all that
 * it wrote. */
static int run(void (*body)(void), unsigned short columns, char *out, size_t size) {
        struct winsize w = { .ws_col = columns, .ws_row = 24 };
        int ends[2], status;
        size_t n = 0;
        ssize_t got;

        if (columns)
                assert_int_equal(openpty(&ends[0], &ends[1], NULL, NULL, &w), 0);
        else
                assert_int_equal(pipe(ends), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                signal(SIGINT, SIG_DFL);
                signal(SIGTERM, SIG_DFL);
                signal(SIGQUIT, SIG_DFL);
                dup2(ends[1], STDERR_FILENO);
                close(ends[0]);
                close(ends[1]);
                body();
                _exit(0);
        }
        close(ends[1]);
        while (n < size - 1 && (got = read(ends[0], out + n, size - 1 - n)) > 0) /* a pty ends with EIO */
                n += (size_t)got;
        out[n] = '\0';
        close(ends[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

static void test_bars_are_taken_away_and_the_cursor_comes_back(void **state) {
        char out[8192];

        (void)state;
        assert_int_equal(run(two_models, 80, out, sizeof out), 0);
        const char *hide = strstr(out, HIDE), *bars = strstr(out, "weights?[2J.bin");
        const char *line = strstr(out, "host/one:v1: miss"), *show = strstr(out, SHOW);
        assert_true(hide && bars && line && show);
        assert_true(hide < bars && bars < line && line < show);
        assert_string_equal(show, SHOW);          /* nothing is drawn after it */
        assert_non_null(strstr(bars, "\033[4A")); /* up by the four lines that were drawn */
}

static void test_without_a_terminal_there_are_plain_lines_only(void **state) {
        char out[8192];

        (void)state;
        assert_int_equal(run(two_models, 0, out, sizeof out), 0);
        assert_non_null(strstr(out, "host/one:v1: miss\n"));
        assert_null(strchr(out, '\033'));
}

static void test_quiet_shows_nothing(void **state) {
        char out[8192];

        (void)state;
        assert_int_equal(run(quiet, 80, out, sizeof out), 0);
        assert_string_equal(out, "");
}

static void test_an_interrupt_shows_the_cursor_and_still_ends_the_program(void **state) {
        char out[8192];
        int status;

        (void)state;
        status = run(interrupted, 80, out, sizeof out);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
        assert_non_null(strstr(strstr(out, HIDE), SHOW));
        status = run(quit, 80, out, sizeof out);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGQUIT);
        assert_non_null(strstr(strstr(out, HIDE), SHOW));
        status = run(interrupted_with_deferral, 80, out, sizeof out);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
        assert_non_null(strstr(strstr(out, HIDE), SHOW));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bars_are_taken_away_and_the_cursor_comes_back),
                cmocka_unit_test(test_without_a_terminal_there_are_plain_lines_only),
                cmocka_unit_test(test_quiet_shows_nothing),
                cmocka_unit_test(test_an_interrupt_shows_the_cursor_and_still_ends_the_program),
        };

        setlocale(LC_CTYPE, "C.UTF-8");
        setenv("TERM", "xterm", 1);
        unsetenv("NO_COLOR");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
