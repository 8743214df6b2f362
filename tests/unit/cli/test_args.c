/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include <errno.h>

#include "tools/modelstage/commands.h"

#define WORDS(...) ((char *const[]){ (char *)"modelstage", __VA_ARGS__ __VA_OPT__(, ) NULL })

static int parse(struct args *a, char *const *argv, struct error *e) {
        int argc = 0;

        while (argv[argc])
                argc++;
        return args_parse(a, argc, argv, e);
}

static void test_options_stand_before_between_and_after_operands(void **state) {
        char *const *const lines[] = {
                WORDS((char *)"--socket", (char *)"/s", (char *)"warm", (char *)"a", (char *)"b",
                      (char *)"-o", (char *)"json", (char *)"--pin"),
                WORDS((char *)"warm", (char *)"--pin", (char *)"a", (char *)"--socket=/s", (char *)"b",
                      (char *)"--output=json"),
                WORDS((char *)"warm", (char *)"-ojson", (char *)"--pin", (char *)"--socket", (char *)"/s",
                      (char *)"--", (char *)"a", (char *)"b"),
        };

        (void)state;
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
                struct args a;
                struct error e = { 0 };
                assert_int_equal(parse(&a, lines[i], &e), 0);
                assert_string_equal(a.command->name, "warm");
                assert_string_equal(a.socket, "/s");
                assert_int_equal(a.output, ARG_OUTPUT_JSON);
                assert_true(args_has(&a, ARG_BIT(PIN)));
                assert_int_equal(a.n_operands, 2);
                assert_string_equal(a.operands[0], "a");
                assert_string_equal(a.operands[1], "b");
                assert_null(a.operands[2]);
                args_clear(&a);
        }
}

static void test_values_are_read(void **state) {
        struct args a;
        struct error e = { 0 };

        (void)state;
        assert_int_equal(
            parse(&a,
                  WORDS((char *)"warm", (char *)"--ttl", (char *)"24h", (char *)"--include", (char *)"*.json",
                        (char *)"--include=*.safetensors", (char *)"--exclude", (char *)"x", (char *)"--pull",
                        (char *)"if-not-present", (char *)"--root=", (char *)"-q", (char *)"ref"),
                  &e),
            0);
        assert_int_equal(a.ttl_ms, 24 * 3600 * 1000);
        assert_int_equal(a.n_include, 2);
        assert_string_equal(a.include[1], "*.safetensors");
        assert_null(a.include[2]);
        assert_int_equal(a.n_exclude, 1);
        assert_int_equal(a.pull, ARG_PULL_IF_NOT_PRESENT);
        assert_string_equal(a.root, "");
        assert_true(args_has(&a, ARG_BIT(QUIET)));
        args_clear(&a);
}

static void test_after_two_dashes_everything_is_an_operand(void **state) {
        struct args a;
        struct error e = { 0 };

        (void)state;
        assert_int_equal(parse(&a, WORDS((char *)"rm", (char *)"--", (char *)"--pin", (char *)"-"), &e), 0);
        assert_int_equal(a.n_operands, 2);
        assert_string_equal(a.operands[0], "--pin");
        assert_false(args_has(&a, ARG_BIT(PIN)));
        args_clear(&a);
}

static void test_mistakes_are_told_with_what_was_meant(void **state) {
        static const struct {
                char *const words[5];
                const char *told;
        } cases[] = {
                { { (char *)"wrm", (char *)"a" }, "there is no command \"wrm\" (did you mean warm?)" },
                { { (char *)"statsu" }, "there is no command \"statsu\" (did you mean status?)" },
                { { (char *)"ls", (char *)"--qiet" }, "there is no option --qiet (did you mean --quiet?)" },
                { { (char *)"ls", (char *)"--zzzzzzzz=1" }, "there is no option --zzzzzzzz" },
                { { (char *)"ls", (char *)"-z" }, "there is no option -z" },
                { { (char *)"ls", (char *)"a" }, "\"a\" is too much for ls" },
                { { (char *)"warm" }, "warm needs REF..." },
                { { (char *)"fetch", (char *)"a" }, "fetch needs REF DIR" },
                { { (char *)"ls", (char *)"--pin" }, "--pin does not go with ls" },
                { { (char *)"ls", (char *)"-o", (char *)"yaml" },
                  "--output is one of table|json, not \"yaml\"" },
                { { (char *)"ls", (char *)"-o" }, "--output needs a value: table|json" },
                { { (char *)"ls", (char *)"--socket=" }, "--socket needs a value: PATH" },
                { { (char *)"ls", (char *)"--quiet=yes" }, "--quiet takes no value" },
                { { (char *)"warm", (char *)"a", (char *)"--ttl", (char *)"soon" },
                  "--ttl is a duration of at least 1s, such as 24h or 90m, not \"soon\"" },
                { { (char *)"warm", (char *)"a", (char *)"--pull", (char *)"" },
                  "--pull needs a value: "
                  "always|if-not-present" },
                { { (char *)"--socket", (char *)"/s" }, "--socket does not go with modelstage alone" },
                { { NULL }, "a command is missing" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char *words[7] = { (char *)"modelstage" };
                struct args a;
                struct error e = { 0 };
                for (size_t k = 0; k < 5; k++)
                        words[k + 1] = cases[i].words[k];
                assert_int_equal(parse(&a, words, &e), -EINVAL);
                assert_int_equal(e.kind, ERROR_INVALID);
                assert_string_equal(e.text, cases[i].told);
                args_clear(&a);
        }
}

static void test_help_and_version_ask_for_nothing_else(void **state) {
        struct args a;
        struct error e = { 0 };

        (void)state;
        assert_int_equal(parse(&a, WORDS((char *)"warm", (char *)"--help"), &e), 0);
        assert_string_equal(a.command->name, "warm");
        args_clear(&a);
        assert_int_equal(parse(&a, WORDS((char *)"-h"), &e), 0);
        assert_null(a.command);
        args_clear(&a);
        assert_int_equal(parse(&a, WORDS((char *)"--version"), &e), 0);
        assert_true(args_has(&a, ARG_BIT(VERSION)));
        args_clear(&a);
}

static void test_letters_may_stand_together(void **state) {
        struct args a;
        struct error e = { 0 };

        (void)state;
        assert_int_equal(parse(&a, WORDS((char *)"ls", (char *)"-qo", (char *)"json"), &e), 0);
        assert_true(args_has(&a, ARG_BIT(QUIET)));
        assert_int_equal(a.output, ARG_OUTPUT_JSON);
        args_clear(&a);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_options_stand_before_between_and_after_operands),
                cmocka_unit_test(test_values_are_read),
                cmocka_unit_test(test_after_two_dashes_everything_is_an_operand),
                cmocka_unit_test(test_mistakes_are_told_with_what_was_meant),
                cmocka_unit_test(test_help_and_version_ask_for_nothing_else),
                cmocka_unit_test(test_letters_may_stand_together),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
