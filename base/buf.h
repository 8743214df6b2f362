/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf: bytes that grow up to a cap chosen where the buffer is made. Always NUL-terminated, so text works too.
 *
 *   struct buf b = BUF_INIT(cap) -> buf_append, buf_printf … -> buf_take (the memory is yours) or buf_free
 *
 * A call that fails leaves the buffer as it was. Plain data: not for two threads at once.
 */
#pragma once

#include "base/cleanup.h"

#include <stdarg.h>
#include <stddef.h>

struct buf {
        char *data;       /* NULL while empty */
        size_t len, size; /* used, allocated (without the NUL) */
        size_t max;       /* more is -EFBIG */
};

#define BUF_INIT(limit) \
        { .max = (limit) }
#define _cleanup_buf_ _cleanup_(buf_free)

/* 0, -EFBIG (beyond the cap), -ENOMEM; the printf forms also -EINVAL for a format that cannot be printed. */
int buf_append(struct buf *b, const void *data, size_t len); /* @data is no part of the buffer */
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_clear(struct buf *b); /* keeps the memory */
void buf_free(struct buf *b);  /* back to empty; accepts an empty one */
char *buf_take(struct buf *b); /* the caller frees; "" (allocated) for an empty one; NULL: out of memory */
const char *buf_text(const struct buf *b); /* "" for an empty one */
