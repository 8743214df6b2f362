/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   IDLE --submit--> QUEUED --(helper, or finish())--> RUNNING --> WHOLE or BROKEN --> IDLE
 *                      \------------- drop() -----------------------------------------^
 *
 * A unit is decoded by the same decoder as a stream in one piece. It is WHOLE if it used all its input, ended
 * where a frame ends, and was not larger than announced: then its output is what the stream would have had
 * there, because frames do not depend on each other. If not, it is for the stream to find out why.
 */
#include "stager/decode_pool.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

struct decode_pool {
        atomic_uint_fast64_t helped;

        pthread_mutex_t lock;  /* guards what follows */
        pthread_cond_t queued; /* a unit was submitted, or stopping */
        pthread_cond_t done;   /* a unit is no longer RUNNING */
        struct decode_unit *queue, **queue_end;
        struct decode_unit *unused;
        size_t n_unused;
        bool stopping;

        struct decode_unit units[DECODE_UNITS_MAX];
        size_t n_units;
        pthread_t helpers[DECODE_THREADS_MAX];
        unsigned n_helpers;
};

/* One byte more than it can be: the output is never full, so the decoder always gets to the end. */
static int make_room(struct decode_unit *u) {
        size_t size = (size_t)u->content + 1;

        if (size <= u->out_size)
                return 0;
        free(u->out);
        u->out_size = 0;
        u->out = malloc(size);
        if (!u->out)
                return -ENOMEM;
        u->out_size = size;
        return 0;
}

static bool decode_all(struct decode_unit *u) {
        u->out_len = 0;
        if (make_room(u) < 0 || (!u->decoder && decoder_new(&u->decoder, u->codec, NULL) < 0))
                return false;
        return decoder_run_whole(u->decoder, u->in, u->in_len, u->out, u->out_size, &u->out_len, NULL) == 0;
}

/* Without the lock. */
static enum decode_state decode(struct decode_unit *u) {
        if (decode_all(u))
                return DECODE_WHOLE;
        decoder_free(u->decoder); /* it may be anywhere */
        u->decoder = NULL;
        return DECODE_BROKEN;
}

/* Lock held. */
static void unlink_queued(struct decode_pool *p, struct decode_unit *u) {
        struct decode_unit **link = &p->queue;

        while (*link != u)
                link = &(*link)->next;
        *link = u->next;
        if (!u->next)
                p->queue_end = link;
}

/* The first one of the queue, if there is any. Lock held. */
static struct decode_unit *take_first(struct decode_pool *p) {
        struct decode_unit *u = p->queue;

        if (!u)
                return NULL;
        unlink_queued(p, u);
        u->state = DECODE_RUNNING;
        return u;
}

static struct decode_unit *wait_for_work(struct decode_pool *p) {
        LOCK_SCOPE(&p->lock);

        while (!p->queue && !p->stopping)
                pthread_cond_wait(&p->queued, &p->lock);
        return take_first(p);
}

static void set_state(struct decode_pool *p, struct decode_unit *u, enum decode_state state) {
        LOCK_SCOPE(&p->lock);

        u->state = state;
        pthread_cond_broadcast(&p->done);
}

static void *helper_main(void *userdata) {
        struct decode_pool *p = userdata;
        struct decode_unit *u;

        (void)pthread_setname_np(pthread_self(), "decode");
        while ((u = wait_for_work(p))) {
                p->helped++;
                set_state(p, u, decode(u));
        }
        return NULL;
}

int decode_pool_new(struct decode_pool **ret, unsigned threads, struct error *e) {
        _cleanup_(decode_pool_freep) struct decode_pool *p = calloc(1, sizeof *p);

        if (!p)
                return error_errno(e, ENOMEM, "start the decoders");
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->queued, NULL);
        pthread_cond_init(&p->done, NULL);
        p->queue_end = &p->queue;
        if (threads > DECODE_THREADS_MAX)
                threads = DECODE_THREADS_MAX;
        p->n_units = threads < 2 ? 0 : threads + 1;
        for (size_t i = 0; i < p->n_units; i++) {
                p->units[i].next = p->unused;
                p->unused = &p->units[i];
                p->n_unused++;
        }
        while (p->n_helpers + 1 < threads) {
                int r = pthread_create(&p->helpers[p->n_helpers], NULL, helper_main, p);

                if (r != 0)
                        return error_errno(e, r, "start a decoder");
                p->n_helpers++;
        }
        *ret = take_ptr(p);
        return 0;
}

