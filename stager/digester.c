/* SPDX-License-Identifier: Apache-2.0 */
/*
 *                window's wake                  taken by a thread
 *   OUT -> IDLE -------------> QUEUED --------------------------------> WORKING -> LEAVING -> OUT
 *           ^                    ^ there was something, or `again`         |
 *           +--------------------+-----------------------------------------+
 *             there was nothing
 *
 * A thread takes the first tasks of the queue, as many as there are lanes, hashes at most SLICE bytes of
 * each, the same number for both, and puts them behind the others. So all windows move on alike, and a task
 * that has bytes finds its partner, if there is one, at the next turn.
 *
 * Two lanes on one core are nearly as fast as two cores with one lane each, for half of the CPU time. So a
 * thread rests as long as those awake have lanes for all tasks that have something (enough()).
 *
 * The window's wake comes from the reactor, which only takes the lock for a moment. The lock is never held
 * while a window is called.
 */
#include "stager/digester.h"

#include <assert.h>

#define SLICE WINDOW_STEP /* a partner that comes waits for no longer than this takes: 150 us */
#define LANES_MAX 2u

struct digester {
        atomic_uint_fast64_t hashed[LANES_MAX];

        pthread_mutex_t lock;    /* guards what follows */
        pthread_cond_t work;     /* a thread more is needed, or stopping */
        pthread_cond_t released; /* a task that was LEAVING is OUT */
        struct digest_task *queue, **queue_end;
        unsigned busy;  /* tasks QUEUED, WORKING or LEAVING */
        unsigned awake; /* threads that do not wait */
        bool stopping;

        unsigned n_threads;
        pthread_t threads[];
};

struct piece { /* one lane's work of one turn */
        struct digest_task *task;
        const void *data;
        size_t len;
};

unsigned digester_threads(unsigned cpus, unsigned tasks) {
        unsigned n = cpus / sha256_lanes(); /* with two lanes the other half of the CPUs is for the rest */

        if (n > tasks)
                n = tasks;
        return n > 0 ? n : 1;
}

/* Lock held. */
static void enqueue(struct digester *d, struct digest_task *t) {
        t->state = DIGEST_QUEUED;
        t->next = NULL;
        *d->queue_end = t;
        d->queue_end = &t->next;
}

/* Lock held. */
static void unlink_queued(struct digester *d, struct digest_task *t) {
        struct digest_task **link = &d->queue;

        while (*link != t)
                link = &(*link)->next;
        *link = t->next;
        if (!t->next)
                d->queue_end = link;
}

/* Have so many threads lanes for all there is to do? Lock held. */
static bool enough(const struct digester *d, unsigned threads) {
        return d->busy <= threads * sha256_lanes();
}

/* The window has something to read. */
static void wake(void *userdata) {
        struct digest_task *t = userdata;
        struct digester *d = t->digester;
        LOCK_SCOPE(&d->lock);

        t->again = true;
        if (t->state != DIGEST_IDLE)
                return;
        d->busy++;
        enqueue(d, t);
        if (!enough(d, d->awake))
                pthread_cond_signal(&d->work);
}

void digest_task_init(struct digest_task *t, struct digester *d, struct window *w,
                      atomic_uint_fast64_t *verified) {
        *t = (struct digest_task){ .digester = d, .window = w, .verified = verified };
        window_on_digest(w, wake, t);
}

static void prepare(struct digest_task *t, const struct sha256 *from) {
        struct digester *d = t->digester;
        LOCK_SCOPE(&d->lock);

        assert(t->state == DIGEST_OUT);
        if (from)
                t->hash = *from;
        else
                sha256_init(&t->hash);
        t->state = DIGEST_IDLE;
}

void digest_begin(struct digest_task *t, const struct sha256 *from) {
        prepare(t, from);
        wake(t); /* something may be there already */
}

void digest_end(struct digest_task *t) {
        struct digester *d = t->digester;
        LOCK_SCOPE(&d->lock);

        if (t->state == DIGEST_QUEUED) {
                unlink_queued(d, t);
                d->busy--;
        }
        if (t->state == DIGEST_WORKING)
                t->state = DIGEST_LEAVING;
        while (t->state == DIGEST_LEAVING)
                pthread_cond_wait(&d->released, &d->lock);
        t->state = DIGEST_OUT;
}

void digest_result(const struct digest_task *t, struct digest *ret) {
        sha256_final(&t->hash, ret);
}

