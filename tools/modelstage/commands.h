/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commands: the table of commands: what each is called, takes and says about itself, and the function that
 * does it. A command gets arguments that are right in form, prints its result, and returns the exit code; it
 * does not end the program itself.
 */
#pragma once

#include "tools/modelstage/args.h"

enum command_operand { OPERAND_NONE, OPERAND_REFERENCE, OPERAND_DIRECTORY, OPERAND_SHELL, OPERAND_COMMAND };

struct command {
        const char *name;
        const char *operands;             /* for people: "REF DIR" */
        enum command_operand kinds[2];    /* for completion: of the first operand and of those after it */
        size_t min, max;                  /* operands */
        unsigned options;                 /* ARG_BIT()s; --help goes with every command */
        int (*run)(const struct args *a); /* returns the exit code */
        const char *summary;              /* one line */
        const char *text;                 /* paragraphs, separated by an empty line */
        const char *example;              /* lines; may be NULL */
};
extern const struct command commands[]; /* ends with a NULL name */
/* NULL: there is none of that name. */
const struct command *command_find(const char *name);

int cmd_warm(const struct args *a);
int cmd_ls(const struct args *a);
int cmd_status(const struct args *a);
int cmd_inspect(const struct args *a);
int cmd_mount(const struct args *a);
int cmd_umount(const struct args *a);
int cmd_fetch(const struct args *a);
int cmd_rm(const struct args *a);
int cmd_pin(const struct args *a);
int cmd_unpin(const struct args *a);
int cmd_df(const struct args *a);
int cmd_version(const struct args *a);
int cmd_help(const struct args *a);
int cmd_completion(const struct args *a);
