/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf: one allocation that doubles up to the cap, with one byte more for the NUL that `size` does not count.
 * What does not fit is refused as a whole, before anything is written.
 */
#include "base/buf.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define FIRST_SIZE 256u

/* Makes room for @extra more bytes and the NUL. Doubles, so that appending stays linear. */
static int reserve(struct buf *b, size_t extra) {
        size_t size = b->size ? b->size : FIRST_SIZE;
        char *data;

        if (extra > b->max - b->len)
                return -EFBIG;
        if (b->data && extra <= b->size - b->len)
                return 0;
        while (size - b->len < extra)
                size = size > SIZE_MAX / 4 ? b->max : size * 2;
        if (size > b->max)
                size = b->max;
        if (size == SIZE_MAX)
                return -ENOMEM;
        data = realloc(b->data, size + 1);
        if (!data)
                return -ENOMEM;
        b->data = data;
        b->size = size;
        return 0;
}

/* @data must not be a part of the buffer: growing moves it. */
int buf_append(struct buf *b, const void *data, size_t len) {
        int r;

        assert(b->len <= b->max);
        r = reserve(b, len);
        if (r < 0)
                return r;
        if (len > 0)
                memcpy(b->data + b->len, data, len);
        b->len += len;
        b->data[b->len] = '\0';
        return 0;
}

/* Measures first: a text that does not fit leaves the buffer as it was, not with half of it. */
int buf_vprintf(struct buf *b, const char *fmt, va_list ap) {
        va_list again;
        int n, r;

        va_copy(again, ap);
        n = vsnprintf(NULL, 0, fmt, again);
        va_end(again);
        if (n < 0)
                return -EINVAL;
        r = reserve(b, (size_t)n);
        if (r < 0)
                return r;
        (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
        b->len += (size_t)n;
        return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...) {
        va_list ap;
        int r;

        va_start(ap, fmt);
        r = buf_vprintf(b, fmt, ap);
        va_end(ap);
        return r;
}

void buf_clear(struct buf *b) {
        b->len = 0;
        if (b->data)
                b->data[0] = '\0';
}

void buf_free(struct buf *b) {
        free(b->data);
        b->data = NULL;
        b->len = b->size = 0;
}

char *buf_take(struct buf *b) {
        char *data = b->data ? take_ptr(b->data) : strdup("");

        b->len = b->size = 0;
        return data;
}

const char *buf_text(const struct buf *b) {
        return b->data ? b->data : "";
}
