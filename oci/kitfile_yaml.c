/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kitfile_yaml: the config's JSON as go-yaml v3 writes it with an indentation of 2, which is what kit does.
 *
 * Kit reads the JSON into structs and prints these: what is left of that is that members stay in the order of
 * the JSON, which kit made from the same structs; that digests of layers and an empty package are not
 * printed; that the authors are a list in brackets. Below "parameters" anything may be, so kit has maps
 * there, printed in go-yaml's order of keys, and numbers are doubles.
 *
 * A line is begun by what comes next on it, and the end of the text ends the last one: so a literal block,
 * which may end with line feeds of its own, needs no exception. The first failure stays in yaml.result, and
 * from then on nothing is written.
 */
#include "oci/kitfile_yaml.h"

#include <float.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "oci/yaml_style.h"

#define STEP 2         /* columns a level */
#define NUMBER_SIZE 40 /* of a double as text */

struct yaml {
        struct buf out;
        bool line_start; /* nothing is on the line yet */
        int result;      /* 0, -EFBIG, -ENOMEM, -ELOOP: too deep */
};

static void put(struct yaml *y, const char *text, size_t len) {
        y->line_start = false;
        if (y->result >= 0)
                y->result = buf_append(&y->out, text, len);
}

static void put_text(struct yaml *y, const char *text) {
        put(y, text, strlen(text));
}

/* To column @indent of a line that is empty so far. */
static void begin_line(struct yaml *y, unsigned indent) {
        char spaces[(KITFILE_DEPTH_MAX + 2) * STEP];

        if (!y->line_start)
                put_text(y, "\n");
        memset(spaces, ' ', sizeof spaces);
        put(y, spaces, indent < sizeof spaces ? indent : sizeof spaces);
}

/* ---- strings ---- */

static void put_single_quoted(struct yaml *y, const char *s, unsigned indent) {
        put_text(y, "'");
        while (*s) {
                const char *at = s;
                uint32_t c = yaml_style_next(&s);
                bool is_break = yaml_style_is_break(c);

                if (y->line_start && !is_break)
                        begin_line(y, indent);
                if (c == '\'')
                        put_text(y, "'");
                put(y, at, (size_t)(s - at));
                y->line_start = is_break;
        }
        put_text(y, "'");
}

static void put_escape(struct yaml *y, uint32_t c) {
        static const struct {
                uint32_t c;
                char letter;
        } letters[] = {
                { '\a', 'a' }, { '\b', 'b' }, { '\t', 't' },   { '\n', 'n' },   { '\v', 'v' },
                { '\f', 'f' }, { '\r', 'r' }, { 0x1b, 'e' },   { '"', '"' },    { '\\', '\\' },
                { 0x85, 'N' }, { 0xa0, '_' }, { 0x2028, 'L' }, { 0x2029, 'P' },
        };
        char text[16];

        for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
                if (letters[i].c == c) {
                        put(y, (char[]){ '\\', letters[i].letter }, 2);
                        return;
                }
        snprintf(text, sizeof text, c <= 0xff ? "\\x%02X" : c <= 0xffff ? "\\u%04X" : "\\U%08X", c);
        put_text(y, text);
}

static void put_double_quoted(struct yaml *y, const char *s) {
        /* Go-yaml looks for the mark at the string's beginning each time that it looks for it at all. */
        bool all = strncmp(s, "\xef\xbb\xbf", 3) == 0;

        put_text(y, "\"");
        while (*s) {
                const char *at = s;
                uint32_t c = yaml_style_next(&s);

                if (all || !yaml_style_is_printable(c) || yaml_style_is_break(c) || c == '"' || c == '\\')
                        put_escape(y, c);
                else
                        put(y, at, (size_t)(s - at));
        }
        put_text(y, "\"");
}

/* What a parser has to know: spaces that are the text's own, and which line ends at the end are. */
static void put_block_header(struct yaml *y, const char *s) {
        uint32_t last = 0, before = 0;

        put_text(y, *s == ' ' ? "|2" : "|");
        while (*s) {
                before = last;
                last = yaml_style_next(&s);
        }
        if (!yaml_style_is_break(last))
                put_text(y, "-");
        else if (yaml_style_is_break(before))
                put_text(y, "+");
}

static void put_literal(struct yaml *y, const char *s, unsigned indent) {
        bool begin = true;

        put_block_header(y, s);
        while (*s) {
                const char *at = s;
                bool is_break = yaml_style_is_break(yaml_style_next(&s));

                if (begin && !is_break)
                        begin_line(y, indent);
                put(y, at, (size_t)(s - at));
                begin = y->line_start = is_break;
        }
}

