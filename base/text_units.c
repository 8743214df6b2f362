/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text_units: clocks, and numbers with units. Integers throughout: no size or time passes through a double.
 * What the format functions write, the parse functions read.
 */
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct unit {
        const char *name;
        uint64_t factor;
};

/*
 * Kubernetes' suffixes (Ki, Mi) as well as those of disks and networks (KiB, kB). Case counts, except that
 * "K" is accepted for "k": "m" would be milli to Kubernetes, and a lower-case "mib" nothing to anybody.
 */
static const struct unit size_units[] = {
        { "", 1 },
        { "B", 1 },
        { "k", 1000 },
        { "K", 1000 },
        { "kB", 1000 },
        { "KB", 1000 },
        { "Ki", 1ull << 10 },
        { "KiB", 1ull << 10 },
        { "M", 1000000 },
        { "MB", 1000000 },
        { "Mi", 1ull << 20 },
        { "MiB", 1ull << 20 },
        { "G", 1000000000 },
        { "GB", 1000000000 },
        { "Gi", 1ull << 30 },
        { "GiB", 1ull << 30 },
        { "T", 1000000000000 },
        { "TB", 1000000000000 },
        { "Ti", 1ull << 40 },
        { "TiB", 1ull << 40 },
        { "P", 1000000000000000 },
        { "PB", 1000000000000000 },
        { "Pi", 1ull << 50 },
        { "PiB", 1ull << 50 },
        { NULL, 0 },
};

/* In milliseconds. */
static const struct unit duration_units[] = {
        { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 }, { NULL, 0 },
};

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

