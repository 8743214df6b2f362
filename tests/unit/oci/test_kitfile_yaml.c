/* SPDX-License-Identifier: Apache-2.0 */
/* The Kitfile as kit writes it: the expected texts are what go-yaml 3.0.1 prints with an indentation of 2. */
#include "oci/kitfile_yaml.h"
#include "tests/support/yaml_reading.h"
#include "tests/unit/test.h"

#include "base/json.h"

static char *yaml_of(const char *json, size_t *len) {
        _cleanup_json_ json_t *document = json_loads(json, 0, NULL);
        struct error e = { 0 };
        char *text = NULL;

        if (!document)
                fail_msg("%s is no JSON", json);
        if (oci_kitfile_yaml(&text, len, document, &e) < 0)
                fail_msg("%s: %s", json, e.text);
        return text;
}

struct sample {
        const char *json, *yaml;
};

static void assert_samples(const struct sample *samples, size_t n) {
        for (size_t i = 0; i < n; i++) {
                size_t len;
                _cleanup_free_ char *text = yaml_of(samples[i].json, &len);

                if (strcmp(text, samples[i].yaml) != 0)
                        fail_msg("of %s\nthe Kitfile is\n%sinstead of\n%s", samples[i].json, text,
                                 samples[i].yaml);
                assert_int_equal(len, strlen(text));
        }
}
#define ASSERT_SAMPLES(list) assert_samples(list, sizeof list / sizeof *list)

static void test_maps_and_lists_are_laid_out_as_go_yaml_does(void **state) {
        static const struct sample samples[] = {
                { "{}", "{}\n" },
                { "{\"b\":\"x\",\"a\":\"z\"}", "b: x\na: z\n" },
                { "{\"model\":{\"parts\":[{\"name\":\"o\",\"path\":\"p\"},{\"path\":\"q\"}]}}",
                  "model:\n  parts:\n    - name: o\n      path: p\n    - path: q\n" },
                { "{\"parameters\":{\"e\":{},\"l\":[],\"n\":null,\"t\":true,\"f\":false}}",
                  "parameters:\n  e: {}\n  f: false\n  l: []\n  \"n\": null\n  t: true\n" },
                { "{\"a\":[[\"x\",[\"y\"]],[{\"k\":[\"z\"]}]]}",
                  "a:\n  - - x\n    - - \"y\"\n  - - k:\n        - z\n" },
        };

        (void)state;
        ASSERT_SAMPLES(samples);
}

static void test_what_kit_does_not_print_is_left_out(void **state) {
        static const struct sample samples[] = {
                { "{\"package\":{},\"model\":{}}", "model: {}\n" },
                { "{\"model\":{\"path\":\"m\",\"digest\":\"d\",\"diffId\":\"d\"}}", "model:\n  path: m\n" },
                { "{\"docs\":[{\"digest\":\"d\"}]}", "docs:\n  - {}\n" },
                { "{\"parameters\":{\"digest\":\"d\",\"package\":{}}}",
                  "parameters:\n  digest: d\n  package: {}\n" },
        };

        (void)state;
        ASSERT_SAMPLES(samples);
}

static void test_authors_are_a_list_in_brackets(void **state) {
        static const struct sample samples[] = {
                { "{\"package\":{\"authors\":[\"A B\",\"C, D\",\"yes\",\"e\\nf\",\"g?\"]}}",
                  "package:\n  authors: [A B, 'C, D', \"yes\", \"e\\nf\", 'g?']\n" },
                { "{\"parameters\":{\"authors\":[\"A\"]}}", "parameters:\n  authors:\n    - A\n" },
                { "{\"authors\":[]}", "authors: []\n" },
        };

        (void)state;
        ASSERT_SAMPLES(samples);
}

