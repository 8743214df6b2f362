/* SPDX-License-Identifier: Apache-2.0 */
/* proc: files of /proc and /sys, which say that they have no size. No state; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROC_TEXT_MAX ((size_t)16 << 10) /* of what is longer, the beginning */

/* The file @name in @dir. @text is "" if there is nothing to read. */
int proc_read_text(char text[static PROC_TEXT_MAX], const char *dir, const char *name);
/* False: there is no such file, or it does not begin with a number, as "max" and "-1". */
bool proc_read_number(const char *dir, const char *name, uint64_t *ret);
