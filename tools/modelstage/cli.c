/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of every command: a failure as one line on stderr and the exit code of its kind. Errors may quote a
 * registry or an artifact, so even they are made safe before a terminal gets them.
 */
#include "tools/modelstage/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/modelstage/screen.h"

enum cli_exit cli_exit_of(enum error_kind kind) {
        switch (kind) {
        case ERROR_NONE:
                return CLI_DONE;
        case ERROR_NOT_FOUND:
                return CLI_NOT_FOUND;
        case ERROR_UNAUTHENTICATED:
        case ERROR_DENIED:
                return CLI_DENIED;
        case ERROR_NO_SPACE:
                return CLI_NO_SPACE;
        default:
                return CLI_FAILED;
        }
}

/* One write for one line, so that lines of several threads do not mix. */
static void print_line(const char *text) {
        _cleanup_free_ char *safe = screen_text(text);

        fprintf(stderr, "modelstage: %s\n", safe);
}

int cli_fail(const struct error *e) {
        print_line(e->text);
        return (int)cli_exit_of(e->kind);
}

int cli_usage(const char *command, const char *fmt, ...) {
        _cleanup_free_ char *text = NULL, *line = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        if (n < 0)
                cli_out_of_memory();
        if (asprintf(&line, "%s; see: modelstage help%s%s", text, command ? " " : "",
                     command ? command : "") < 0)
                cli_out_of_memory();
        print_line(line);
        return CLI_USAGE;
}

int cli_finish(int exit_code) {
        if (fflush(stdout) == 0 && !ferror(stdout))
                return exit_code;
        print_line("cannot write the result to stdout; is the disk full?");
        return exit_code == CLI_DONE ? CLI_FAILED : exit_code;
}

void *cli_alloc(size_t size) {
        return cli_must(calloc(1, size ? size : 1));
}

char *cli_strdup(const char *s) {
        return cli_must(strdup(s));
}

_Noreturn void cli_out_of_memory(void) {
        fputs("modelstage: out of memory\n", stderr);
        _Exit(CLI_FAILED);
}