/* @string as JSON and what stands behind "k:". */
static const struct sample strings[] = {
        { "1.0.0", "1.0.0" },
        { "Apache-2.0", "Apache-2.0" },
        { "a b", "a b" },
        { "x:y#z", "x:y#z" },
        { "localhost/demo:none", "localhost/demo:none" },
        { "-a", "-a" },
        { "?a", "?a" },
        { "=", "=" },
        { "\xc3\xa9", "\xc3\xa9" },
        /* would read as something else */
        { "", "\"\"" },
        { "~", "\"~\"" },
        { "null", "\"null\"" },
        { "True", "\"True\"" },
        { "yes", "\"yes\"" },
        { "Off", "\"Off\"" },
        { "yEs", "yEs" },
        { ".inf", "\".inf\"" },
        { "1.0", "\"1.0\"" },
        { "1_000", "\"1_000\"" },
        { "1e3", "\"1e3\"" },
        { "1e", "1e" },
        { "7e84096", "7e84096" },
        { ".5", "\".5\"" },
        { ".5_5", "\".5_5\"" },
        { "._5", "._5" },
        { "0x1F", "\"0x1F\"" },
        { "0xfffffffffffffffff", "0xfffffffffffffffff" },
        { "0x", "0x" },
        { "0b101", "\"0b101\"" },
        { "0b102", "0b102" },
        { "0b-1", "\"0b-1\"" },
        { "0o17", "\"0o17\"" },
        { "017", "\"017\"" },
        { "089", "\"089\"" },
        { "-9223372036854775809", "\"-9223372036854775809\"" },
        { "-0x8000000000000000", "\"-0x8000000000000000\"" },
        { "-0x8000000000000001", "-0x8000000000000001" },
        { "0xffffffffffffffff", "\"0xffffffffffffffff\"" },
        { "+0xffffffffffffffff", "+0xffffffffffffffff" },
        { "12:30:45.6", "\"12:30:45.6\"" },
        { "12:60", "12:60" },
        { "12:345", "12:345" },
        { "2001-12-14", "\"2001-12-14\"" },
        { "2001-2-29", "2001-2-29" },
        { "2000-02-29", "\"2000-02-29\"" },
        { "1900-02-29", "1900-02-29" },
        { "2001-13-01", "2001-13-01" },
        { "2001-12-14t21:59:43.10-05:00", "\"2001-12-14t21:59:43.10-05:00\"" },
        { "2001-12-14T1:2:3Z", "\"2001-12-14T1:2:3Z\"" },
        { "2001-12-14T21:59:43", "2001-12-14T21:59:43" },
        { "2001-12-14T21:59:43+25:00", "2001-12-14T21:59:43+25:00" },
        { "2001-12-14  21:59:43,5", "\"2001-12-14  21:59:43,5\"" },
        { "2001-12-14 24:00:00", "2001-12-14 24:00:00" },
        { "2001-12-14 23:60:00", "2001-12-14 23:60:00" },
        { "2001-12-14 23:00", "2001-12-14 23:00" },
        /* would mean something to a parser */
        { "a: b", "'a: b'" },
        { "a:", "'a:'" },
        { "a #b", "'a #b'" },
        { "#a", "'#a'" },
        { "- a", "'- a'" },
        { "-", "'-'" },
        { "? a", "'? a'" },
        { "---a", "'---a'" },
        { "...", "'...'" },
        { "'a'", "'''a'''" },
        { "[a]", "'[a]'" },
        { "@a", "'@a'" },
        { "%a", "'%a'" },
        { " a", "' a'" },
        { "a ", "'a '" },
        /* cannot be printed */
        { "a\\tb", "\"a\\tb\"" },
        { "\\u0001\\u0007\\u001b\\u007f", "\"\\x01\\a\\e\\x7F\"" },
        { "\\u0085\\u00a0", "\"\\N\xc2\xa0\"" },
        { "\xc2\xa0", "\xc2\xa0" },
        { "\\ud83d\\ude00", "\"\\U0001F600\"" },
        { "a\\ufffe", "\"a\\uFFFE\"" },
        { "\\ufeffa\xc3\xa9\\u00a0", "\"\\uFEFF\\x61\\xE9\\_\"" },
        { "\\r\\\"\\\\", "\"\\r\\\"\\\\\"" },
        /* of several lines */
        { "a\\nb", "|-\n  a\n  b" },
        { "a\\nb\\n", "|\n  a\n  b" },
        { "a\\n\\n", "|+\n  a\n" },
        { "a\\n\\n b: c", "|-\n  a\n\n   b: c" },
        { " a\\nb", "|2-\n   a\n  b" },
        { "a\\tb\\nc", "|-\n  a\tb\n  c" },
        { "a \\nb", "\"a \\nb\"" },
        { "a\\nb ", "\"a\\nb \"" },
        { "a\\n\\u0001", "\"a\\n\\x01\"" },
        { "a\\u2028b", "'a\xe2\x80\xa8  b'" },
        /* go-yaml could not read these back as it writes them: the only ones that are not as it does */
        { "<<", "\"<<\"" },
        { "\\na", "\"\\na\"" },
        { "\\n", "\"\\n\"" },
        { "\\ta\\nb", "\"\\ta\\nb\"" },
};

