/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One anonymous mapping, one free list, a count for each pool: a segment belongs to a pool only while it is
 * taken, so that the memory that was used last is used next. ARENA_OUTPUT gets an eighth, or
 * ARENA_OUTPUT_PER_THREAD for each blob thread, but never more than half or less than three a thread: the
 * three that a blob thread holds while it waits. Whoever waits has sent the writes that it had collected.
 *
 * Entered by the reactor and by the blob threads.
 */
#include "stager/arena.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#define REGISTER_MAX ((size_t)1 << 30) /* io_uring's limit for one buffer */
#define REGISTER_PARTS 64u

struct arena {
        char *memory;
        size_t n;
        struct segment *segments;
        size_t whole[_ARENA_POOL_MAX];
        void (*wake)(void *userdata);
        void *wake_data;

        pthread_mutex_t lock;    /* guards what follows, and refs and held of the segments */
        pthread_cond_t returned; /* to ARENA_OUTPUT */
        struct segment *free;
        size_t available[_ARENA_POOL_MAX];
        bool wanted; /* somebody asked ARENA_WINDOW in vain */
};

/* Segments of @n that are for ARENA_OUTPUT; see the head of the file. */
static size_t output_share(size_t n, unsigned threads) {
        size_t share = n / 8, want = (size_t)threads * ARENA_OUTPUT_PER_THREAD, least = (size_t)threads * 3;

        if (share < want)
                share = want;
        if (share > n / 2)
                share = n / 2;
        return share < least ? least : share;
}

int arena_new(struct arena **ret, uint64_t bytes, unsigned threads, struct error *e) {
        _cleanup_(arena_freep) struct arena *a = calloc(1, sizeof *a);

        if (!a)
                return error_errno(e, ENOMEM, "engine memory");
        pthread_mutex_init(&a->lock, NULL);
        pthread_cond_init(&a->returned, NULL);
        if (bytes / SEGMENT_SIZE < ARENA_MIN_SEGMENTS || bytes > SIZE_MAX / 2)
                return error_set(e, ERROR_INVALID, "engine.memory: at least %u MiB are needed",
                                 ARENA_MIN_SEGMENTS);
        a->n = (size_t)(bytes / SEGMENT_SIZE);
        a->segments = calloc(a->n, sizeof *a->segments);
        if (!a->segments)
                return error_errno(e, ENOMEM, "engine memory");
        void *memory =
            mmap(NULL, a->n * SEGMENT_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
                return error_errno(e, errno, "engine.memory: map %zu MiB", a->n);
        a->memory = memory;
        (void)madvise(memory, a->n * SEGMENT_SIZE, MADV_HUGEPAGE); /* a write of it has few pieces then */
        for (size_t i = a->n; i-- > 0;) {
                a->segments[i].data = a->memory + i * SEGMENT_SIZE;
                a->segments[i].next = a->free;
                a->free = &a->segments[i];
        }
        a->whole[ARENA_OUTPUT] = output_share(a->n, threads);
        a->whole[ARENA_WINDOW] = a->n - a->whole[ARENA_OUTPUT];
        a->available[ARENA_OUTPUT] = a->whole[ARENA_OUTPUT];
        a->available[ARENA_WINDOW] = a->whole[ARENA_WINDOW];
        *ret = take_ptr(a);
        return 0;
}

void arena_free(struct arena *a) {
        if (!a)
                return;
        for (int i = 0; i < _ARENA_POOL_MAX; i++)
                assert(a->available[i] == a->whole[i]);
        if (a->memory)
                munmap(a->memory, a->n * SEGMENT_SIZE);
        pthread_cond_destroy(&a->returned);
        pthread_mutex_destroy(&a->lock);
        free(a->segments);
        free(a);
}

void arena_register(struct arena *a, struct ring *r) {
        struct iovec parts[REGISTER_PARTS];
        size_t left = a->n * SEGMENT_SIZE;
        unsigned n = 0;

        for (char *p = a->memory; left > 0 && n < REGISTER_PARTS; n++) {
                size_t len = left < REGISTER_MAX ? left : REGISTER_MAX;

                parts[n] = (struct iovec){ p, len };
                p += len;
                left -= len;
        }
        ring_register(r, parts, n);
}

size_t arena_segments(const struct arena *a, enum arena_pool pool) {
        return a->whole[pool];
}

size_t arena_available(struct arena *a, enum arena_pool pool) {
        LOCK_SCOPE(&a->lock);
        return a->available[pool];
}

void arena_on_return(struct arena *a, void (*wake)(void *userdata), void *userdata) {
        a->wake = wake;
        a->wake_data = userdata;
}

/* Lock held; there is one. */
static struct segment *take_one(struct arena *a, enum arena_pool pool, unsigned *held) {
        struct segment *s = a->free;

        assert(s && a->available[pool] > 0);
        a->free = s->next;
        a->available[pool]--;
        *s = (struct segment){ .data = s->data, .pool = pool, .refs = 1, .held = held };
        return s;
}

bool arena_take(struct arena *a, struct segment **ret, size_t n, unsigned *held, size_t limit) {
        LOCK_SCOPE(&a->lock);

        if (n > a->available[ARENA_WINDOW] || *held + n > limit) {
                a->wanted = true;
                return false;
        }
        for (size_t i = 0; i < n; i++)
                ret[i] = take_one(a, ARENA_WINDOW, held);
        *held += (unsigned)n;
        return true;
}

struct segment *arena_wait(struct arena *a) {
        LOCK_SCOPE(&a->lock);

        while (a->available[ARENA_OUTPUT] == 0)
                pthread_cond_wait(&a->returned, &a->lock);
        return take_one(a, ARENA_OUTPUT, NULL);
}

struct segment *arena_try(struct arena *a) {
        LOCK_SCOPE(&a->lock);
        return a->available[ARENA_OUTPUT] > 0 ? take_one(a, ARENA_OUTPUT, NULL) : NULL;
}

void arena_ref(struct arena *a, struct segment *s) {
        LOCK_SCOPE(&a->lock);

        assert(s->refs > 0);
        s->refs++;
}

/* True if somebody wanted what has come back. */
static bool give_back(struct arena *a, struct segment *s) {
        LOCK_SCOPE(&a->lock);

        assert(s->refs > 0);
        if (--s->refs > 0)
                return false;
        s->next = a->free;
        a->free = s;
        a->available[s->pool]++;
        if (s->held)
                --*s->held;
        if (s->pool == ARENA_OUTPUT) {
                pthread_cond_signal(&a->returned);
                return false;
        }
        bool wanted = a->wanted;
        a->wanted = false;
        return wanted;
}

void arena_unref(struct arena *a, struct segment *s) {
        if (give_back(a, s) && a->wake)
                a->wake(a->wake_data);
}
