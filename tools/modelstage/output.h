/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output: results as JSON. What is printed is always valid and never has a raw control or non-ASCII character
 * in it; bytes that are not UTF-8 become U+FFFD. Scripts read the keys: they may be added, never changed.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

void output_json(json_t *value);      /* to stdout, indented; takes @value over */
void output_json_line(json_t *value); /* on one line */

json_t *output_text(const char *s);         /* a string */
json_t *output_text_or_null(const char *s); /* null for "" */
json_t *output_seconds(int64_t ms);         /* null if negative */
json_t *output_time(int64_t unix_ms);       /* RFC 3339; null for 0 */
/* Adds a member; takes @value over. */
void output_set(json_t *object, const char *key, json_t *value);
