/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args: the command line as the commands see it. One table has all options (args.c), one all commands
 * (commands.c); parsing, help, the manual page and the completions are made from these two.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum arg_option {
        ARG_SOCKET,
        ARG_OUTPUT,
        ARG_QUIET,
        ARG_INCLUDE,
        ARG_EXCLUDE,
        ARG_ROOT,
        ARG_PLATFORM,
        ARG_PULL,
        ARG_PIN,
        ARG_TTL,
        ARG_DETACH,
        ARG_DOCKER_CONFIG,
        ARG_WATCH,
        ARG_HOSTS,
        ARG_REMOTE,
        ARG_FORCE,
        ARG_CONFIG,
        ARG_PLAIN_HTTP,
        ARG_CA_FILE,
        ARG_MAN,
        ARG_HELP,
        ARG_VERSION,
        _ARG_MAX,
};
#define ARG_BIT(option) (1u << (ARG_##option))

struct arg_spec {
        const char *name;  /* without the dashes */
        char letter;       /* 0: none */
        const char *value; /* placeholder, NULL: a switch; "a|b": one of these */
        const char *help;  /* NULL: not shown */
};
extern const struct arg_spec arg_specs[_ARG_MAX];

enum arg_output { ARG_OUTPUT_TABLE, ARG_OUTPUT_JSON };
enum arg_pull { ARG_PULL_DEFAULT, ARG_PULL_IF_NOT_PRESENT, ARG_PULL_ALWAYS };

struct args {
        const struct command *command;
        const char **operands; /* NULL-ended; the strings are argv's everywhere here */
        size_t n_operands;
        unsigned seen; /* ARG_BIT()s of the options that were given */
        /* NULL: not given. */
        const char *socket, *root, *platform, *docker_config, *config, *ca_file;
        const char **include, **exclude; /* NULL-ended */
        size_t n_include, n_exclude;
        int64_t ttl_ms; /* 0: not given */
        enum arg_output output;
        enum arg_pull pull;
};
static inline bool args_has(const struct args *a, unsigned bit) {
        return a->seen & bit;
}

/* ERROR_INVALID with a hint for everything that is not understood; a->command may be set already then. Looks
 * neither at the disk nor at the network. */
int args_parse(struct args *ret, int argc, char *const argv[], struct error *e);
void args_clear(struct args *a);

/* The one of @words (NULL-ended) that is most like @word, or NULL when none is near. */
const char *args_nearest(const char *word, const char *const *words);
