/* SPDX-License-Identifier: Apache-2.0 */
/*
 * time_text: strict in form and range, lenient in what RFC 3339 leaves open (lower-case t and z, a blank for
 * the t). How long a month is is left to timegm(): a 31st of April is the 1st of May.
 */
#include "oci/time_text.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <time.h>

/* Reads exactly @n digits followed by @end ('\0': anything). */
static int take_number(int *ret, const char **s, unsigned n, char end) {
        int value = 0;

        for (unsigned i = 0; i < n; i++, (*s)++) {
                if (!isdigit((unsigned char)**s))
                        return -EINVAL;
                value = value * 10 + (**s - '0');
        }
        if (end && *(*s)++ != end)
                return -EINVAL;
        *ret = value;
        return 0;
}

static int take_date(struct tm *t, const char **s) {
        if (take_number(&t->tm_year, s, 4, '-') < 0 || take_number(&t->tm_mon, s, 2, '-') < 0 ||
            take_number(&t->tm_mday, s, 2, '\0') < 0)
                return -EINVAL;
        t->tm_year -= 1900;
        t->tm_mon -= 1;
        return t->tm_mon >= 0 && t->tm_mon < 12 && t->tm_mday >= 1 && t->tm_mday <= 31 ? 0 : -EINVAL;
}

static int take_clock(struct tm *t, const char **s) {
        if (take_number(&t->tm_hour, s, 2, ':') < 0 || take_number(&t->tm_min, s, 2, ':') < 0 ||
            take_number(&t->tm_sec, s, 2, '\0') < 0)
                return -EINVAL;
        if (**s == '.') {
                size_t n = strspn(*s + 1, "0123456789");
                if (n == 0)
                        return -EINVAL;
                *s += n + 1;
        }
        return t->tm_hour < 24 && t->tm_min < 60 && t->tm_sec <= 60 ? 0 : -EINVAL;
}

static int take_offset(int *ret_seconds, const char **s) {
        int hours, minutes, sign = **s == '-' ? -1 : 1;

        if (**s == 'Z' || **s == 'z') {
                (*s)++;
                *ret_seconds = 0;
                return 0;
        }
        if (**s != '+' && **s != '-')
                return -EINVAL;
        (*s)++;
        if (take_number(&hours, s, 2, ':') < 0 || take_number(&minutes, s, 2, '\0') < 0 || hours > 23 ||
            minutes > 59)
                return -EINVAL;
        *ret_seconds = sign * (hours * 3600 + minutes * 60);
        return 0;
}

int oci_time_parse(int64_t *ret, const char *text) {
        struct tm t = { 0 };
        int offset;

        if (take_date(&t, &text) < 0 || !*text || !strchr("Tt ", *text++))
                return -EINVAL;
        if (take_clock(&t, &text) < 0 || take_offset(&offset, &text) < 0 || *text)
                return -EINVAL;
        *ret = (int64_t)timegm(&t) - offset;
        return 0;
}
