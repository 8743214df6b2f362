/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion: what the shells complete: commands, options, values that are one of a few, files, and the
 * references that the cache has. Both scripts ask `modelstage ls` for these, quietly: without a daemon there
 * are none.
 *
 * The scripts are written from commands[] and arg_specs[] each time, so they know what this program knows.
 * kinds[0] of a command is its first operand, kinds[1] all after it.
 */
#include <string.h>

#include "tools/modelstage/cli.h"
#include "tools/modelstage/help.h"

#define REFERENCES "modelstage ls -o json 2>/dev/null | sed -n 's/^ *\"reference\": \"\\(.*\\)\",*$/\\1/p'"

static bool takes(const struct command *c, unsigned option) {
        return ((c->options | ARG_BIT(HELP)) & 1u << option) && arg_specs[option].help;
}

static bool is_choice(const struct arg_spec *o) {
        return o->value && strchr(o->value, '|');
}

static void put_words(FILE *f, const char *choices) {
        for (; *choices; choices++)
                putc(*choices == '|' ? ' ' : *choices, f);
}

/* ---- bash ---- */

static void bash_values(FILE *f) {
        fputs("    case $prev in\n", f);
        for (unsigned i = 0; i < _ARG_MAX; i++) {
                const struct arg_spec *o = &arg_specs[i];
                if (!o->value)
                        continue;
                fprintf(f, "    --%s", o->name);
                if (o->letter)
                        fprintf(f, "|-%c", o->letter);
                if (is_choice(o)) {
                        fputs(") COMPREPLY=($(compgen -W \"", f);
                        put_words(f, o->value);
                        fputs("\" -- \"$cur\")); return ;;\n", f);
                } else if (strcmp(o->value, "FILE") == 0 ||
                           (strcmp(o->value, "PATH") == 0 && i == ARG_SOCKET)) {
                        fputs(") COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", f);
                } else {
                        fputs(") return ;;\n", f);
                }
        }
        fputs("    esac\n", f);
}

static void bash_operand(FILE *f, enum command_operand kind) {
        static const char *const how[] = {
                [OPERAND_NONE] = ":",
                [OPERAND_REFERENCE] = ("_modelstage_reply \"$(" REFERENCES ")\""),
                [OPERAND_DIRECTORY] = "COMPREPLY=($(compgen -d -- \"$cur\"))",
                [OPERAND_SHELL] = "_modelstage_reply \"bash zsh\"",
                [OPERAND_COMMAND] = "_modelstage_reply \"$commands\"",
        };

        fputs(how[kind], f);
}

static void bash_command(FILE *f, const struct command *c) {
        fprintf(f, "    %s)\n        options=\"", c->name);
        for (unsigned i = 0; i < _ARG_MAX; i++)
                if (takes(c, i))
                        fprintf(f, "--%s ", arg_specs[i].name);
        fputs("\"\n        if [[ $cur == -* ]]; then _modelstage_reply \"$options\"\n        elif ((operand "
              "== 0)); then ",
              f);
        bash_operand(f, c->kinds[0]);
        fputs("\n        else ", f);
        bash_operand(f, c->kinds[1]);
        fputs("; fi ;;\n", f);
}

void completion_print_bash(FILE *f) {
        fputs("# bash completion for modelstage; made by: modelstage completion bash\n"
              "# A reference has colons, at which readline breaks words: put the pieces together, offer what "
              "is after them.\n"
              "_modelstage_reply() {\n"
              "    local colons=${cur%\"${cur##*:}\"} i\n"
              "    COMPREPLY=($(compgen -W \"$1\" -- \"$cur\"))\n"
              "    [[ $COMP_WORDBREAKS == *:* ]] || return\n"
              "    for i in \"${!COMPREPLY[@]}\"; do COMPREPLY[i]=${COMPREPLY[i]#\"$colons\"}; done\n"
              "}\n"
              "_modelstage() {\n"
              "    local line=${COMP_LINE:0:COMP_POINT} cur=\"\" prev=\"\" command=\"\" operand=0 options "
              "word i\n"
              "    local -a words\n"
              "    read -ra words <<<\"$line\"\n"
              "    [[ $line == *[[:space:]] ]] && words+=(\"\")\n"
              "    cur=${words[-1]}\n"
              "    ((${#words[@]} > 1)) && prev=${words[-2]}\n"
              "    local commands=\"",
              f);
        for (const struct command *c = commands; c->name; c++)
                fprintf(f, "%s ", c->name);
        fputs("\"\n"
              "    COMPREPLY=()\n"
              "    for ((i = 1; i < ${#words[@]} - 1; i++)); do\n"
              "        word=${words[i]}\n"
              "        case $word in\n",
              f);
        for (unsigned i = 0; i < _ARG_MAX; i++)
                if (arg_specs[i].value)
                        fprintf(f, "        --%s%s%.1s) ((i++)) ;;\n", arg_specs[i].name,
                                arg_specs[i].letter ? "|-" : "", &arg_specs[i].letter);
        fputs("        -*) ;;\n"
              "        *) if [[ -z $command ]]; then command=$word; else ((operand++)); fi ;;\n"
              "        esac\n"
              "    done\n",
              f);
        bash_values(f);
        fputs("    case $command in\n    \"\") _modelstage_reply \"$commands\" ;;\n", f);
        for (const struct command *c = commands; c->name; c++)
                bash_command(f, c);
        fputs("    esac\n}\ncomplete -o filenames -F _modelstage modelstage\n", f);
}