/* @indent: of lines of the string's own, should it have any. */
static void put_string(struct yaml *y, const char *s, unsigned indent, bool flow) {
        switch (yaml_style_of(s, flow)) {
        case YAML_PLAIN:
                put_text(y, s);
                break;
        case YAML_SINGLE_QUOTED:
                put_single_quoted(y, s, indent);
                break;
        case YAML_DOUBLE_QUOTED:
                put_double_quoted(y, s);
                break;
        case YAML_LITERAL:
                put_literal(y, s, indent);
                break;
        }
}

/* ---- other scalars ---- */

/* With @precision digits behind the point. Of powers of two the number's own digits can be outside of what
 * reads as that double, which reaches further up than down: so the next ones up count, too. */
static bool format_double(char text[static NUMBER_SIZE], int precision, double value) {
        snprintf(text, NUMBER_SIZE, "%.*e", precision, value);
        if (strtod(text, NULL) == value)
                return true;
        char *last = strchr(text, 'e') - 1;
        *last = (char)(*last + (*last < '9'));
        return strtod(text, NULL) == value;
}

/* As Go formats a double: the fewest digits that mean it, with an exponent from a million on. */
static void put_number(struct yaml *y, double value) {
        char text[NUMBER_SIZE];
        int precision = 0;

        while (precision < DBL_DECIMAL_DIG && !format_double(text, precision, value))
                precision++;
        int exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
        if (exponent >= -4 && exponent < 6)
                snprintf(text, sizeof text, "%.*f", precision > exponent ? precision - exponent : 0, value);
        put_text(y, text);
}

