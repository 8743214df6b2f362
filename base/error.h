/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error: why something failed, in the caller's memory.
 *
 * A function that can fail returns 0 (or more) on success and a negative errno on failure, and fills the
 * last parameter, `struct error *e` (may be NULL). Each layer puts its noun in front with error_wrap(); the
 * top turns the kind into a gRPC code or an exit code and the text into one line. Nothing to free.
 */
#pragma once

#include <errno.h>
#include <stddef.h>

#define ERROR_TEXT_MAX 1024

/* What the caller can do about it; each is one gRPC code (rpc_status_of_error()). */
enum error_kind {
        ERROR_NONE,
        ERROR_INVALID,         /* the request or the input is wrong */
        ERROR_NOT_FOUND,       /* no such model, tag, blob, volume */
        ERROR_EXISTS,          /* there already, and different */
        ERROR_UNAUTHENTICATED, /* the registry does not know these credentials */
        ERROR_DENIED,          /* it knows them and says no, or a policy does */
        ERROR_NO_SPACE,        /* disk, or another bounded resource, is used up */
        ERROR_PRECONDITION,    /* not in this state: in use, not supported by the volume */
        ERROR_IN_PROGRESS,     /* goes on in the background; ask again */
        ERROR_TIMEOUT,         /* the caller's deadline is near */
        ERROR_UNAVAILABLE,     /* a registry or the daemon cannot be reached now */
        ERROR_DATA_LOSS,       /* bytes do not match their digest, after a retry */
        ERROR_CANCELLED,
        ERROR_UNIMPLEMENTED,
        ERROR_INTERNAL, /* a bug, or the operating system failed us */
        _ERROR_KIND_MAX,
};

struct error {
        enum error_kind kind;
        int code;                  /* the negative errno that was returned */
        char text[ERROR_TEXT_MAX]; /* one sentence, no newline, no secrets; cut with "…" when too long */
};

/* Sets kind and text; returns the negative errno of @kind (-EINVAL, -ENOENT, …), so: return error_set(…). */
int error_set(struct error *e, enum error_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* For a failed system call: "text: strerror". @errnum is positive or negative. ENOSPC and EDQUOT are
 * ERROR_NO_SPACE, the rest ERROR_INTERNAL. Returns -|errnum|. */
int error_errno(struct error *e, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "text: " in front of what is there; kind and code stay. Returns the code. */
int error_wrap(struct error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Copies @from into @to (may be NULL); returns the code. */
int error_copy(struct error *to, const struct error *from);

#ifdef __clang_analyzer__
/* It looks at one file at a time: let it know that these never return success. */
#define error_set(...) (error_set(__VA_ARGS__), -EINVAL)
#define error_errno(...) (error_errno(__VA_ARGS__), -EIO)
#define error_wrap(...) (error_wrap(__VA_ARGS__), -EIO)
#define error_copy(...) (error_copy(__VA_ARGS__), -EIO)
#endif
