/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_style: two questions about a string.
 *
 *   would it read as something else when it stands there plain: a number, a time, true, null …
 *       -> double quotes; with a line feed in it: a literal block
 *   do its characters allow that style: spaces at the ends, indicators, tabs, what cannot be printed …
 *       -> plain becomes single quotes, these and a literal block become double quotes
 *
 * Where go-yaml could not read back what it writes (a literal block that begins with a line feed loses it,
 * with a tab it is an error, and a plain "<<" is a merge), we quote; that is the only difference.
 */
#include "oci/yaml_style.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS "0123456789"
#define SIMPLE_KEY_MAX 128 /* bytes */
#define NUMBER_MAX 512     /* with underscores; longer ones are not looked at for an overflow */

/* ---- characters ---- */

uint32_t yaml_style_next(const char **s) {
        const unsigned char *p = (const unsigned char *)*s;
        unsigned more = *p < 0xc0 ? 0 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : 3;
        uint32_t c = more ? *p & (0x3fu >> more) : *p;

        for (p++; more > 0 && *p; more--)
                c = c << 6 | (*p++ & 0x3f);
        *s = (const char *)p;
        return c;
}

bool yaml_style_is_break(uint32_t c) {
        return c == '\n' || c == '\r' || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool yaml_style_is_printable(uint32_t c) {
        return c == '\n' || (c >= 0x20 && c <= 0x7e) || (c >= 0xa0 && c <= 0xd7ff) ||
               (c >= 0xe000 && c <= 0xfffd && c != 0xfeff);
}

static bool is_blank(char c) {
        return c == ' ' || c == '\t';
}

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

static bool is_sign(char c) {
        return c == '+' || c == '-';
}

/* ---- strings that read as something else ---- */

static bool is_word(const char *s) {
        static const char *const words[] = {
                "",      "~",     "null",  "Null", "NULL", "true", "True", "TRUE",  "false", "False",
                "FALSE", ".nan",  ".NaN",  ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF",
                "-.inf", "-.Inf", "-.INF", "<<",   "y",    "Y",    "yes",  "Yes",   "YES",   "on",
                "On",    "ON",    "n",     "N",    "no",   "No",   "NO",   "off",   "Off",   "OFF",
        };

        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
                if (strcmp(s, words[i]) == 0)
                        return true;
        return false;
}

/* "12:30:45.6", a number to the base 60 in YAML 1.1. */
static bool is_base60(const char *s) {
        s += is_sign(*s);
        if (!is_digit(*s))
                return false;
        s += strspn(s, DIGITS "_");
        if (*s != ':')
                return false;
        while (*s == ':') {
                size_t n = strspn(++s, DIGITS);

                if (n < 1 || n > 2 || (n == 2 && *s > '5'))
                        return false;
                s += n;
        }
        if (*s == '.')
                s += 1 + strspn(s + 1, DIGITS "_");
        return !*s;
}

/* Numbers may have underscores anywhere: they are passed over. */
static char peek(const char **s) {
        *s += strspn(*s, "_");
        return **s;
}

static char take(const char **s) {
        char c = peek(s);

        *s += c != '\0';
        return c;
}

static size_t pass_digits(const char **s) {
        size_t n = 0;

        for (; is_digit(peek(s)); n++)
                take(s);
        return n;
}

static unsigned digit_value(char c) {
        if (is_digit(c))
                return (unsigned)(c - '0');
        c |= 0x20;
        return c >= 'a' && c <= 'z' ? 10 + (unsigned)(c - 'a') : 36;
}

/* The base that a prefix says, which is passed. "0" alone and "017" are octal. */
static unsigned pass_prefix(const char **s) {
        const char *p = *s;

        if (peek(&p) != '0')
                return 10;
        take(&p);
        *s = p;
        char letter = take(&p) | 0x20;
        unsigned base = letter == 'b' ? 2 : letter == 'o' ? 8 : letter == 'x' ? 16 : 0;
        if (!base || !peek(&p))
                return 8;
        *s = p;
        return base;
}

/* An integer that fits into 64 bits; with a sign, into 63. */
static bool is_integer(const char *s) {
        bool zero = *s == '0', sign = is_sign(peek(&s)), negative = peek(&s) == '-';
        uint64_t value = 0;

        if (sign)
                take(&s);
        if (!peek(&s))
                return false;
        unsigned base = pass_prefix(&s);
        if (zero && (base == 2 || base == 8) && is_sign(peek(&s)) && (s[-1] == 'b' || s[-1] == 'o')) {
                sign = true; /* go-yaml takes "0b-1", too */
                negative = take(&s) == '-';
                if (!peek(&s))
                        return false;
        }
        while (peek(&s)) {
                unsigned digit = digit_value(take(&s));

                if (digit >= base || value > (UINT64_MAX - digit) / base)
                        return false;
                value = value * base + digit;
        }
        return !sign || value < (uint64_t)1 << 63 || (negative && value == (uint64_t)1 << 63);
}

static bool overflows(const char *s) {
        char text[NUMBER_MAX];
        size_t n = 0;

        if (strlen(s) >= sizeof text)
                return false;
        for (; *s; s++)
                if (*s != '_')
                        text[n++] = *s;
        text[n] = '\0';
        return isinf(strtod(text, NULL));
}

/* What looks like a number but is none of a double's is a string ("7e84096", the start of a hash). */
static bool is_float(const char *s) {
        const char *p = s;

        if (is_sign(peek(&p)))
                take(&p);
        size_t n = pass_digits(&p);
        if (peek(&p) == '.') {
                take(&p);
                n += pass_digits(&p);
        }
        if (n == 0)
                return false;
        if ((peek(&p) | 0x20) == 'e') {
                take(&p);
                if (is_sign(peek(&p)))
                        take(&p);
                if (pass_digits(&p) == 0)
                        return false;
        }
        return !peek(&p) && !overflows(s);
}

/* Go's own rule, which holds for numbers that begin with a point. */
static bool has_stray_underscore(const char *s) {
        for (const char *p = s; (p = strchr(p, '_')); p++)
                if (p == s || !is_digit(p[-1]) || !is_digit(p[1]))
                        return true;
        return false;
}

/* One or two digits, which are passed; -1: none. */
static int pass_two(const char **s) {
        int value = 0, n = 0;

        for (; n < 2 && is_digit(**s); n++)
                value = 10 * value + (*(*s)++ - '0');
        return n ? value : -1;
}

static bool pass_date(const char **s) {
        static const int days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
        const char *p = *s;

        if (strspn(p, DIGITS) != 4 || p[4] != '-')
                return false;
        int year = (int)strtol(p, NULL, 10);
        p += 5;
        int month = pass_two(&p);
        if (month < 1 || month > 12 || *p++ != '-')
                return false;
        int day = pass_two(&p);
        bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        if (day < 1 || day > days[month - 1] || (month == 2 && day == 29 && !leap))
                return false;
        *s = p;
        return true;
}

static bool pass_clock(const char **s) {
        const char *p = *s;

        int hour = pass_two(&p);
        if (hour < 0 || hour > 23 || *p++ != ':')
                return false;
        int minute = pass_two(&p);
        if (minute < 0 || minute > 59 || *p++ != ':')
                return false;
        int second = pass_two(&p);
        if (second < 0 || second > 59)
                return false;
        if ((*p == '.' || *p == ',') && is_digit(p[1]))
                p += 1 + strspn(p + 1, DIGITS);
        *s = p;
        return true;
}

static bool is_zone(const char *s) {
        if (strcmp(s, "Z") == 0)
                return true;
        return is_sign(*s) && strspn(s + 1, DIGITS) == 2 && s[3] == ':' && strspn(s + 4, DIGITS) == 2 &&
               !s[6] && strtol(s + 1, NULL, 10) <= 24 && strtol(s + 4, NULL, 10) <= 60;
}

static bool is_time(const char *s) {
        if (!pass_date(&s))
                return false;
        if (*s == 'T' || *s == 't') {
                s++;
                return pass_clock(&s) && is_zone(s);
        }
        if (*s == ' ') {
                s += strspn(s, " ");
                return pass_clock(&s) && !*s;
        }
        return !*s;
}

static bool reads_as_something_else(const char *s) {
        if (is_word(s))
                return true;
        if (*s == '.')
                return is_float(s) && !has_stray_underscore(s);
        if (!is_digit(*s) && !is_sign(*s))
                return false;
        return is_time(s) || is_integer(s) || is_float(s) || is_base60(s);
}

/* ---- characters that a style does not allow ---- */

struct traits {
        bool block_indicator, flow_indicator; /* means something to a parser, outside or inside of [...] */
        bool has_break, has_tab, has_special; /* special: cannot be printed */
        bool leading_space, leading_break, trailing_space, trailing_break;
        bool break_space, space_break; /* one after the other */
};

static void find_indicators(struct traits *t, const char *s) {
        bool both = *s && strchr("#,[]{}&*!|>'\"%@`", *s);

        both |= strncmp(s, "---", 3) == 0 || strncmp(s, "...", 3) == 0;
        both |= *s == '-' && (!s[1] || is_blank(s[1]));
        t->block_indicator = *s == '?' && (!s[1] || is_blank(s[1]));
        for (const char *p = s; *p; p++) {
                if (strchr(",?[]{}:", *p))
                        t->flow_indicator = true;
                if (*p == ':' && (!p[1] || is_blank(p[1])))
                        t->block_indicator = true;
                if (*p == '#' && p > s && is_blank(p[-1]))
                        both = true;
        }
        t->flow_indicator |= both;
        t->block_indicator |= both;
}

static void find_spaces(struct traits *t, const char *s) {
        bool was_space = false, was_break = false;

        t->leading_space = *s == ' ';
        for (const char *p = s; *p;) {
                const char *at = p;
                uint32_t c = yaml_style_next(&p);
                bool space = c == ' ', line = yaml_style_is_break(c);

                t->has_tab |= c == '\t';
                t->has_special |= c != '\t' && !yaml_style_is_printable(c);
                t->has_break |= line;
                t->leading_break |= line && at == s;
                t->break_space |= space && was_break;
                t->space_break |= line && was_space;
                was_space = space;
                was_break = line;
        }
        t->trailing_space = was_space;
        t->trailing_break = was_break;
}

enum yaml_style yaml_style_of(const char *s, bool flow) {
        struct traits t = { 0 };
        enum yaml_style style = strchr(s, '\n')              ? YAML_LITERAL
                                : reads_as_something_else(s) ? YAML_DOUBLE_QUOTED
                                                             : YAML_PLAIN;

        find_indicators(&t, s);
        find_spaces(&t, s);
        bool no_quotes = t.break_space || t.space_break || t.has_tab || t.has_special;
        if (style == YAML_PLAIN && (t.leading_space || t.trailing_space || t.has_break || no_quotes ||
                                    (flow ? t.flow_indicator : t.block_indicator)))
                style = YAML_SINGLE_QUOTED;
        if (style == YAML_SINGLE_QUOTED && no_quotes)
                style = YAML_DOUBLE_QUOTED;
        if (style == YAML_LITERAL &&
            (flow || t.leading_break || *s == '\t' || t.trailing_space || t.space_break || t.has_special))
                style = YAML_DOUBLE_QUOTED;
        return style;
}

bool yaml_style_is_simple_key(const char *s) {
        if (strlen(s) > SIMPLE_KEY_MAX)
                return false;
        while (*s)
                if (yaml_style_is_break(yaml_style_next(&s)))
                        return false;
        return true;
}
