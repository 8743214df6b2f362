/* SPDX-License-Identifier: Apache-2.0 */
/*
 * help: two renderings of the same tables, commands[] and arg_specs[]: plain text of 80 columns for a
 * terminal, and roff for modelstage(1), which the build makes by running `modelstage help --man`. What is the
 * same for all commands (exit codes, environment) stands at the end of the manual page only.
 */
#include "tools/modelstage/help.h"

#include <string.h>

#include "base/cleanup.h"
#include "tools/modelstage/cli.h"

#define WIDTH 80 /* of the text; an address without a break may stand out */

/* Prints up to @len bytes of @text, broken at spaces; @column is where the cursor is. */
static void print_wrapped(FILE *f, const char *text, size_t len, size_t indent, size_t column) {
        const char *end = text + len;

        while (text < end) {
                size_t word = strcspn(text, " \n");
                if (word > (size_t)(end - text))
                        word = (size_t)(end - text);
                if (column > indent && column + 1 + word > WIDTH) {
                        fprintf(f, "\n%*s", (int)indent, "");
                        column = indent;
                }
                column += (size_t)fprintf(f, "%s%.*s", column > indent ? " " : "", (int)word, text);
                text += word;
                text += strspn(text, " ");
                if (*text == '\n')
                        text++;
        }
        putc('\n', f);
}

static void print_paragraphs(FILE *f, const char *text) {
        for (const char *gap; text; text = gap ? gap + 2 : NULL) {
                gap = strstr(text, "\n\n");
                print_wrapped(f, text, gap ? (size_t)(gap - text) : strlen(text), 0, 0);
                if (gap)
                        putc('\n', f);
        }
}

static void print_option(FILE *f, const struct arg_spec *o) {
        int n = o->letter ? fprintf(f, "  -%c, --%s", o->letter, o->name) : fprintf(f, "      --%s", o->name);
        const size_t indent = 28;

        if (o->value)
                n += fprintf(f, " %s", o->value);
        if ((size_t)n + 2 > indent) {
                putc('\n', f);
                n = 0;
        }
        fprintf(f, "%*s", (int)indent - n, "");
        print_wrapped(f, o->help, strlen(o->help), indent, indent);
}

static void print_example(FILE *f, const char *example) {
        while (*example) {
                size_t len = strcspn(example, "\n");
                fprintf(f, "  %.*s\n", (int)len, example);
                example += len + (example[len] == '\n');
        }
}

void help_print_all(FILE *f) {
        fputs("Puts AI models from OCI registries onto this node: once, verified, ready to mount.\n\n"
              "Usage: modelstage COMMAND [OPTION...]\n\n",
              f);
        for (const struct command *c = commands; c->name; c++)
                fprintf(f, "  %-12s %s\n", c->name, c->summary);
        putc('\n', f);
        print_paragraphs(
            f, "modelstage help COMMAND tells more. A reference (REF) is "
               "[oci://]HOST/REPOSITORY[:TAG][@DIGEST], or oci-layout:DIR[:TAG|@DIGEST] for an OCI image "
               "layout on disk.");
}

void help_print_command(FILE *f, const struct command *c) {
        fprintf(f, "Usage: modelstage %s [OPTION...]%s%s\n\n", c->name, *c->operands ? " " : "", c->operands);
        print_paragraphs(f, c->text);
        fputs("\nOptions:\n", f);
        for (unsigned i = 0; i < _ARG_MAX; i++)
                if ((c->options | ARG_BIT(HELP)) & 1u << i && arg_specs[i].help)
                        print_option(f, &arg_specs[i]);
        if (c->example) {
                fputs("\nExamples:\n", f);
                print_example(f, c->example);
        }
}

/* ---- modelstage(1) ---- */

/* Text for roff: hyphens that can be copied, no line that troff takes for a request. */
static void roff(FILE *f, const char *text) {
        bool start = true;

        for (; *text; text++) {
                if (start && (*text == '.' || *text == '\''))
                        fputs("\\&", f);
                if (*text == '-')
                        fputs("\\-", f);
                else if (*text == '\\')
                        fputs("\\e", f);
                else
                        putc(*text, f);
                start = *text == '\n';
        }
}

