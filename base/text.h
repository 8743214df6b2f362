/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text: sizes, durations and times as people write and read them (text_units.c); globs (text_glob.c); small
 * string helpers and UTF-8 (text.c).
 *
 * No state; any thread. Parse functions write *ret only when they succeed. Format functions write into the
 * caller's buffer and return it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "256MiB", "1GB", "4096", "1.5GiB": bytes. -EINVAL, -ERANGE. */
int text_parse_size(uint64_t *ret, const char *text);
/* "24h", "1h30m", "10s", "250ms", "0": milliseconds. -EINVAL, -ERANGE. */
int text_parse_duration(int64_t *ret_ms, const char *text);

#define TEXT_SHORT 32
const char *text_format_size(uint64_t bytes, char buf[static TEXT_SHORT]);            /* "1.5 GiB" */
const char *text_format_rate(uint64_t bytes_per_second, char buf[static TEXT_SHORT]); /* "812 MiB/s" */
const char *text_format_duration(int64_t ms, char buf[static TEXT_SHORT]);            /* "3.2s", "4m10s" */
const char *text_format_time(int64_t unix_ms, char buf[static TEXT_SHORT]);           /* RFC 3339, UTC, ms */

int64_t time_now_ms(void); /* wall clock, since 1970 */
/* From half of @ms to all of it, by chance: who see the same failure do not come back at the same time. */
int64_t time_jitter(int64_t ms);
int64_t time_monotonic_ms(void); /* for deadlines and elapsed time; never goes back */
uint64_t time_monotonic_ns(void);

/* Glob over a '/'-separated path: '*' and '?' stop at '/', "**" does not, [a-z] and [!a-z], backslash quotes.
 * A pattern without '/' matches the last component, as in .gitignore. Linear in time for any input. */
bool text_glob(const char *pattern, const char *path);
/* Whether it looks at the whole of a path with slashes, not only at its last component: where a glob is to be
 * a bound, "llama*" would otherwise allow a llama of everybody. "*" and "**" alone are everything. */
bool text_glob_is_whole(const char *pattern);

/* The same, compiled once for many paths. Immutable: for every thread. -ENOMEM. */
struct text_pattern;
int text_pattern_new(struct text_pattern **ret, const char *pattern);
void text_pattern_free(struct text_pattern *p);
bool text_pattern_matches(const struct text_pattern *p, const char *path);

/* "" is at the start and at the end of everything. */
bool text_starts_with(const char *s, const char *prefix);
bool text_ends_with(const char *s, const char *suffix);
bool text_is_utf8(const char *s, size_t len);
/* Bytes of the well-formed UTF-8 character at @s, of which @len are there; 0: there is none. NUL is one. */
size_t text_utf8_size(const char *s, size_t len);

/* A name that Kubernetes gives to objects (RFC 1123 subdomain): lower-case letters, digits and '-' between
 * single dots, at most 253 bytes. */
bool text_is_dns_subdomain(const char *s, size_t len);

/* Splits at @separator, trims spaces, drops empty parts; a NULL-ended list, to be freed with
 * text_list_free(). NULL: out of memory. */
char **text_split(const char *s, char separator);
void text_list_free(char **list);