static void test_strings_are_quoted_as_go_yaml_does(void **state) {
        char json[256], yaml[256];

        (void)state;
        for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
                const struct sample sample = { json, yaml };

                snprintf(json, sizeof json, "{\"k\":\"%s\",\"l\":\"z\"}", strings[i].json);
                snprintf(yaml, sizeof yaml, "k: %s\nl: z\n", strings[i].yaml);
                assert_samples(&sample, 1);
        }
}

static void test_keys_that_are_long_or_of_several_lines_get_a_question_mark(void **state) {
        static const struct sample samples[] = {
                { "{\"a\\nb\":\"c\",\"d\":{\"e\\n\":{\"f\":\"g\",\"h\":[\"i\"]}}}",
                  "? |-\n  a\n  b\n: c\nd:\n  ? |\n    e\n  : f: g\n    h:\n      - i\n" },
                { "{\"a\\n\":[\"b\"]}", "? |\n  a\n: - b\n" },
                { "{\"\":\"a\",\"no\":\"b\",\"c: d\":\"e\"}", "\"\": a\n\"no\": b\n'c: d': e\n" },
        };
        char key[130], json[256], yaml[256];
        const struct sample longest = { json, yaml };

        (void)state;
        ASSERT_SAMPLES(samples);
        for (int n = 128; n <= 129; n++) {
                memset(key, 'k', sizeof key);
                snprintf(json, sizeof json, "{\"%.*s\":\"v\"}", n, key);
                snprintf(yaml, sizeof yaml, n == 128 ? "%.*s: v\n" : "? %.*s\n: v\n", n, key);
                assert_samples(&longest, 1);
        }
}

static void test_numbers_are_formatted_as_go_does(void **state) {
        static const struct sample numbers[] = {
                { "0", "0" },
                { "-7", "-7" },
                { "100000", "100000" },
                { "999999", "999999" },
                { "1000000", "1e+06" },
                { "1234567", "1.234567e+06" },
                { "0.1", "0.1" },
                { "0.0001", "0.0001" },
                { "0.00001", "1e-05" },
                { "123.456", "123.456" },
                { "1.5e300", "1.5e+300" },
                { "5e-324", "5e-324" },
                { "1.7976931348623157e308", "1.7976931348623157e+308" },
                { "5.960464477539063e-08", "5.960464477539063e-08" },
                { "0.30000000000000004", "0.30000000000000004" },
                { "9007199254740993", "9.007199254740992e+15" },
        };
        char json[128], yaml[128];

        (void)state;
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
                const struct sample sample = { json, yaml };

                snprintf(json, sizeof json, "{\"parameters\":%s}", numbers[i].json);
                snprintf(yaml, sizeof yaml, "parameters: %s\n", numbers[i].yaml);
                assert_samples(&sample, 1);
        }
}

static void test_keys_of_parameters_are_in_go_yamls_order(void **state) {
        static const struct sample samples[] = {
                { "{\"parameters\":{\"layer10\":{\"b\":\"1\",\"a\":\"2\"},\"layer2\":\"3\"},\"a\":\"x\"}",
                  "parameters:\n  layer2: \"3\"\n  layer10:\n    a: \"2\"\n    b: \"1\"\na: x\n" },
                { "{\"parameters\":{\"ab\":true,\"a_b\":true,\"B\":true,\"a\":true,\"1_\":true,\"1b\":true,"
                  "\"a01\":true,\"a1\":true,\"a100\":true,\"a12\":true}}",
                  "parameters:\n  1b: true\n  \"1_\": true\n  B: true\n  a: true\n  a_b: true\n  a1: true\n"
                  "  a01: true\n  a12: true\n  a100: true\n  ab: true\n" },
        };

        (void)state;
        ASSERT_SAMPLES(samples);
}

static char *nested(unsigned depth) {
        char *json = malloc((size_t)depth * 7 + 2), *p = json;

        assert_non_null(json);
        for (unsigned i = 0; i < depth; i++)
                p += sprintf(p, "{\"a\":");
        *p++ = '1';
        memset(p, '}', depth);
        p[depth] = '\0';
        return json;
}