/* ---- zsh ---- */

/* Text inside '…[…]': quotes, brackets and colons mean something to _arguments. */
static void zsh_text(FILE *f, const char *text) {
        for (; *text; text++) {
                if (*text == '\'')
                        fputs("'\\''", f);
                else if (strchr("[]:\\", *text))
                        fprintf(f, "\\%c", *text);
                else
                        putc(*text, f);
        }
}

static void zsh_option(FILE *f, unsigned option) {
        const struct arg_spec *o = &arg_specs[option];
        bool repeats = option == ARG_INCLUDE || option == ARG_EXCLUDE;

        fprintf(f, " \\\n            '%s--%s%s[", repeats ? "*" : "", o->name, o->value ? "=" : "");
        zsh_text(f, o->help);
        putc(']', f);
        if (is_choice(o)) {
                fputs(":value:(", f);
                put_words(f, o->value);
                putc(')', f);
        } else if (o->value) {
                bool is_file = strcmp(o->value, "FILE") == 0 || option == ARG_SOCKET;
                fprintf(f, ":%s:%s", o->value, is_file ? "_files" : "");
        }
        putc('\'', f);
}

static void zsh_command(FILE *f, const struct command *c) {
        static const char *const how[] = {
                [OPERAND_REFERENCE] = "reference:_modelstage_references",
                [OPERAND_DIRECTORY] = "directory:_files -/",
                [OPERAND_SHELL] = "shell:(bash zsh)",
                [OPERAND_COMMAND] = "command:_modelstage_commands",
        };

        fprintf(f, "        %s) _arguments", c->name);
        for (unsigned i = 0; i < _ARG_MAX; i++)
                if (takes(c, i))
                        zsh_option(f, i);
        if (c->kinds[0] != OPERAND_NONE)
                fprintf(f, " \\\n            '1:%s'", how[c->kinds[0]]);
        if (c->kinds[1] != OPERAND_NONE)
                fprintf(f, " \\\n            '*:%s'", how[c->kinds[1]]);
        fputs(" ;;\n", f);
}

void completion_print_zsh(FILE *f) {
        fputs("#compdef modelstage\n"
              "# zsh completion for modelstage; made by: modelstage completion zsh\n"
              "_modelstage_references() {\n"
              "    local -a references\n"
              "    references=(${(f)\"$(" REFERENCES ")\"})\n"
              "    compadd -a references\n"
              "}\n"
              "_modelstage_commands() {\n"
              "    local -a commands\n"
              "    commands=(\n",
              f);
        for (const struct command *c = commands; c->name; c++) {
                fprintf(f, "        '%s:", c->name);
                zsh_text(f, c->summary);
                fputs("'\n", f);
        }
        fputs("    )\n"
              "    _describe command commands\n"
              "}\n"
              "_modelstage() {\n"
              "    local context state state_descr line\n"
              "    typeset -A opt_args\n"
              "    _arguments -C '1:command:_modelstage_commands' '*::argument:->argument'\n"
              "    [[ $state == argument ]] || return\n"
              "    case $words[1] in\n",
              f);
        for (const struct command *c = commands; c->name; c++)
                zsh_command(f, c);
        fputs("    esac\n}\n_modelstage \"$@\"\n", f);
}

int cmd_completion(const struct args *a) {
        if (strcmp(a->operands[0], "bash") == 0)
                completion_print_bash(stdout);
        else if (strcmp(a->operands[0], "zsh") == 0)
                completion_print_zsh(stdout);
        else
                return cli_usage("completion", "\"%s\" is not a shell that we have completions for",
                                 a->operands[0]);
        return CLI_DONE;
}
