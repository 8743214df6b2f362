/* SPDX-License-Identifier: Apache-2.0 */
/*
 * screen: text that somebody else wrote (a registry, an artifact, the daemon), made safe for a terminal and
 * measured in columns. Control characters, invalid UTF-8, and what changes the direction of writing become
 * '?'.
 *
 * Needs setlocale(LC_CTYPE, ""): where the locale is not UTF-8, everything beyond ASCII becomes '?' too.
 */
#pragma once

#include "base/buf.h"

#include <stdbool.h>

enum screen_cut {
        SCREEN_CUT_END,   /* "registry.example.co…" */
        SCREEN_CUT_START, /* "…models/llama:v1": where the end tells more, as in paths and references */
};
#define SCREEN_WHOLE (~0u)

/* Appends @text, at most @columns wide; returns the columns that it takes. */
unsigned screen_put(struct buf *out, const char *text, unsigned columns, enum screen_cut cut);
unsigned screen_width(const char *text);
bool screen_is_utf8(void); /* may we use "…", "█" and the like */
/* The safe form of @text, to be freed; never NULL. */
char *screen_text(const char *text);