static void roff_paragraphs(FILE *f, const char *text) {
        while (*text) {
                const char *gap = strstr(text, "\n\n");
                _cleanup_free_ char *part =
                    cli_must(strndup(text, gap ? (size_t)(gap - text) : strlen(text)));
                fputs(".PP\n", f);
                roff(f, part);
                putc('\n', f);
                text = gap ? gap + 2 : "";
        }
}

static void roff_option(FILE *f, const struct arg_spec *o) {
        fputs(".TP\n\\fB", f);
        if (o->letter)
                fprintf(f, "\\-%c\\fR, \\fB", o->letter);
        fputs("\\-\\-", f);
        roff(f, o->name);
        fputs("\\fR", f);
        if (o->value) {
                fputs(" \\fI", f);
                roff(f, o->value);
                fputs("\\fR", f);
        }
        putc('\n', f);
        roff(f, o->help);
        putc('\n', f);
}

static void roff_command(FILE *f, const struct command *c) {
        fprintf(f, ".SS \"modelstage %s", c->name);
        roff(f, *c->operands ? " " : "");
        roff(f, c->operands);
        fputs("\"\n", f);
        roff_paragraphs(f, c->text);
        for (unsigned i = 0; i < _ARG_MAX; i++)
                if (c->options & 1u << i && arg_specs[i].help)
                        roff_option(f, &arg_specs[i]);
        if (c->example) {
                fputs(".PP\n.EX\n", f);
                roff(f, c->example);
                fputs("\n.EE\n", f);
        }
}

static const char manual_end[] = ".SH EXIT STATUS\n"
                                 ".TP\n0\nDone.\n"
                                 ".TP\n1\nIt failed; a line on stderr says what, why, and what to do.\n"
                                 ".TP\n2\nWrong usage.\n"
                                 ".TP\n3\nThe daemon cannot be reached.\n"
                                 ".TP\n4\nNot found.\n"
                                 ".TP\n5\nDenied, by the registry or by a policy.\n"
                                 ".TP\n6\nNo space.\n"
                                 ".SH ENVIRONMENT\n"
                                 ".TP\n.B MODELSTAGE_SOCKET\nThe daemon\\(aqs control socket.\n"
                                 ".TP\n.B NO_COLOR\nIf set and not empty, nothing is coloured.\n"
                                 ".TP\n.B DOCKER_CONFIG\nDirectory of config.json for fetch and inspect "
                                 "\\-\\-remote; default: ~/.docker.\n"
                                 ".SH FILES\n"
                                 ".TP\n.I /run/modelstage/control.sock\nWhere the daemon listens.\n"
                                 ".SH SEE ALSO\n.BR modelstaged (8)\n";

void help_print_manual(FILE *f) {
        fputs(".TH MODELSTAGE 1 \"\" \"modelstage " MODELSTAGE_VERSION "\" \"Modelstage\"\n"
              ".SH NAME\nmodelstage \\- AI models from OCI registries on this node: once, verified\n"
              ".SH SYNOPSIS\n.B modelstage\n.I COMMAND\n.RI [ OPTION ...]\n"
              ".SH DESCRIPTION\n"
              "The command line of\n.BR modelstaged (8),\nwhich pulls AI models from OCI registries onto a "
              "node\\(aqs disk "
              "and mounts them read\\-only into pods.\n"
              ".PP\nA reference (\\fIREF\\fR) is "
              "[oci://]\\fIHOST\\fR/\\fIREPOSITORY\\fR[:\\fITAG\\fR][@\\fIDIGEST\\fR], or "
              "oci\\-layout:\\fIDIR\\fR[:\\fITAG\\fR|@\\fIDIGEST\\fR] for an OCI image layout on disk.\n"
              ".PP\nThe result goes to stdout, progress and errors to stderr.\n"
              ".SH COMMANDS\n",
              f);
        for (const struct command *c = commands; c->name; c++)
                roff_command(f, c);
        fputs(manual_end, f);
}

int cmd_help(const struct args *a) {
        const struct command *c;

        if (args_has(a, ARG_BIT(MAN)))
                help_print_manual(stdout);
        else if (a->n_operands == 0)
                help_print_all(stdout);
        else if ((c = command_find(a->operands[0])))
                help_print_command(stdout, c);
        else
                return cli_usage(NULL, "there is no command \"%s\"", a->operands[0]);
        return CLI_DONE;
}
