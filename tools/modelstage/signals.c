/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers stay installed only for one signal each (SA_RESETHAND): after it the default action is back, so a
 * program that hangs in its cleaning up can be ended by a second one. A signal that was ignored when we
 * started (nohup, a job in the background of a script) stays ignored. The handler only writes, sets flags and
 * raises: all are async-signal-safe.
 */
#include "tools/modelstage/signals.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static const char *volatile farewell; /* NULL: none */
static volatile sig_atomic_t caught, deferred, cursor_hidden;
static const int ending[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

/* SA_RESETHAND has put the default action back, so raising the signal ends the program. */
static void on_signal(int number) {
        static const char show[] = "\033[?25h\n";

        if (cursor_hidden && !deferred) { /* else the command itself puts the terminal right */
                cursor_hidden = 0;
                (void)!write(STDERR_FILENO, show, sizeof show - 1);
        }
        const char *last = farewell;
        if (last && !deferred)
                (void)!write(STDERR_FILENO, last, strlen(last));
        caught = number;
        if (!deferred)
                raise(number);
}

static void install(void) {
        struct sigaction act = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

        sigemptyset(&act.sa_mask);
        for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
                struct sigaction old;
                if (sigaction(ending[i], NULL, &old) == 0 &&
                    old.sa_handler == SIG_DFL) /* nohup stays nohup */
                        sigaction(ending[i], &act, NULL);
        }
}

void signals_defer(void) {
        deferred = 1;
        install();
}

int signals_caught(void) {
        return caught;
}

void signals_raise(void) {
        if (!caught)
                return;
        signal(caught, SIG_DFL);
        raise(caught);
}

void signals_set_farewell(const char *text) {
        farewell = text;
        if (text && !caught)
                install();
}

void signals_hide_cursor(void) {
        cursor_hidden = 1;
        if (!caught)
                install();
}

void signals_show_cursor(void) {
        cursor_hidden = 0;
}