static void test_what_is_too_deep_or_too_long_is_refused(void **state) {
        _cleanup_free_ char *good = nested(KITFILE_DEPTH_MAX), *bad = nested(KITFILE_DEPTH_MAX + 1);
        _cleanup_json_ json_t *deep = json_loads(bad, 0, NULL), *wide = json_array();
        _cleanup_json_ json_t *document = json_pack("{s:O}", "parameters", wide);
        _cleanup_free_ char *text = NULL, *none = NULL;
        struct error e = { 0 };
        size_t len;

        (void)state;
        text = yaml_of(good, &len);
        assert_non_null(strstr(text, "a: 1\n"));
        assert_true(oci_kitfile_yaml(&none, &len, deep, &e) < 0);
        assert_int_equal(e.kind, ERROR_INVALID);
        assert_non_null(strstr(e.text, "deeper"));
        for (size_t i = 0; i <= KITFILE_YAML_MAX / strlen("  - 1\n"); i++)
                assert_int_equal(json_array_append_new(wide, json_integer(1)), 0);
        assert_true(oci_kitfile_yaml(&none, &len, document, &e) < 0);
        assert_int_equal(e.kind, ERROR_INVALID);
        assert_non_null(strstr(e.text, "longer"));
        assert_null(none);
}

/* ---- any config ---- */

static json_t *random_string(struct test_rng *rng) {
        static const char *const pieces[] = {
                "a",  "b",      "x",  "y",      "n",      "0",      "1",   "9",    "_",    "-",
                ".",  ":",      "?",  "#",      ",",      "[",      "]",   "{",    "}",    "&",
                "*",  "!",      "|",  ">",      "'",      "\"",     "%",   "@",    "`",    "~",
                "=",  "+",      "\\", "/",      "\t",     "\n",     "\n",  "\r",   " ",    " ",
                "e",  "0x",     "0b", "0o",     "null",   "true",   "yes", ".inf", "---",  "2001-12-14",
                ": ", " #",     "- ", "? ",     "<<",     "T",      "Z",   "12",   "\x01", "\x7f",
                "é",  "\u00a0", "世", "\u2028", "\u2029", "\ufeff", "😀",   "\n\n", "1.0",  "1:30",
        };
        char text[256] = "";

        for (uint64_t n = test_rng_next(rng) % 8; n > 0; n--)
                strcat(text, pieces[test_rng_next(rng) % (sizeof pieces / sizeof *pieces)]);
        return json_string(text);
}

static json_t *random_value(struct test_rng *rng, unsigned depth) {
        uint64_t n = test_rng_next(rng) % 5;
        json_t *value;

        switch (depth > 5 ? 0 : test_rng_next(rng) % 8) {
        default:
                return random_string(rng);
        case 1:
                return json_integer((json_int_t)(test_rng_next(rng) >> test_rng_next(rng) % 64) >> 1);
        case 2:
                return json_real(ldexp((double)(test_rng_next(rng) >> test_rng_next(rng) % 64),
                                       (int)(test_rng_next(rng) % 200) - 150));
        case 3:
                return n == 0 ? json_null() : json_boolean(n % 2);
        case 4:
        case 5:
                value = json_object();
                while (n-- > 0) {
                        json_t *key = random_string(rng);
                        json_object_set_new(value, json_string_value(key), random_value(rng, depth + 1));
                        json_decref(key);
                }
                return value;
        case 6:
                value = json_array();
                while (n-- > 0)
                        json_array_append_new(value, random_value(rng, depth + 1));
                return value;
        }
}

static void test_whatever_is_written_reads_back_as_the_same(void **state) {
        struct test_rng rng = test_rng_new("kitfile_yaml");

        (void)state;
        for (unsigned i = 0; i < 1000; i++) {
                _cleanup_json_ json_t *document = json_pack("{s:o, s:o}", "model", random_value(&rng, 0),
                                                            "parameters", random_value(&rng, 0));
                _cleanup_json_ json_t *kitfile = yaml_reading_kitfile(document);
                _cleanup_free_ char *text = NULL;
                struct error e = { 0 };
                size_t len;

                if (oci_kitfile_yaml(&text, &len, document, &e) < 0)
                        fail_msg("%s", e.text);
                if (!yaml_reading_same(text, len, kitfile)) {
                        _cleanup_free_ char *json = json_dumps(document, 0);
                        fail_msg("not the same:\n%s\n%s", json, text);
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_maps_and_lists_are_laid_out_as_go_yaml_does),
                cmocka_unit_test(test_what_kit_does_not_print_is_left_out),
                cmocka_unit_test(test_authors_are_a_list_in_brackets),
                cmocka_unit_test(test_strings_are_quoted_as_go_yaml_does),
                cmocka_unit_test(test_keys_that_are_long_or_of_several_lines_get_a_question_mark),
                cmocka_unit_test(test_numbers_are_formatted_as_go_does),
                cmocka_unit_test(test_keys_of_parameters_are_in_go_yamls_order),
                cmocka_unit_test(test_what_is_too_deep_or_too_long_is_refused),
                cmocka_unit_test(test_whatever_is_written_reads_back_as_the_same),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
