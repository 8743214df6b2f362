/* SPDX-License-Identifier: Apache-2.0 */
/*
 * content_range: strict, because what it says decides where bytes are written.
 *
 *   bytes 0-1023/4096    206: these, of so many
 *   bytes 0-1023/STAR    206: these, of nobody knows how many
 *   bytes STAR/4096      416: there are so many
 *
 * The last byte is inclusive on the wire; here ranges are half open.
 */
#include "oci/content_range.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define BLANK " \t"

/* strtoull() would take blanks, signs and wrap-around. */
static int take_number(uint64_t *ret, const char **s) {
        uint64_t value = 0;
        const char *p = *s;

        for (; *p >= '0' && *p <= '9'; p++)
                if (__builtin_mul_overflow(value, 10u, &value) ||
                    __builtin_add_overflow(value, (unsigned)(*p - '0'), &value))
                        return -EINVAL;
        if (p == *s)
                return -EINVAL;
        *s = p;
        *ret = value;
        return 0;
}

/* "a-b" or a star. */
static int take_range(struct oci_content_range *c, const char **s) {
        if (**s == '*') {
                (*s)++;
                return 0;
        }
        if (take_number(&c->from, s) < 0 || *(*s)++ != '-' || take_number(&c->to, s) < 0)
                return -EINVAL;
        if (c->from > c->to || c->to == UINT64_MAX)
                return -EINVAL;
        c->to++; /* theirs is inclusive */
        c->has_range = true;
        return 0;
}

static int take_total(struct oci_content_range *c, const char **s) {
        if (**s == '*') {
                (*s)++;
                return c->has_range ? 0 : -EINVAL;
        }
        if (take_number(&c->total, s) < 0 || (c->has_range && c->to > c->total))
                return -EINVAL;
        c->has_total = true;
        return 0;
}

int oci_content_range_parse(struct oci_content_range *ret, const char *value) {
        struct oci_content_range c = { 0 };
        const char *s = value + strspn(value, BLANK);

        if (strncasecmp(s, "bytes", strlen("bytes")) != 0)
                return -EINVAL;
        s += strlen("bytes");
        size_t blanks = strspn(s, BLANK);
        s += blanks;
        if (blanks == 0 || take_range(&c, &s) < 0 || *s++ != '/' || take_total(&c, &s) < 0)
                return -EINVAL;
        if (s[strspn(s, BLANK)] != '\0')
                return -EINVAL;
        *ret = c;
        return 0;
}
