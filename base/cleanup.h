/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleanup: variables that release what they own at the closing brace, and the visible hand-over.
 *
 * Initialise at the declaration (NULL, -1). take_ptr() and take_fd() are the sign that ownership moves.
 * Never mix with goto in one function. What must be seen to fail (fsync, rename, unmount) is not a cleanup.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_closedir_ _cleanup_(cleanup_closedir)

/* Defines NAMEp() for _cleanup_(NAMEp): calls @func, which accepts NULL, on a variable of type @type. */
#define DEFINE_CLEANUP(type, func) \
        static inline void func##p(type *p) { \
                if (*p) \
                        func(*p); \
        } \
        struct cleanup_needs_a_semicolon

static inline void cleanup_free(void *p) {
        free(*(void **)p);
}

/* Keeps errno, so that it may run between a failure and its report. */
static inline void cleanup_close(const int *fd) {
        if (*fd >= 0) {
                int saved = errno;
                close(*fd);
                errno = saved;
        }
}

static inline void cleanup_closedir(DIR **d) {
        if (*d) {
                int saved = errno;
                closedir(*d);
                errno = saved;
        }
}

#define take_ptr(p) \
        ({ \
                __typeof__(p) taken_ = (p); \
                (p) = NULL; \
                taken_; \
        })

static inline int take_fd_from(int *fd) {
        int taken = *fd;
        *fd = -1;
        return taken;
}
#define take_fd(fd) take_fd_from(&(fd))

/* Holds @mutex to the end of the block. Never call out (callback, curl, gRPC) with a lock held. */
static inline pthread_mutex_t *cleanup_lock(pthread_mutex_t *m) {
        pthread_mutex_lock(m);
        return m;
}
static inline void cleanup_unlock(pthread_mutex_t **m) {
        pthread_mutex_unlock(*m);
}
#define LOCK_SCOPE_NAME2(line) lock_scope_##line
#define LOCK_SCOPE_NAME(line) LOCK_SCOPE_NAME2(line)
#define LOCK_SCOPE(mutex) \
        pthread_mutex_t *LOCK_SCOPE_NAME(__LINE__) __attribute__((cleanup(cleanup_unlock), unused)) = \
            cleanup_lock(mutex)
