/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "base/text.h"

/* WRAP: text_utf8_size */
size_t __real_text_utf8_size(const char *s, size_t len);
size_t __wrap_text_utf8_size(const char *s, size_t len);

static size_t characters_read; /* of patterns and paths: what a match costs */

size_t __wrap_text_utf8_size(const char *s, size_t len) {
        characters_read++;
        return __real_text_utf8_size(s, len);
}

static const struct {
        const char *pattern, *path;
        bool matches;
} cases[] = {
        { "*.safetensors", "model.safetensors", true },
        { "*.safetensors", "a/b/model.safetensors", true }, /* no slash: the last component */
        { "*.safetensors", "model.safetensors.bak", false },
        { "a/*.bin", "a/x.bin", true },
        { "a/*.bin", "a/b/x.bin", false },
        { "a/**", "a/b/x.bin", true },
        { "a/**", "a", false },
        { "a/**/x", "a/x", true },
        { "a/**/x", "a/b/c/x", true },
        { "a/**/x", "ab/x", false },
        { "a/**/x", "a/bx", false },
        { "**/x", "x", true },
        { "**/x", "a/b/x", true },
        { "**/x", "a/bx", false },
        { "**/**/x", "x", true },
        { "**", "a/b/c", true },
        { "a**c/d", "ab/bc/d", true },
        { "/a/x", "a/x", true },
        { "/x", "a/x", false },
        { "?", "a", true },
        { "?", "\xc3\xa4", true }, /* a character, not a byte */
        { "??", "\xc3\xa4", false },
        { "?", "\xff", true },
        { "a?b/c", "a/b/c", false },
        { "[a-c]x", "bx", true },
        { "[a-c]x", "dx", false },
        { "[!a-c]x", "dx", true },
        { "[^a-c]x", "bx", false },
        { "[!a]/x", "//x", false },
        { "[]a]", "]", true },
        { "[a-]", "-", true },
        { "[\\]]", "]", true },
        { "[\xc3\xa4-\xc3\xb6]", "\xc3\xa5", true },
        { "[a", "[a", true }, /* no class: as it stands */
        { "[!]", "[!]", true },
        { "\\*", "*", true },
        { "\\*", "a", false },
        { "a\\", "a\\", true },
        { "", "", true },
        { "", "a", false },
        { "*", "", true },
        { "registry.example.com/**", "registry.example.com/team/model:v1", true },
        { "registry.example.com/**", "registry.example.com.evil.org/team/model:v1", false },
        { "*/team/*", "host:5000/team/model:v1", true },
};

static void test_globs_match_what_they_say(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct text_pattern *compiled = NULL;

                assert_int_equal(text_pattern_new(&compiled, cases[i].pattern), 0);
                for (int again = 0; again < 2; again++)
                        if (text_pattern_matches(compiled, cases[i].path) != cases[i].matches)
                                fail_msg("\"%s\" and \"%s\", compiled", cases[i].pattern, cases[i].path);
                text_pattern_free(compiled);
                if (text_glob(cases[i].pattern, cases[i].path) != cases[i].matches)
                        fail_msg("\"%s\" and \"%s\"", cases[i].pattern, cases[i].path);
        }
}

/* Each of these takes an exponential or cubic matcher longer than the test may last. */
static void test_hostile_patterns_end(void **state) {
        static const char *const parts[] = { "*a", "**/", "**a", "*/", "*?", "**/*" };
        char pattern[4097], path[4097];

        (void)state;
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
                size_t n = strlen(parts[k]);

                for (size_t i = 0; i + 1 < sizeof pattern; i++)
                        pattern[i] = parts[k][i % n];
                pattern[sizeof pattern - 2] = 'b';
                pattern[sizeof pattern - 1] = '\0';
                memset(path, 'a', sizeof path - 1);
                path[sizeof path - 1] = '\0';
                assert_false(text_glob(pattern, path));
                for (size_t i = 1; i < sizeof path - 1; i += 2)
                        path[i] = '/';
                assert_false(text_glob(pattern, path));
        }
}

