/* SPDX-License-Identifier: Apache-2.0 */
/* help: the tables of commands and options as text, as modelstage(1), and as completions. */
#pragma once

#include "tools/modelstage/commands.h"

#include <stdio.h>

void help_print_all(FILE *f);
void help_print_command(FILE *f, const struct command *c);
void help_print_manual(FILE *f); /* roff */
void completion_print_bash(FILE *f);
void completion_print_zsh(FILE *f);
