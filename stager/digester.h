/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digester: the engine's SHA-256. A few threads read the windows of all transfers, each in order, and hash
 * two of them at once where the CPU can (base/sha256.h). Whoever decodes or places the same bytes does it
 * meanwhile, on another thread.
 *
 *   digest_task_init -> [ digest_begin -> window_wait_digest() or a failure -> digest_end -> digest_result ]
 *
 * What is in brackets may be repeated: once for each attempt at a blob.
 */
#pragma once

#include "base/sha256.h"
#include "stager/window.h"

#include <stdatomic.h>

struct digester;
int digester_new(struct digester **ret, unsigned threads, struct error *e); /* starts them */
void digester_free(struct digester *d);                                     /* every task has ended */
DEFINE_CLEANUP(struct digester *, digester_free);
/* How many threads to start on so many CPUs for at most @tasks at once. */
unsigned digester_threads(unsigned cpus, unsigned tasks);
/* Bytes hashed so far while @lanes (1 or 2) were in use. */
uint64_t digester_hashed(const struct digester *d, unsigned lanes);

enum digest_state {
        DIGEST_OUT,     /* between digest_end() and digest_begin() */
        DIGEST_IDLE,    /* there is nothing to hash */
        DIGEST_QUEUED,  /* there may be */
        DIGEST_WORKING, /* a thread has it */
        DIGEST_LEAVING, /* likewise, and is waited for */
};

struct digest_task {
        struct digester *digester;
        struct window *window;
        atomic_uint_fast64_t *verified; /* told how far the hash has come; may be NULL */
        struct sha256 hash;             /* the thread's that has the task, else its owner's */
        /* Told the hash at each segment's end, on the digester's thread, which all other tasks wait for
         * meanwhile. To be set before digest_begin(). NULL: nobody. */
        void (*edge)(void *userdata, const struct sha256 *hash);
        void *edge_data;
        /* the digester's lock guards what follows */
        enum digest_state state;
        bool again; /* more may have come while a thread was at work */
        struct digest_task *next;
};

/* Before the window is used by anybody. Everything is borrowed. */
void digest_task_init(struct digest_task *t, struct digester *d, struct window *w,
                      atomic_uint_fast64_t *verified);
/* The window was reset to where @from is, NULL: to 0. From now on its digest reader is the digester. */
void digest_begin(struct digest_task *t, const struct sha256 *from);
/* Returns when no thread reads the window any more; whether it was at its end or not. */
void digest_end(struct digest_task *t);
/* Of the bytes that were hashed: the blob's if the window said so. After digest_end(). */
void digest_result(const struct digest_task *t, struct digest *ret);
