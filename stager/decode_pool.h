/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_pool: threads that decode pieces of compressed streams, and the memory for them. A piece ("unit") is
 * some whole frames or members; it is decoded by whichever thread comes first, a helper or its owner.
 *
 *   decode_pool_take -> [ fill in, content -> decode_pool_submit -> decode_pool_finish ] -> decode_pool_give
 *
 * There are few units for the whole engine: a stream that gets none is decoded on its own thread alone.
 */
#pragma once

#include "stager/decode.h"

/* A unit has a frame as it is and decoded, some 8 MiB beside the arena: nobody gets many without asking. */
#define DECODE_THREADS_AUTO 3u
#define DECODE_THREADS_MAX 64u
#define DECODE_UNITS_MAX (DECODE_THREADS_MAX + 1) /* one more, whose output is being used */
#define DECODE_UNITS_LEAST 2u                     /* one is read while the other is decoded */

enum decode_state {
        DECODE_IDLE,    /* its owner's */
        DECODE_QUEUED,  /* for any thread */
        DECODE_RUNNING, /* a thread has it */
        DECODE_WHOLE,   /* the output is complete; its owner's again */
        DECODE_BROKEN,  /* it is not what it seemed to be; likewise */
};

struct decode_unit {
        enum plan_codec codec;
        char *in;
        size_t in_len, in_size; /* bytes in use, and allocated */
        uint64_t content;       /* decoded bytes, at most */
        char *out;              /* the pool's until it is finished */
        size_t out_len, out_size;
        struct decoder *decoder;
        enum decode_state state; /* guarded by the pool, as what follows */
        struct decode_unit *next;
};

struct decode_pool;
/* @threads: that may decode one stream, its owner among them; at most DECODE_THREADS_MAX. */
int decode_pool_new(struct decode_pool **ret, unsigned threads, struct error *e);
void decode_pool_free(struct decode_pool *p); /* all units have been given back */
DEFINE_CLEANUP(struct decode_pool *, decode_pool_free);
uint64_t decode_pool_helped(const struct decode_pool *p); /* units that a helper decoded, so far */

/* Takes some of the units that are free, empty and for @codec: how many; 0: fewer than DECODE_UNITS_LEAST. */
size_t decode_pool_take(struct decode_pool *p, struct decode_unit *ret[static DECODE_UNITS_MAX],
                        enum plan_codec codec);
void decode_pool_give(struct decode_pool *p, struct decode_unit **units,
                      size_t n); /* back, with its memory */

int decode_unit_append(struct decode_unit *u, const void *data, size_t len); /* to its input; -ENOMEM */
void decode_unit_clear(struct decode_unit *u);                               /* its input, to be used again */
void decode_pool_submit(struct decode_pool *p, struct decode_unit *u);
/* Decodes it on this thread, or waits for the one that has it, and meanwhile decodes what is queued. False:
 * DECODE_BROKEN. */
bool decode_pool_finish(struct decode_pool *p, struct decode_unit *u);
void decode_pool_drop(struct decode_pool *p, struct decode_unit *u); /* it is not wanted; IDLE on return */