static void put_scalar(struct yaml *y, const json_t *value, unsigned indent) {
        if (json_is_string(value))
                put_string(y, json_string_value(value), indent, false);
        else if (json_is_number(value))
                put_number(y, json_number_value(value));
        else
                put_text(y, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
}

/* ---- the order of keys ---- */

static bool is_letter(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
}

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

/* The number that begins at s[*i], which is passed. It may wrap: so it does in Go. */
static int64_t pass_number(const char *s, size_t *i, int64_t value) {
        for (; is_digit(s[*i]); ++*i)
                value = (int64_t)((uint64_t)value * 10 + (uint64_t)(s[*i] - '0'));
        return value;
}

/* "layer2" before "layer10", "a_b" before "ab", "1b" before "1_": go-yaml's order, where they differ at i. */
static bool is_less_at(const char *a, const char *b, size_t i) {
        bool after_digit = i > 0 && is_digit(a[i - 1]);
        bool letter_a = is_letter(a[i]), letter_b = is_letter(b[i]);
        size_t end_a = i, end_b = i, k = i;
        int64_t lead = 0;

        if (letter_a && letter_b)
                return (unsigned char)a[i] < (unsigned char)b[i];
        if (letter_a || letter_b)
                return after_digit ? letter_a : letter_b;
        /* A zero behind other digits is part of their number, not the beginning of one. */
        if (a[i] == '0' || b[i] == '0')
                while (k > 0 && is_digit(a[k - 1]) && lead == 0)
                        lead = a[--k] != '0';
        int64_t number_a = pass_number(a, &end_a, lead), number_b = pass_number(b, &end_b, lead);
        if (number_a != number_b)
                return number_a < number_b;
        return end_a != end_b ? end_a < end_b : (unsigned char)a[i] < (unsigned char)b[i];
}

static bool is_less(const char *a, const char *b) {
        size_t i = 0;

        while (a[i] && a[i] == b[i])
                i++;
        return a[i] && b[i] ? is_less_at(a, b, i) : !a[i] && b[i];
}

/* Not qsort(), which may go wild here: the above is no order for all strings, and these are a stranger's. */
static void sort_keys(const char **keys, const char **room, size_t n) {
        size_t half = n / 2, left = 0, right = half;

        if (n < 2)
                return;
        sort_keys(keys, room, half);
        sort_keys(keys + half, room, n - half);
        for (size_t i = 0; i < n; i++)
                if (left == half || (right < n && is_less(keys[right], keys[left])))
                        room[i] = keys[right++];
                else
                        room[i] = keys[left++];
        memcpy(keys, room, n * sizeof *keys);
}

/* ---- maps and lists ---- */

/* A place in the text. @compact: the first line has been begun (by "- "), with a column to spare. */
struct place {
        unsigned indent;
        bool compact;
        bool is_free; /* below "parameters" */
};

static bool is_left_out(const char *key, const json_t *value) {
        if (strcmp(key, "package") == 0)
                return json_is_object(value) && json_object_size(value) == 0;
        return strcmp(key, "digest") == 0 || strcmp(key, "diffId") == 0;
}

/* The keys that are printed, in their order, and room for as many. NULL: no memory. */
static const char **keys_of(const json_t *object, bool is_free, size_t *ret_n) {
        const char **keys = calloc(2 * json_object_size(object) + 1, sizeof *keys), *key;
        json_t *value;
        size_t n = 0;

        if (!keys)
                return NULL;
        json_object_foreach ((json_t *)object, key, value)
                if (is_free || !is_left_out(key, value))
                        keys[n++] = key;
        if (is_free)
                sort_keys(keys, keys + n, n);
        *ret_n = n;
        return keys;
}

static void begin(struct yaml *y, struct place *p) {
        if (p->compact)
                put_text(y, " ");
        else
                begin_line(y, p->indent);
        p->compact = false;
}

static void put_node(struct yaml *y, const json_t *value, struct place p);

static void put_list(struct yaml *y, const json_t *list, struct place p) {
        const struct place child = { .indent = p.indent + STEP, .compact = true, .is_free = p.is_free };

        for (size_t i = 0; i < json_array_size(list) && y->result >= 0; i++) {
                begin(y, &p);
                put_text(y, "-");
                put_node(y, json_array_get(list, i), child);
        }
}

static bool is_bracket_list(const char *key, const json_t *value) {
        const json_t *item;
        size_t i;

        if (strcmp(key, "authors") != 0 || !json_is_array(value))
                return false;
        json_array_foreach (value, i, item)
                if (!json_is_string(item))
                        return false;
        return true;
}

static void put_bracket_list(struct yaml *y, const json_t *list, unsigned indent) {
        put_text(y, " [");
        for (size_t i = 0; i < json_array_size(list); i++) {
                put_text(y, i ? ", " : "");
                put_string(y, json_string_value(json_array_get(list, i)), indent, true);
        }
        put_text(y, "]");
}

static void put_member(struct yaml *y, const char *key, const json_t *value, struct place p) {
        bool simple = yaml_style_is_simple_key(key);
        const struct place child = { .indent = p.indent + STEP,
                                     .compact = !simple,
                                     .is_free = p.is_free || strcmp(key, "parameters") == 0 };

        if (!simple)
                put_text(y, "? ");
        put_string(y, key, p.indent + STEP, false);
        if (!simple)
                begin_line(y, p.indent);
        put_text(y, ":");
        if (!p.is_free && is_bracket_list(key, value))
                put_bracket_list(y, value, p.indent + 2 * STEP);
        else
                put_node(y, value, child);
}

/* Members of @object. Nothing may be left of them. */
static void put_map(struct yaml *y, const json_t *object, struct place p) {
        size_t n = 0;
        const char **keys = keys_of(object, p.is_free, &n);

        if (!keys)
                y->result = -ENOMEM;
        else if (n == 0)
                put_text(y, y->line_start ? "{}" : " {}");
        for (size_t i = 0; i < n && y->result >= 0; i++) {
                begin(y, &p);
                put_member(y, keys[i], json_object_get(object, keys[i]), p);
        }
        free(keys);
}

static void put_node(struct yaml *y, const json_t *value, struct place p) {
        if (p.indent > KITFILE_DEPTH_MAX * STEP) {
                y->result = -ELOOP;
        } else if (json_is_object(value)) {
                put_map(y, value, p);
        } else if (json_array_size(value) > 0) {
                put_list(y, value, p);
        } else {
                put_text(y, json_is_array(value) ? " []" : " ");
                if (!json_is_array(value))
                        put_scalar(y, value, p.indent);
        }
}

int oci_kitfile_yaml(char **ret, size_t *ret_len, const json_t *document, struct error *e) {
        struct yaml y = { .out = BUF_INIT(KITFILE_YAML_MAX), .line_start = true };

        put_map(&y, document, (struct place){ 0 });
        if (!y.line_start)
                put_text(&y, "\n");
        size_t len = y.out.len;
        char *text = y.result < 0 ? NULL : buf_take(&y.out);
        buf_free(&y.out);
        if (y.result == -EFBIG)
                return error_set(e, ERROR_INVALID, "as YAML it is longer than %u bytes", KITFILE_YAML_MAX);
        if (y.result == -ELOOP)
                return error_set(e, ERROR_INVALID, "its maps and lists are nested deeper than %d",
                                 KITFILE_DEPTH_MAX);
        if (!text)
                return error_errno(e, ENOMEM, "cannot write a Kitfile");
        *ret = text;
        *ret_len = len;
        return 0;
}
