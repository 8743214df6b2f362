/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <sys/wait.h>
#include <unistd.h>

#include "tools/modelstage/help.h"

static char *printed(void (*print)(FILE *f)) {
        char *text = NULL;
        size_t len;
        FILE *f = open_memstream(&text, &len);

        assert_non_null(f);
        print(f);
        fclose(f);
        return text;
}

static void test_every_command_is_in_help_manual_and_completions(void **state) {
        void (*const prints[])(FILE *) = { help_print_all, help_print_manual, completion_print_bash,
                                           completion_print_zsh };

        (void)state;
        for (size_t i = 0; i < sizeof prints / sizeof *prints; i++) {
                char *text = printed(prints[i]);
                for (const struct command *c = commands; c->name; c++)
                        if (!strstr(text, c->name))
                                fail_msg("%s is missing in text %zu", c->name, i);
                assert_null(strstr(text, "--man")); /* for the build only */
                free(text);
        }
}

static void test_help_of_a_command_has_all_its_options_within_80_columns(void **state) {
        (void)state;
        for (const struct command *c = commands; c->name; c++) {
                char *text = NULL, *line, *rest;
                size_t len;
                FILE *f = open_memstream(&text, &len);
                help_print_command(f, c);
                fclose(f);
                for (unsigned i = 0; i < _ARG_MAX; i++) {
                        char option[64];
                        snprintf(option, sizeof option, "--%s", arg_specs[i].name);
                        if (c->options & 1u << i && arg_specs[i].help && !strstr(text, option))
                                fail_msg("help %s does not tell of %s", c->name, option);
                }
                for (rest = text; (line = strsep(&rest, "\n"));)
                        if (strlen(line) > 100 || (strlen(line) > 80 && !strstr(line, "modelstage")))
                                fail_msg("help %s: too long: %s", c->name, line);
                free(text);
        }
}

/* What troff would take for a request is only what we meant as one. */
static void test_manual_has_only_requests_that_exist(void **state) {
        static const char *const requests[] = { ".TH ", ".SH ", ".SS ", ".PP", ".TP", ".B ",
                                                ".BR ", ".I ",  ".RI ", ".EX", ".EE", NULL };
        char *text = printed(help_print_manual), *line, *rest = text;

        (void)state;
        while ((line = strsep(&rest, "\n"))) {
                size_t i = 0;
                if (*line != '.' && *line != '\'')
                        continue;
                while (requests[i] && strncmp(line, requests[i], strlen(requests[i])) != 0)
                        i++;
                if (!requests[i])
                        fail_msg("not a request: %s", line);
        }
        free(text);
}

/* Runs bash over the script and @code, returns what it prints. */
static char *bash(const char *code, char *out, size_t size) {
        char *script = printed(completion_print_bash), *all = NULL;
        FILE *p;
        size_t n;

        assert_true(asprintf(&all, "%s\n%s", script, code) > 0);
        int pipe_fd[2];
        assert_int_equal(pipe(pipe_fd), 0);
        pid_t pid = fork();
        if (pid == 0) {
                dup2(pipe_fd[1], STDOUT_FILENO);
                execlp("bash", "bash", "--norc", "-c", all, (char *)NULL);
                _exit(127);
        }
        close(pipe_fd[1]);
        p = fdopen(pipe_fd[0], "r");
        n = fread(out, 1, size - 1, p);
        out[n] = '\0';
        fclose(p);
        int status;
        waitpid(pid, &status, 0);
        assert_int_equal(status, 0);
        free(all);
        free(script);
        return out;
}

static void test_bash_completes_commands_options_values_and_references(void **state) {
        static const char before[] =
            "modelstage() { printf '[\\n  {\\n    \"reference\": \"host:5000/a:v1\",\\n  },\\n"
            "  {\\n    \"reference\": \"ghcr.io/b:v2\",\\n  }\\n]\\n'; }\n"
            "ask() { COMP_LINE=$1 COMP_POINT=${#1} COMPREPLY=(); _modelstage; echo "
            "\"${COMPREPLY[*]}\"; }\n";
        static const struct {
                const char *line, *reply;
        } cases[] = {
                { "modelstage wa", "warm\n" },
                { "modelstage --socket /s st", "status\n" },
                { "modelstage warm --doc", "--docker-config\n" },
                { "modelstage ls -o ", "table json\n" },
                { "modelstage warm --pull a", "always\n" },
                { "modelstage warm gh", "ghcr.io/b:v2\n" },
                { "modelstage inspect host:5000/a:",
                  "v1\n" }, /* readline has "v1" as the word after the colon */
                { "modelstage completion ", "bash zsh\n" },
                { "modelstage help comp", "completion\n" },
                { "modelstage ls ", "\n" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char code[1024], out[1024];
                snprintf(code, sizeof code, "%sask '%s'", before, cases[i].line);
                assert_string_equal(bash(code, out, sizeof out), cases[i].reply);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_command_is_in_help_manual_and_completions),
                cmocka_unit_test(test_help_of_a_command_has_all_its_options_within_80_columns),
                cmocka_unit_test(test_manual_has_only_requests_that_exist),
                cmocka_unit_test(test_bash_completes_commands_options_values_and_references),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