/* "1", "1.5": a whole part and a fraction of up to nine digits, as @fraction / @scale. Moves *s. */
static int parse_decimal(const char **s, uint64_t *ret_whole, uint64_t *ret_fraction, uint64_t *ret_scale) {
        const char *p = *s;
        uint64_t whole = 0, fraction = 0, scale = 1;

        if (!is_digit(*p))
                return -EINVAL;
        for (; is_digit(*p); p++)
                if (__builtin_mul_overflow(whole, 10u, &whole) ||
                    __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
                        return -ERANGE;
        if (*p == '.') {
                if (!is_digit(*++p))
                        return -EINVAL;
                for (; is_digit(*p); p++) {
                        if (scale == 1000000000)
                                return -EINVAL;
                        fraction = fraction * 10 + (uint64_t)(*p - '0');
                        scale *= 10;
                }
        }
        *s = p;
        *ret_whole = whole;
        *ret_fraction = fraction;
        *ret_scale = scale;
        return 0;
}

/* One number with its unit; the unit ends where the letters end. Moves *s. */
static int parse_quantity(const char **s, const struct unit *units, uint64_t *ret) {
        uint64_t whole, fraction, scale, value;
        const char *p = *s;
        size_t n = 0;
        int r;

        r = parse_decimal(&p, &whole, &fraction, &scale);
        if (r < 0)
                return r;
        if (*p == ' ')
                p++;
        while ((p[n] >= 'a' && p[n] <= 'z') || (p[n] >= 'A' && p[n] <= 'Z'))
                n++;
        while (units->name && (strlen(units->name) != n || memcmp(units->name, p, n) != 0))
                units++;
        if (!units->name || (fraction > 0 && units->factor == 1))
                return -EINVAL;
        if (__builtin_mul_overflow(whole, units->factor, &value))
                return -ERANGE;
        /* factor < 2^51 and fraction < 2^30: the product needs more than 64 bits */
        fraction = (uint64_t)((unsigned __int128)fraction * units->factor / scale);
        if (__builtin_add_overflow(value, fraction, &value))
                return -ERANGE;
        *s = p + n;
        *ret = value;
        return 0;
}

/* The first number takes the whole text: "1GiB 512MiB" is a mistake more often than a sum. */
int text_parse_size(uint64_t *ret, const char *text) {
        uint64_t value;
        int r;

        r = parse_quantity(&text, size_units, &value);
        if (r < 0)
                return r;
        if (*text)
                return -EINVAL;
        *ret = value;
        return 0;
}

/* A plain "0" is the only number without a unit: it means "never" or "off", and seconds must not be guessed.
 */
int text_parse_duration(int64_t *ret_ms, const char *text) {
        uint64_t sum = 0;

        if (strcmp(text, "0") == 0) {
                *ret_ms = 0;
                return 0;
        }
        do {
                uint64_t value;
                int r = parse_quantity(&text, duration_units, &value);

                if (r < 0)
                        return r;
                if (__builtin_add_overflow(sum, value, &sum) || sum > INT64_MAX)
                        return -ERANGE;
        } while (*text);
        *ret_ms = (int64_t)sum;
        return 0;
}

/*
 * One decimal below 100, none above: never more than four digits. What would round to 1024 becomes 1.0 of the
 * next unit. Tenths of a unit, because UINT64_MAX * 10 needs 68 bits, are counted in 128.
 */
static void format_scaled(uint64_t bytes, const char *suffix, char buf[static TEXT_SHORT]) {
        static const char *const names[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
        unsigned i = 0;
        unsigned __int128 tenths = (unsigned __int128)bytes * 10;

        if (bytes < 1024) {
                snprintf(buf, TEXT_SHORT, "%" PRIu64 " B%s", bytes, suffix);
                return;
        }
        for (tenths = (tenths + 512) / 1024; tenths >= 10235; tenths = (tenths + 512) / 1024)
                i++;
        if (tenths < 1000)
                snprintf(buf, TEXT_SHORT, "%u.%u %s%s", (unsigned)tenths / 10, (unsigned)tenths % 10,
                         names[i], suffix);
        else
                snprintf(buf, TEXT_SHORT, "%u %s%s", (unsigned)(tenths + 5) / 10, names[i], suffix);
}

const char *text_format_size(uint64_t bytes, char buf[static TEXT_SHORT]) {
        format_scaled(bytes, "", buf);
        return buf;
}

const char *text_format_rate(uint64_t bytes_per_second, char buf[static TEXT_SHORT]) {
        format_scaled(bytes_per_second, "/s", buf);
        return buf;
}

const char *text_format_duration(int64_t ms, char buf[static TEXT_SHORT]) {
        uint64_t n = ms > 0 ? (uint64_t)ms : 0, s = n / 1000, m = s / 60, h = m / 60;

        if (s == 0)
                snprintf(buf, TEXT_SHORT, "%" PRIu64 "ms", n);
        else if (m == 0)
                snprintf(buf, TEXT_SHORT, "%" PRIu64 ".%" PRIu64 "s", s, n % 1000 / 100);
        else if (h == 0)
                snprintf(buf, TEXT_SHORT, "%" PRIu64 "m%02" PRIu64 "s", m, s % 60);
        else if (h < 48)
                snprintf(buf, TEXT_SHORT, "%" PRIu64 "h%02" PRIu64 "m", h, m % 60);
        else
                snprintf(buf, TEXT_SHORT, "%" PRIu64 "d%02" PRIu64 "h", h / 24, h % 24);
        return buf;
}

const char *text_format_time(int64_t unix_ms, char buf[static TEXT_SHORT]) {
        int64_t ms = unix_ms % 1000, s = unix_ms / 1000;
        struct tm tm;
        time_t t;
        size_t n;

        if (ms < 0) { /* before 1970 */
                ms += 1000;
                s--;
        }
        t = (time_t)s;
        if (!gmtime_r(&t, &tm) || tm.tm_year < -1900 || tm.tm_year > 9999 - 1900) {
                snprintf(buf, TEXT_SHORT, "-"); /* RFC 3339 has the years 0000 to 9999 */
                return buf;
        }
        n = strftime(buf, TEXT_SHORT, "%Y-%m-%dT%H:%M:%S", &tm);
        snprintf(buf + n, TEXT_SHORT - n, ".%03dZ", (int)ms);
        return buf;
}

uint64_t time_monotonic_ns(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t time_monotonic_ms(void) {
        return (int64_t)(time_monotonic_ns() / 1000000u);
}

int64_t time_now_ms(void) {
        struct timespec t;

        clock_gettime(CLOCK_REALTIME, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t time_jitter(int64_t ms) {
        uint64_t random = 0;

        if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
                random = time_monotonic_ns();
        return ms - (int64_t)(random % ((uint64_t)ms / 2 + 1));
}
