/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All cells are kept until the end, because the width of a column is known only then. Tables are never cut to
 * the width of the terminal: somebody may be about to copy a reference from one, or to pipe it into awk.
 */
#include "tools/modelstage/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "tools/modelstage/cli.h"
#include "tools/modelstage/screen.h"

#define GAP 2 /* columns between columns */

struct table {
        const char *const *headers;
        size_t columns;
        char **cells;   /* safe text, row after row */
        size_t n, size; /* cells that are there, allocated */
};

struct table *table_new(const char *const *headers) {
        struct table *t = cli_alloc(sizeof *t);

        t->headers = headers;
        while (headers[t->columns])
                t->columns++;
        return t;
}

void table_free(struct table *t) {
        if (!t)
                return;
        for (size_t i = 0; i < t->n; i++)
                free(t->cells[i]);
        free(t->cells);
        free(t);
}

void table_cell(struct table *t, const char *text) {
        if (t->n == t->size) {
                t->size = t->size ? t->size * 2 : 64;
                t->cells = cli_must(reallocarray(t->cells, t->size, sizeof *t->cells));
        }
        t->cells[t->n++] = screen_text(text && *text ? text : "-");
}

void table_cellf(struct table *t, const char *fmt, ...) {
        _cleanup_free_ char *text = NULL;
        va_list ap;

        va_start(ap, fmt);
        if (vasprintf(&text, fmt, ap) < 0)
                text = NULL;
        va_end(ap);
        table_cell(t, cli_must(text));
}

void table_size(struct table *t, uint64_t bytes) {
        char text[TEXT_SHORT];

        table_cell(t, text_format_size(bytes, text));
}

void table_short_digest(struct table *t, const char *digest) {
        const char *hex = strchr(digest, ':');

        table_cellf(t, "%.12s", hex ? hex + 1 : digest);
}

static const char *header(const struct table *t, size_t column, bool *right) {
        const char *text = t->headers[column];

        *right = *text == '>';
        return text + *right;
}

/* The last column is not filled up: no white space at the end of a line. */
static void print_cell(FILE *f, const char *text, unsigned width, bool right, bool last) {
        unsigned own = screen_width(text);
        int fill = own < width ? (int)(width - own) : 0;

        if (right)
                fprintf(f, "%*s%s", fill, "", text);
        else
                fprintf(f, "%s%*s", text, last ? 0 : fill, "");
        if (last)
                putc('\n', f);
        else
                fprintf(f, "%*s", GAP, "");
}

void table_print(const struct table *t, FILE *f) {
        _cleanup_free_ unsigned *width = cli_alloc(t->columns * sizeof *width);
        bool right;

        assert(t->n % t->columns == 0); /* whole rows */
        for (size_t c = 0; c < t->columns; c++)
                width[c] = screen_width(header(t, c, &right));
        for (size_t i = 0; i < t->n; i++) {
                unsigned w = screen_width(t->cells[i]);
                if (w > width[i % t->columns])
                        width[i % t->columns] = w;
        }
        for (size_t c = 0; c < t->columns; c++) {
                const char *text = header(t, c, &right);
                print_cell(f, text, width[c], right, c + 1 == t->columns);
        }
        for (size_t i = 0; i < t->n; i++) {
                size_t c = i % t->columns;
                (void)header(t, c, &right);
                print_cell(f, t->cells[i], width[c], right, c + 1 == t->columns);
        }
}
