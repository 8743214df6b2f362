/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error: texts are made in a buffer of this file's own and copied at the end, so that an argument may be
 * the text of the very error that is being written. What comes from outside (a registry's message, a file
 * name) is made harmless here, once, for logs, terminals and gRPC: valid UTF-8 and one line.
 */
#include "base/error.h"

#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __clang_analyzer__ /* here they are made */
#undef error_set
#undef error_errno
#undef error_wrap
#undef error_copy
#endif

#define ELLIPSIS "…"

static const int codes[] = {
        [ERROR_NONE] = 0,
        [ERROR_INVALID] = -EINVAL,
        [ERROR_NOT_FOUND] = -ENOENT,
        [ERROR_EXISTS] = -EEXIST,
        [ERROR_UNAUTHENTICATED] = -ENOKEY,
        [ERROR_DENIED] = -EACCES,
        [ERROR_NO_SPACE] = -ENOSPC,
        [ERROR_PRECONDITION] = -EBUSY,
        [ERROR_IN_PROGRESS] = -EINPROGRESS,
        [ERROR_TIMEOUT] = -ETIMEDOUT,
        [ERROR_UNAVAILABLE] = -EHOSTUNREACH,
        [ERROR_DATA_LOSS] = -EBADMSG,
        [ERROR_CANCELLED] = -ECANCELED,
        [ERROR_UNIMPLEMENTED] = -EOPNOTSUPP,
        [ERROR_INTERNAL] = -EIO,
};
_Static_assert(sizeof codes / sizeof *codes == _ERROR_KIND_MAX, "one code per kind");

/* Replaces in place what must not reach a terminal or a gRPC status; a character that was cut is dropped. */
static void make_printable(char *text) {
        size_t len = strlen(text);

        for (size_t i = 0; i < len;) {
                size_t n = text_utf8_size(text + i, len - i);

                if (n == 0)
                        text[i] = '?';
                else if (n == 1 && ((unsigned char)text[i] < ' ' || text[i] == 0x7f))
                        text[i] = ' ';
                i += n ? n : 1;
        }
}

/* Ends a text that did not fit with "…", without leaving half a character before it. */
static void mark_as_cut(char *text) {
        size_t len = ERROR_TEXT_MAX - sizeof ELLIPSIS;

        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
                len--;
        memcpy(text + len, ELLIPSIS, sizeof ELLIPSIS);
}

/* Formats "PREFIX" or "PREFIX: tail" into the error. */
__attribute__((format(printf, 3, 0))) static void set_text(struct error *e, const char *tail, const char *fmt,
                                                           va_list ap) {
        char text[ERROR_TEXT_MAX];
        int n = vsnprintf(text, sizeof text, fmt, ap);
        size_t len = n < 0 ? 0 : (size_t)n;

        if (n < 0)
                text[0] = '\0';
        if (len < sizeof text && tail)
                len += (size_t)snprintf(text + len, sizeof text - len, ": %s", tail);
        if (len >= sizeof text)
                mark_as_cut(text);
        make_printable(text);
        memcpy(e->text, text, sizeof text);
}

int error_set(struct error *e, enum error_kind kind, const char *fmt, ...) {
        va_list ap;

        assert(kind > ERROR_NONE && kind < _ERROR_KIND_MAX);
        if (!e)
                return codes[kind];
        va_start(ap, fmt);
        set_text(e, NULL, fmt, ap);
        va_end(ap);
        e->kind = kind;
        e->code = codes[kind];
        return e->code;
}

/* strerror_r() is GNU's: it may use its buffer or not, and is safe among threads. */
int error_errno(struct error *e, int errnum, const char *fmt, ...) {
        char reason[128];
        va_list ap;

        errnum = abs(errnum);
        assert(errnum != 0);
        if (!e)
                return -errnum;
        va_start(ap, fmt);
        set_text(e, strerror_r(errnum, reason, sizeof reason), fmt, ap);
        va_end(ap);
        e->kind = errnum == ENOSPC || errnum == EDQUOT ? ERROR_NO_SPACE : ERROR_INTERNAL;
        e->code = -errnum;
        return e->code;
}

/*
 * The text that is there becomes the tail. When the whole is too long, the tail is cut: the nouns in front
 * say where to look, and a registry that sends pages of text cannot push them out.
 */
int error_wrap(struct error *e, const char *fmt, ...) {
        char before[ERROR_TEXT_MAX];
        va_list ap;

        if (!e)
                return -EIO; /* nobody kept the code; that it failed is all that can be said */
        memcpy(before, e->text, sizeof before);
        va_start(ap, fmt);
        set_text(e, before, fmt, ap);
        va_end(ap);
        if (e->code >=
            0) { /* whoever failed did not say why: a bug, but no reason to go on as if all were well */
                e->kind = ERROR_INTERNAL;
                e->code = -EIO;
        }
        return e->code;
}

int error_copy(struct error *to, const struct error *from) {
        if (to && to != from)
                *to = *from;
        return from->code;
}