static void stop(struct decode_pool *p) {
        LOCK_SCOPE(&p->lock);

        assert(!p->queue && p->n_unused == p->n_units);
        p->stopping = true;
        pthread_cond_broadcast(&p->queued);
}

void decode_pool_free(struct decode_pool *p) {
        if (!p)
                return;
        stop(p);
        for (unsigned i = 0; i < p->n_helpers; i++)
                pthread_join(p->helpers[i], NULL);
        pthread_cond_destroy(&p->done);
        pthread_cond_destroy(&p->queued);
        pthread_mutex_destroy(&p->lock);
        free(p);
}

uint64_t decode_pool_helped(const struct decode_pool *p) {
        return p->helped;
}

/* Where there are many, half of them are left for the next stream. */
size_t decode_pool_take(struct decode_pool *p, struct decode_unit *ret[static DECODE_UNITS_MAX],
                        enum plan_codec codec) {
        LOCK_SCOPE(&p->lock);
        size_t n = p->n_unused < 2 * DECODE_UNITS_LEAST ? p->n_unused : p->n_unused / 2;

        if (n < DECODE_UNITS_LEAST)
                return 0;
        for (size_t i = 0; i < n; i++) {
                ret[i] = p->unused;
                p->unused = p->unused->next;
                *ret[i] = (struct decode_unit){ .codec = codec };
        }
        p->n_unused -= n;
        return n;
}

void decode_pool_give(struct decode_pool *p, struct decode_unit **units, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(units[i]->in);
                free(units[i]->out);
                decoder_free(units[i]->decoder);
                *units[i] = (struct decode_unit){ .state = DECODE_IDLE };
        }
        LOCK_SCOPE(&p->lock);
        for (size_t i = 0; i < n; i++) {
                units[i]->next = p->unused;
                p->unused = units[i];
        }
        p->n_unused += n;
}

int decode_unit_append(struct decode_unit *u, const void *data, size_t len) {
        if (len > u->in_size - u->in_len) {
                size_t size = (u->in_len + len) * 2;
                char *in = realloc(u->in, size);

                if (!in)
                        return -ENOMEM;
                u->in = in;
                u->in_size = size;
        }
        if (len > 0)
                memcpy(u->in + u->in_len, data, len);
        u->in_len += len;
        return 0;
}

void decode_unit_clear(struct decode_unit *u) {
        u->in_len = 0;
        u->content = 0;
}

void decode_pool_submit(struct decode_pool *p, struct decode_unit *u) {
        LOCK_SCOPE(&p->lock);

        u->state = DECODE_QUEUED;
        u->next = NULL;
        *p->queue_end = u;
        p->queue_end = &u->next;
        pthread_cond_signal(&p->queued);
}

/* What the owner of @u can do until it is finished; NULL: it is. */
static struct decode_unit *wait_or_work(struct decode_pool *p, struct decode_unit *u) {
        LOCK_SCOPE(&p->lock);

        while (u->state == DECODE_RUNNING && !p->queue)
                pthread_cond_wait(&p->done, &p->lock);
        if (u->state == DECODE_WHOLE || u->state == DECODE_BROKEN)
                return NULL;
        if (u->state == DECODE_RUNNING)
                return take_first(p); /* another one, meanwhile */
        unlink_queued(p, u);
        u->state = DECODE_RUNNING;
        return u;
}

bool decode_pool_finish(struct decode_pool *p, struct decode_unit *u) {
        struct decode_unit *work;

        while ((work = wait_or_work(p, u)))
                set_state(p, work, decode(work));
        return u->state == DECODE_WHOLE;
}

void decode_pool_drop(struct decode_pool *p, struct decode_unit *u) {
        LOCK_SCOPE(&p->lock);

        if (u->state == DECODE_QUEUED)
                unlink_queued(p, u);
        while (u->state == DECODE_RUNNING)
                pthread_cond_wait(&p->done, &p->lock);
        u->state = DECODE_IDLE;
}
