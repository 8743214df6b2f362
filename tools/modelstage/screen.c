/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text is read glyph by glyph: the bytes of one character, and how wide it is. Everything that is printed
 * goes through next_glyph(), so there is one place that decides what a terminal gets to see: UTF-8 as Unicode
 * defines it, with a width that wcwidth(3) knows, without characters that move the cursor, change the
 * direction of writing or hide.
 */
#include "tools/modelstage/screen.h"

#include <langinfo.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

#include "base/text.h"
#include "tools/modelstage/cli.h"

#define COMBINING_MAX 4 /* marks on one character; more would run over the lines around it */

struct glyph {
        const char *bytes; /* in the text, or a replacement */
        size_t size;
        unsigned width; /* in columns: 0 for a combining mark, 2 for most of East Asia */
};

bool screen_is_utf8(void) {
        return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

static uint32_t decode(const char *s, size_t size) {
        const unsigned char *p = (const unsigned char *)s;
        uint32_t c = size == 1 ? p[0] : p[0] & (0xffu >> (size + 1));

        for (size_t i = 1; i < size; i++)
                c = c << 6 | (p[i] & 0x3f);
        return c;
}

/* Line and paragraph separators, marks and overrides of direction, and what is invisible though it is there.
 */
static bool is_deceptive(uint32_t c) {
        return (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) ||
               c == 0xfeff || c == 0x061c || c == 0x00ad || (c >= 0xe0000 && c <= 0xe0fff);
}

/* The next glyph of @text; @combining counts the marks since the last character that has a width. */
static size_t next_glyph(struct glyph *ret, const char *text, size_t len, unsigned *combining) {
        size_t size = text_utf8_size(text, len);
        uint32_t c = size ? decode(text, size) : 0;
        int width = c < 0x80 ? (c >= 0x20 && c < 0x7f ? 1 : -1) : screen_is_utf8() ? wcwidth((wchar_t)c) : -1;

        if (width == 0 && ++*combining > COMBINING_MAX)
                width = -1;
        if (width > 0)
                *combining = 0;
        if (width < 0 || is_deceptive(c))
                *ret = (struct glyph){ "?", 1, 1 };
        else
                *ret = (struct glyph){ text, size, (unsigned)width };
        return size ? size : 1;
}

unsigned screen_width(const char *text) {
        size_t len = strlen(text);
        unsigned width = 0, combining = 0;
        struct glyph g;

        for (size_t i = 0; i < len;) {
                i += next_glyph(&g, text + i, len - i, &combining);
                width += g.width;
        }
        return width;
}

/* Glyphs from the first at which @skip columns are left behind, up to @columns. */
static unsigned put_part(struct buf *out, const char *text, unsigned skip, unsigned columns) {
        size_t len = strlen(text);
        unsigned at = 0, put = 0, combining = 0;
        struct glyph g;

        for (size_t i = 0; i < len;) {
                i += next_glyph(&g, text + i, len - i, &combining);
                if (at >= skip && (g.width > 0 || put > 0 || skip == 0)) {
                        if (put + g.width > columns)
                                break;
                        (void)buf_append(out, g.bytes, g.size);
                        put += g.width;
                }
                at += g.width;
        }
        return put;
}

unsigned screen_put(struct buf *out, const char *text, unsigned columns, enum screen_cut cut) {
        const char *ellipsis = screen_is_utf8() ? "…" : "~";
        unsigned width = screen_width(text);

        if (width <= columns)
                return put_part(out, text, 0, columns);
        if (columns == 0)
                return 0;
        if (cut == SCREEN_CUT_END) {
                unsigned put = put_part(out, text, 0, columns - 1);
                (void)buf_append(out, ellipsis, strlen(ellipsis));
                return put + 1;
        }
        (void)buf_append(out, ellipsis, strlen(ellipsis));
        return 1 + put_part(out, text, width - (columns - 1), columns - 1);
}

char *screen_text(const char *text) {
        struct buf b = BUF_INIT(SIZE_MAX / 2);

        screen_put(&b, text, SCREEN_WHOLE, SCREEN_CUT_END);
        return cli_must(buf_take(&b));
}
