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

/* Scripts rely on these numbers; modelstage(1) has them (help.c). */
enum cli_exit {
        CLI_DONE,      /* 0 */
        CLI_FAILED,    /* whatever none of the others is for */
        CLI_USAGE,     /* nothing was tried */
        CLI_NO_DAEMON, /* nobody answers on the socket */
        CLI_NOT_FOUND,
        CLI_DENIED, /* by the registry or a policy */
        CLI_NO_SPACE,
};

enum cli_exit cli_exit_of(enum error_kind kind);
/* Prints "modelstage: text" to stderr and returns the exit code. */
int cli_fail(const struct error *e);
/* A mistake in the arguments, with a pointer to the help of @command (may be NULL). Returns CLI_USAGE. */
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
