/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yaml_style: in which of YAML's styles a string is written, decided as go-yaml v3 decides it: KitOps writes
 * Kitfiles with that library, and ours are to be the same byte for byte. Strings are valid UTF-8.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum yaml_style { YAML_PLAIN, YAML_SINGLE_QUOTED, YAML_DOUBLE_QUOTED, YAML_LITERAL };

/* @flow: inside [...]. */
enum yaml_style yaml_style_of(const char *s, bool flow);

/* Whether @s can be a key before a ':'; other keys need a '?'. */
bool yaml_style_is_simple_key(const char *s);

/* ---- characters ---- */

uint32_t yaml_style_next(const char **s); /* the character at *s, which moves behind it; not at the end */
bool yaml_style_is_break(uint32_t c);     /* of a line, by YAML 1.1 */
bool yaml_style_is_printable(uint32_t c);