/* Waits for work and takes it: how many pieces have a task now; 0: the end. */
static unsigned take(struct digester *d, struct piece pieces[static LANES_MAX]) {
        LOCK_SCOPE(&d->lock);
        unsigned n = 0;

        while (!d->stopping && (!d->queue || enough(d, d->awake - 1))) {
                d->awake--;
                pthread_cond_wait(&d->work, &d->lock);
                d->awake++;
        }
        for (unsigned lanes = sha256_lanes(); d->queue && n < lanes; n++) {
                struct digest_task *t = d->queue;

                unlink_queued(d, t);
                t->state = DIGEST_WORKING;
                t->again = false;
                pieces[n] = (struct piece){ .task = t };
        }
        return n;
}

/*
 * What the task's window has for this turn. One that has failed has nothing any more; its owner is told by
 * the window itself. Turns end at a block's end as far as possible: what is in step with the blocks is read
 * where it lies and hashed in two lanes to its end.
 */
static bool look(struct piece *p) {
        if (window_try_read(p->task->window, WINDOW_DIGEST, &p->data, &p->len, NULL) != WINDOW_DATA)
                p->len = 0;
        if (p->len > SLICE)
                p->len = SLICE;
        size_t beyond = (p->task->hash.len + p->len) % SHA256_BLOCK;
        if (p->len > beyond)
                p->len -= beyond;
        return p->len > 0;
}

static void consume(struct piece *p) {
        if (p->task->verified)
                *p->task->verified = p->task->hash.len;
        if (window_consume(p->task->window, WINDOW_DIGEST, p->len) && p->task->edge)
                p->task->edge(p->task->edge_data, &p->task->hash);
}

static void hash_one(struct digester *d, struct piece *p) {
        sha256_update(&p->task->hash, p->data, p->len);
        d->hashed[0] += p->len;
        consume(p);
}

static void hash_two(struct digester *d, struct piece *a, struct piece *b) {
        a->len = b->len = a->len < b->len ? a->len : b->len;
        sha256_update_two(&a->task->hash, a->data, &b->task->hash, b->data, a->len);
        d->hashed[1] += 2 * a->len;
        consume(a);
        consume(b);
}

static void hash(struct digester *d, struct piece *pieces, unsigned n) {
        struct piece *with[LANES_MAX];
        unsigned k = 0;

        for (unsigned i = 0; i < n; i++)
                if (look(&pieces[i]))
                        with[k++] = &pieces[i];
        if (k == 2)
                hash_two(d, with[0], with[1]);
        else if (k == 1)
                hash_one(d, with[0]);
}

/* The end of a turn. */
static void put_back(struct digester *d, const struct piece *p) {
        LOCK_SCOPE(&d->lock);
        struct digest_task *t = p->task;

        if (t->state != DIGEST_LEAVING && (p->len > 0 || t->again)) {
                enqueue(d, t);
                return;
        }
        d->busy--;
        if (t->state == DIGEST_LEAVING) {
                t->state = DIGEST_OUT;
                pthread_cond_broadcast(&d->released);
        } else {
                t->state = DIGEST_IDLE;
        }
}

static void *digester_main(void *userdata) {
        struct digester *d = userdata;
        struct piece pieces[LANES_MAX];
        unsigned n;

        (void)pthread_setname_np(pthread_self(), "digest");
        while ((n = take(d, pieces)) > 0) {
                hash(d, pieces, n);
                for (unsigned i = 0; i < n; i++)
                        put_back(d, &pieces[i]);
        }
        return NULL;
}

int digester_new(struct digester **ret, unsigned threads, struct error *e) {
        _cleanup_(digester_freep) struct digester *d = calloc(1, sizeof *d + threads * sizeof *d->threads);

        if (!d)
                return error_errno(e, ENOMEM, "start the digester");
        d->queue_end = &d->queue;
        d->awake = threads; /* they look for work before they wait */
        pthread_mutex_init(&d->lock, NULL);
        pthread_cond_init(&d->work, NULL);
        pthread_cond_init(&d->released, NULL);
        while (d->n_threads < threads) {
                int r = pthread_create(&d->threads[d->n_threads], NULL, digester_main, d);

                if (r != 0)
                        return error_errno(e, r, "start a thread of the digester");
                d->n_threads++;
        }
        *ret = take_ptr(d);
        return 0;
}

static void stop(struct digester *d) {
        LOCK_SCOPE(&d->lock);

        assert(d->busy == 0);
        d->stopping = true;
        pthread_cond_broadcast(&d->work);
}

void digester_free(struct digester *d) {
        if (!d)
                return;
        stop(d);
        for (unsigned i = 0; i < d->n_threads; i++)
                pthread_join(d->threads[i], NULL);
        pthread_cond_destroy(&d->released);
        pthread_cond_destroy(&d->work);
        pthread_mutex_destroy(&d->lock);
        free(d);
}

uint64_t digester_hashed(const struct digester *d, unsigned lanes) {
        return d->hashed[lanes - 1];
}
