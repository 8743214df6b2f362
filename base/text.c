/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text: small string helpers and UTF-8. Sizes and times are in text_units.c, globs in text_glob.c.
 *
 * UTF-8 is checked byte by byte against the table of the Unicode standard, without a locale: what is valid
 * here is valid for JSON, protobuf and a terminal alike.
 */
#include "base/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

bool text_starts_with(const char *s, const char *prefix) {
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool text_ends_with(const char *s, const char *suffix) {
        size_t n = strlen(s), m = strlen(suffix);

        return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

/* Length that the first byte promises, and the range of the second: this shuts out overlong forms, surrogates
 * and what lies above U+10FFFF (Unicode 15, table 3-7). */
static size_t utf8_lead(unsigned char lead, unsigned char *lo, unsigned char *hi) {
        *lo = 0x80;
        *hi = 0xbf;
        if (lead < 0x80)
                return 1;
        if (lead < 0xc2 || lead > 0xf4)
                return 0;
        if (lead == 0xe0)
                *lo = 0xa0;
        if (lead == 0xed)
                *hi = 0x9f;
        if (lead == 0xf0)
                *lo = 0x90;
        if (lead == 0xf4)
                *hi = 0x8f;
        return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

size_t text_utf8_size(const char *s, size_t len) {
        const unsigned char *p = (const unsigned char *)s;
        unsigned char lo, hi;
        size_t n;

        if (len == 0)
                return 0;
        n = utf8_lead(p[0], &lo, &hi);
        if (n == 0 || n > len)
                return 0;
        if (n > 1 && (p[1] < lo || p[1] > hi))
                return 0;
        for (size_t i = 2; i < n; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        return n;
}

bool text_is_utf8(const char *s, size_t len) {
        for (size_t i = 0; i < len;) {
                size_t n = text_utf8_size(s + i, len - i);

                if (n == 0)
                        return false;
                i += n;
        }
        return true;
}

static bool is_dns_letter(char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Each part between dots begins and ends with a letter or digit. NUL is neither. */
bool text_is_dns_subdomain(const char *s, size_t len) {
        if (len == 0 || len > 253)
                return false;
        for (size_t i = 0; i < len; i++) {
                bool first = i == 0 || s[i - 1] == '.', last = i + 1 == len || s[i + 1] == '.';

                if (!is_dns_letter(s[i]) && (first || last || (s[i] != '-' && s[i] != '.')))
                        return false;
        }
        return true;
}

/* The next part of a list without the spaces around it; moves *s behind the separator, NULL at the end. */
static char *split_part(const char **s, char separator) {
        const char *start = *s, *end = strchrnul(start, separator);

        *s = *end ? end + 1 : NULL;
        while (start < end && isspace((unsigned char)*start))
                start++;
        while (end > start && isspace((unsigned char)end[-1]))
                end--;
        return strndup(start, (size_t)(end - start));
}

/* Counts first, so that the list is one allocation of the right size; parts that turn out empty leave a gap
 * unused. */
char **text_split(const char *s, char separator) {
        size_t n = 1, k = 0;
        char **list;

        for (const char *p = s; *p; p++)
                n += *p == separator;
        list = calloc(n + 1, sizeof *list);
        if (!list)
                return NULL;
        while (s) {
                char *part = split_part(&s, separator);
                if (!part) {
                        text_list_free(list);
                        return NULL;
                }
                if (*part)
                        list[k++] = part;
                else
                        free(part);
        }
        return list;
}

void text_list_free(char **list) {
        if (!list)
                return;
        for (char **p = list; *p; p++)
                free(*p);
        free(list);
}
