/* SPDX-License-Identifier: Apache-2.0 */
/* table: rows of text in columns, aligned by what they take on the screen. Cells may come from anywhere: they
 * are made safe. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct table;
/* @headers: NULL-ended, kept by reference; one that begins with '>' is aligned to the right (the '>' is not
 * printed). */
struct table *table_new(const char *const *headers);
void table_free(struct table *t);
static inline void table_freep(struct table **t) {
        table_free(*t);
}

/* The next cell, from left to right, row after row. */
void table_cell(struct table *t, const char *text);
void table_cellf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_size(struct table *t, uint64_t bytes);             /* "1.5 GiB" */
void table_short_digest(struct table *t, const char *digest); /* 12 hex digits of "sha256:…"; "-" for "" */
void table_print(const struct table *t, FILE *f);
