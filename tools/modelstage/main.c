/* SPDX-License-Identifier: Apache-2.0 */
/*
 * modelstage: the command line of modelstaged.
 *
 *   argv --args.c--> struct args --commands.c--> cmd_NAME() --> exit code --cli_finish()--> exit
 *                                                   |
 *                     most commands:                daemon.c --> modelstaged's control socket
 *                     fetch, inspect --remote:      direct.c --> the registry itself
 *
 * One thread, except in warm (cmd_warm.c) and for the engine's own in fetch.
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/modelstage/cli.h"
#include "tools/modelstage/commands.h"
#include "tools/modelstage/help.h"

static int run(struct args *a, int argc, char *argv[]) {
        struct error e = { 0 };

        if (argc == 1) {
                help_print_all(stderr);
                return CLI_USAGE;
        }
        if (args_parse(a, argc, argv, &e) < 0)
                return cli_usage(a->command ? a->command->name : NULL, "%s", e.text);
        if (args_has(a, ARG_BIT(HELP))) {
                if (a->command)
                        help_print_command(stdout, a->command);
                else
                        help_print_all(stdout);
                return CLI_DONE;
        }
        return a->command ? a->command->run(a) : cmd_version(a); /* --version alone */
}

/* Containers often have no locale set at all; their names are UTF-8 all the same. */
static void set_locale(void) {
        static const char *const variables[] = { "LC_ALL", "LC_CTYPE", "LANG" };
        const char *wanted = "C.UTF-8";

        for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
                const char *value = getenv(variables[i]);
                if (value && *value)
                        wanted = "";
        }
        setlocale(LC_CTYPE, wanted);
}

int main(int argc, char *argv[]) {
        struct args a = { 0 };

        set_locale();
        int exit_code = cli_finish(run(&a, argc, argv));
        args_clear(&a);
        return exit_code;
}
