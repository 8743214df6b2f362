/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options: the command line of modelstaged: --config, --role, what prints something and ends, and every
 * scalar setting by its key. What comes out has been checked, and does not change while the daemon runs.
 */
#pragma once

#include "base/settings.h"

#include <stdbool.h>

#define OPTIONS_DEFAULT_CONFIG "/etc/modelstage/config.yaml"

struct options {
        struct settings *settings; /* owned */
        const char *config;        /* file that was read, NULL if there is none */
        bool controller;           /* --role controller */
};

/* Reads the file and the flags (flags win). Returns -1 to go on, or the exit code of --help, --version,
 * --check-config and of mistakes, which have been printed. */
int options_read(struct options *ret, int argc, char *argv[]);
void options_clear(struct options *o);
