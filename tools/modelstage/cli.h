/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli: what the commands share: exit codes, how a failure is told, memory.
 *
 * A command prints its result to stdout and nothing else; progress and errors go to stderr, an error as one
 * line. This is a program, not a library: where there is no memory it ends.
 */
#pragma once

#include "base/error.h"

#include <stddef.h>

enum cli_exit {
        CLI_DONE,
        CLI_FAILED,
        CLI_USAGE,
        CLI_NO_DAEMON,
        CLI_NOT_FOUND,
        CLI_DENIED,
        CLI_NO_SPACE,
};

enum cli_exit cli_exit_of(enum error_kind kind);
/* Prints "modelstage: text" to stderr and returns the exit code. */
int cli_fail(const struct error *e);
int cli_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* stdout is flushed; a result that could not be written is a failure. */
int cli_finish(int exit_code);

void *cli_alloc(size_t size); /* zeroed; never NULL */
char *cli_strdup(const char *s);
/* @p, which must not be NULL. */
#define cli_must(p) \
        ({ \
                __typeof__(p) must_ = (p); \
                if (!must_) \
                        cli_out_of_memory(); \
                must_; \
        })
_Noreturn void cli_out_of_memory(void);