static void test_a_pattern_over_the_limit_matches_nothing(void **state) {
        struct text_pattern *compiled = NULL;
        char pattern[5000];

        (void)state;
        memset(pattern, '*', sizeof pattern - 1);
        pattern[sizeof pattern - 1] = '\0';
        assert_false(text_glob(pattern, "a"));
        assert_int_equal(text_pattern_new(&compiled, pattern), 0);
        assert_false(text_pattern_matches(compiled, "a"));
        text_pattern_free(compiled);
        pattern[4096] = '\0';
        assert_true(text_glob(pattern, "a"));
}

static void test_brackets_that_nothing_closes_are_looked_for_once(void **state) {
        static const char *const parts[] = { "[", "[!", "[^]", "[\\]", "[[:" };
        char pattern[4097];

        (void)state;
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
                size_t n = strlen(parts[k]);

                for (size_t i = 0; i < sizeof pattern - 1; i++)
                        pattern[i] = parts[k][i % n];
                if (strchr(parts[k], ']'))
                        memset(pattern + sizeof pattern - 1 - n, '[', n);
                pattern[sizeof pattern - 1] = '\0';
                characters_read = 0;
                (void)text_glob(pattern, "a");
                assert_true(characters_read > 0 && characters_read < 4 * sizeof pattern);
        }
}

/* What a matcher that tries everything says, for patterns of '*', '?' and letters. */
static bool try_everything(const char *p, const char *s) {
        if (!*p)
                return !*s;
        if (*p == '*')
                return try_everything(p + 1, s) || (*s && *s != '/' && try_everything(p, s + 1));
        return *s && (*p == '?' ? *s != '/' : *p == *s) && try_everything(p + 1, s + 1);
}

static void test_agrees_with_a_matcher_that_tries_everything(void **state) {
        struct test_rng rng = test_rng_new("glob");

        (void)state;
        for (int i = 0; i < 20000; i++) {
                char pattern[9] = "/", path[9] = "";

                /* a leading slash keeps the whole path; "**" is another thing */
                for (size_t k = 1, n = test_rng_next(&rng) % 8; k <= n && k < 8; k++) {
                        pattern[k] = "ab/*?"[test_rng_next(&rng) % 5];
                        if (pattern[k] == '*' && pattern[k - 1] == '*')
                                pattern[k] = 'a';
                }
                for (size_t k = 0, n = test_rng_next(&rng) % 8; k < n; k++)
                        path[k] = "ab/"[test_rng_next(&rng) % 3];
                if (text_glob(pattern, path) != try_everything(pattern + 1, path))
                        fail_msg("\"%s\" and \"%s\"", pattern, path);
        }
}

/* Positions are kept in words of 64: what is true of a short pattern is true behind many characters too. */
static void test_agrees_wherever_in_a_long_pattern_it_is(void **state) {
        struct test_rng rng = test_rng_new("glob, long");

        (void)state;
        for (int i = 0; i < 20000; i++) {
                size_t k = test_rng_next(&rng) % (sizeof cases / sizeof *cases);
                size_t pad = 50 + test_rng_next(&rng) % 100, n = strcspn(cases[k].pattern, "/");
                char pattern[256], path[256];
                struct text_pattern *compiled = NULL;

                if (!cases[k].pattern[n]) /* the last component would take the padding away */
                        continue;
                memset(pattern, 'p', pad);
                memset(path, 'p', pad);
                pattern[pad - 1] = path[pad - 1] = '/';
                strcpy(pattern + pad, cases[k].pattern + (*cases[k].pattern == '/'));
                strcpy(path + pad, cases[k].path);
                assert_int_equal(text_pattern_new(&compiled, pattern), 0);
                if (text_pattern_matches(compiled, path) != cases[k].matches ||
                    text_glob(pattern, path) != cases[k].matches)
                        fail_msg("\"%s\" and \"%s\"", pattern, path);
                text_pattern_free(compiled);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_globs_match_what_they_say),
                cmocka_unit_test(test_hostile_patterns_end),
                cmocka_unit_test(test_brackets_that_nothing_closes_are_looked_for_once),
                cmocka_unit_test(test_a_pattern_over_the_limit_matches_nothing),
                cmocka_unit_test(test_agrees_with_a_matcher_that_tries_everything),
                cmocka_unit_test(test_agrees_wherever_in_a_long_pattern_it_is),
        };
        return cmocka_run_group_tests_name("base/glob", tests, NULL, NULL);
}
