/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena: all the memory that the engine moves bytes through: `engine.memory` bytes in segments of 1 MiB,
 * mapped once, as huge pages where the node gives them when asked.
 *
 * Two pools share it. ARENA_WINDOW holds what arrives from the network and is only taken by the reactor,
 * which never waits: who finds it empty is woken when a segment returns. ARENA_OUTPUT is for the blob threads
 * (a blob's first segment, a decoder's output, a file's next write) and is waited for; it is large enough
 * that each blob thread has what it needs to go on, as long as none waits for anything with writes that it
 * has not sent. Thread-safe.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "stager/disk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEGMENT_SIZE ((size_t)1 << 20)
#define ARENA_MIN_SEGMENTS 16u
#define ARENA_OUTPUT_PER_THREAD \
        4u /* first segment, decoder's output, a file's current one, and one in flight */

enum arena_pool { ARENA_WINDOW, ARENA_OUTPUT, _ARENA_POOL_MAX };

struct arena;

struct segment {
        char *data;              /* SEGMENT_SIZE bytes, 4 KiB aligned */
        uint64_t pos;            /* where its first byte lies in the blob */
        size_t len;              /* bytes that belong into it */
        size_t got;              /* bytes received; the reactor's own */
        size_t fill;             /* of these, shown to the reader; guarded by the window's lock */
        struct disk_op op;       /* its write, one at a time */
        struct place_file *file; /* that it is written to; NULL: it is only read */
        uint64_t file_offset;    /* of its first byte, if it is written as a whole */
        size_t payload;          /* bytes of the write that are the file's, not padding */
        bool retried;            /* the write, without O_DIRECT */
        /* the arena's */
        enum arena_pool pool;
        unsigned refs;
        unsigned *held; /* the count of whoever took it */
        struct segment *next;
};

/* @bytes: rounded down to segments. @threads: how many wait for ARENA_OUTPUT at most. */
int arena_new(struct arena **ret, uint64_t bytes, unsigned threads, struct error *e);
void arena_free(struct arena *a); /* every segment has returned */
DEFINE_CLEANUP(struct arena *, arena_free);

/* Tells the ring about the memory, for writes without page pinning. On the ring's thread. */
void arena_register(struct arena *a, struct ring *r);
/* How many the pool has in all, and how many nobody has now. */
size_t arena_segments(const struct arena *a, enum arena_pool pool);
size_t arena_available(struct arena *a, enum arena_pool pool);
/* @wake(@userdata) runs, once, when a segment returns to ARENA_WINDOW after somebody wanted one in vain. */
void arena_on_return(struct arena *a, void (*wake)(void *userdata), void *userdata);

/* Takes @n segments of ARENA_WINDOW, all or none, if *@held stays within @limit. *@held is guarded by the
 * arena. */
bool arena_take(struct arena *a, struct segment **ret, size_t n, unsigned *held, size_t limit);
struct segment *arena_wait(struct arena *a); /* one of ARENA_OUTPUT */
struct segment *arena_try(struct arena *a);  /* likewise, or NULL if there is none now */
/* One more owner, so that a segment that is being written stays after its reader is through with it. The
 * last one to let go gives it back, from any thread. */
void arena_ref(struct arena *a, struct segment *s);
void arena_unref(struct arena *a, struct segment *s);
