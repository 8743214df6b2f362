/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's threads and its queue. A transfer waits in the queue until one of ENGINE_BLOB_THREADS is free;
 * more would only share the same cores, connections and memory in smaller pieces.
 *
 *   engine_start --> queued --> running on a blob thread --> done() --> transfer_free() by its owner
 *                       \-- cancelled --> bury_main() ------^
 *
 * One that is cancelled while it is queued ends at once, on a thread that does nothing else. When the engine
 * stops, what runs is cancelled, and the blob threads take what is queued and cancel it: done() runs for
 * each.
 *
 * From done() on the transfer belongs to its owner, who may free it there and then: no thread of the engine
 * touches it after that. Whoever cancels it, or says that it is urgent, keeps it from being freed meanwhile.
 */
#include "stager/engine.h"

#include "base/cpu.h"
#include "stager/transfer.h"

#include <assert.h>
#include <string.h>

/* Ends the wait for data and the wait for a registry's answer. */
static void cancel(struct transfer *t) {
        window_cancel(&t->window);
        oci_blob_cancel(t->order.source);
}

/* Unlinks the transfer that @link leads to. Lock held. */
static struct transfer *unlink_queued(struct engine *g, struct transfer **link) {
        struct transfer *t = *link;

        *link = t->next;
        if (!t->next)
                g->queue_end = link;
        t->next = NULL;
        return t;
}

/* Transfers of @group that run. Lock held. */
static unsigned running_of(const struct engine *g, uint64_t group) {
        unsigned n = 0;

        for (unsigned i = 0; i < ENGINE_BLOB_THREADS; i++)
                n += group != 0 && g->running[i] && g->running[i]->order.group == group;
        return n;
}

/* Whose turn it is: a volume's, for which the last thread is kept; then the job's that has the fewest at
 * work; then the one's that came first. NULL: nobody's. Lock held. */
static struct transfer **next_queued(struct engine *g) {
        struct transfer **best = NULL;
        unsigned n_warm = 0;

        for (unsigned i = 0; i < ENGINE_BLOB_THREADS; i++)
                n_warm += g->running[i] && !g->running[i]->fetch.urgent;
        for (struct transfer **link = &g->queue; *link; link = &(*link)->next) {
                const struct transfer *t = *link, *b = best ? *best : NULL;

                if (!t->fetch.urgent && n_warm >= ENGINE_WARM_THREADS && !g->stopping)
                        continue;
                if (!b || t->fetch.urgent > b->fetch.urgent ||
                    (t->fetch.urgent == b->fetch.urgent &&
                     running_of(g, t->order.group) < running_of(g, b->order.group)))
                        best = link;
        }
        return best;
}

static struct transfer *take_next(struct engine *g, unsigned place) {
        struct transfer **link;
        LOCK_SCOPE(&g->lock);

        while (!(link = next_queued(g)) && !g->stopping)
                pthread_cond_wait(&g->queued, &g->lock);
        if (!link)
                return NULL;
        struct transfer *t = unlink_queued(g, link);
        g->running[place] = t;
        t->started = true;
        if (g->stopping)
                cancel(t);
        return t;
}

/* One that was cancelled while it waited. It does not wait for a blob thread to say so. */
static struct transfer *take_cancelled(struct engine *g) {
        LOCK_SCOPE(&g->lock);

        while (!g->stopping) {
                for (struct transfer **link = &g->queue; *link; link = &(*link)->next)
                        if (window_check(&(*link)->window, NULL) < 0)
                                return unlink_queued(g, link);
                pthread_cond_wait(&g->queued, &g->lock);
        }
        return NULL;
}

/* Before done(), after which stop() must not touch it. */
static void leave(struct engine *g, unsigned place) {
        LOCK_SCOPE(&g->lock);
        g->running[place] = NULL;
        pthread_cond_broadcast(&g->queued); /* what waits may run now */
}

struct blob_thread {
        struct engine *engine;
        unsigned place;
};

static void *blob_main(void *userdata) {
        struct blob_thread *b = userdata;
        struct engine *g = b->engine;
        unsigned place = b->place;
        struct transfer *t;

        (void)pthread_setname_np(pthread_self(), "blob");
        free(b);
        while ((t = take_next(g, place))) {
                struct transfer_result result = { .bytes = 0 };
                struct error e = { .kind = ERROR_NONE };
                int r = transfer_run(t, &result, &e);

                leave(g, place);
                t->done(t->order.userdata, r, &result, &e);
        }
        return NULL;
}

static void *bury_main(void *userdata) {
        struct engine *g = userdata;
        struct transfer *t;

        (void)pthread_setname_np(pthread_self(), "bury");
        while ((t = take_cancelled(g))) {
                const struct transfer_result none = { .bytes = 0 };
                struct error e;
                int r = window_check(&t->window, &e);

                t->done(t->order.userdata, r, &none, &e);
        }
        return NULL;
}

static int start_threads(struct engine *g, struct error *e) {
        int r = 0;

        while (r == 0 && g->n_threads < ENGINE_BLOB_THREADS) {
                struct blob_thread *b = malloc(sizeof *b);

                if (!b)
                        return error_errno(e, ENOMEM, "start the engine");
                *b = (struct blob_thread){ g, g->n_threads };
                r = pthread_create(&g->threads[g->n_threads], NULL, blob_main, b);
                if (r != 0)
                        free(b);
                else
                        g->n_threads++;
        }
        if (r == 0)
                r = pthread_create(&g->threads[g->n_threads], NULL, bury_main, g);
        if (r != 0)
                return error_errno(e, r, "start a thread of the engine");
        g->n_threads++;
        return 0;
}

static unsigned decode_threads(const struct settings *s, unsigned cpus) {
        if (s->engine.decode_threads)
                return s->engine.decode_threads;
        return cpus < DECODE_THREADS_AUTO ? cpus : DECODE_THREADS_AUTO;
}

int engine_new(struct engine **ret, const struct settings *s, struct error *e) {
        _cleanup_(engine_freep) struct engine *g = calloc(1, sizeof *g);

        if (!g)
                return error_errno(e, ENOMEM, "start the engine");
        pthread_mutex_init(&g->lock, NULL);
        pthread_cond_init(&g->queued, NULL);
        g->queue_end = &g->queue;
        g->direct = !s->engine.write || strcmp(s->engine.write, "buffered") != 0;
        int r = arena_new(&g->arena, s->engine.memory, ENGINE_BLOB_THREADS, e);
        if (r < 0)
                return r;
        g->hosts = hosts_new();
        if (!g->hosts)
                return error_errno(e, ENOMEM, "start the engine");
        r = reactor_new(&g->reactor, s, g->arena, g->hosts, e);
        if (r < 0)
                return r;
        unsigned cpus = cpu_count("");
        r = digester_new(&g->digester, digester_threads(cpus, ENGINE_BLOB_THREADS), e);
        if (r < 0)
                return r;
        r = decode_pool_new(&g->decoders, decode_threads(s, cpus), e);
        if (r < 0)
                return r;
        r = start_threads(g, e);
        if (r < 0)
                return r;
        *ret = take_ptr(g);
        return 0;
}

static void stop(struct engine *g) {
        LOCK_SCOPE(&g->lock);

        g->stopping = true;
        for (unsigned i = 0; i < ENGINE_BLOB_THREADS; i++)
                if (g->running[i])
                        cancel(g->running[i]);
        pthread_cond_broadcast(&g->queued);
}

void engine_free(struct engine *g) {
        if (!g)
                return;
        stop(g);
        for (unsigned i = 0; i < g->n_threads; i++)
                pthread_join(g->threads[i], NULL);
        decode_pool_free(g->decoders);
        digester_free(g->digester);
        reactor_free(g->reactor);
        arena_free(g->arena);
        hosts_unref(g->hosts);
        pthread_cond_destroy(&g->queued);
        pthread_mutex_destroy(&g->lock);
        free(g);
}

const char *engine_io(const struct engine *g) {
        return reactor_io(g->reactor);
}

int64_t engine_silent_ms(const struct engine *g) {
        return reactor_silent_ms(g->reactor);
}

struct hosts *engine_hosts(struct engine *g) {
        return g->hosts;
}

static void enqueue(struct engine *g, struct transfer *t) {
        LOCK_SCOPE(&g->lock);

        assert(!g->stopping);
        *g->queue_end = t;
        g->queue_end = &t->next;
        pthread_cond_broadcast(&g->queued); /* one thread looks for something else */
}

int engine_start(struct transfer **ret, struct engine *g, const struct transfer_order *order,
                 transfer_done *done, struct error *e) {
        struct transfer *t = calloc(1, sizeof *t);

        if (!t)
                return error_errno(e, ENOMEM, "start a transfer");
        t->engine = g;
        t->order = *order;
        t->done = done;
        if (window_init(&t->window, g->arena) < 0) {
                free(t);
                return error_errno(e, ENOMEM, "start a transfer");
        }
        digest_task_init(&t->digest, g->digester, &t->window, &t->verified);
        regions_init(&t->regions);
        fetch_init(&t->fetch, g->arena, &t->window, &t->regions, order->source, order->size);
        t->fetch.urgent = order->urgent;
        t->fetch.group = order->group;
        t->placer = (struct placer){
                .reactor = g->reactor,
                .arena = g->arena,
                .window = &t->window,
                .direct = g->direct,
                .allowed = order->size,
                .grow = order->grow,
                .wrote = order->wrote,
                .userdata = order->userdata,
        };
        placer_init(&t->placer);
        t->spooler = (struct placer){
                .reactor = g->reactor, .arena = g->arena, .direct = g->direct, .allowed = order->size
        };
        placer_init(&t->spooler);
        *ret = t; /* before done() can run */
        enqueue(g, t);
        return 0;
}

void transfer_progress(struct transfer *t, struct transfer_progress *ret) {
        *ret = (struct transfer_progress){
                .done = t->verified,
                .received = t->fetch.received,
                .connections = t->fetch.connections,
                .retries = t->fetch.retries,
                .queued = !t->started,
        };
        fetch_copy_host(&t->fetch, ret->host, sizeof ret->host);
        if (!oci_blob_trouble(t->order.source, ret->trouble, sizeof ret->trouble))
                fetch_copy_trouble(&t->fetch, ret->trouble);
}

void transfer_set_urgent(struct transfer *t) {
        if (atomic_exchange(&t->fetch.urgent, true))
                return;
        {
                LOCK_SCOPE(&t->engine->lock);
                pthread_cond_broadcast(&t->engine->queued); /* there may be a thread for it now */
        }
        reactor_wake(t->engine->reactor);
}

void transfer_cancel(struct transfer *t) {
        cancel(t);
        LOCK_SCOPE(&t->engine->lock);
        pthread_cond_broadcast(&t->engine->queued);
}

void transfer_free(struct transfer *t) {
        if (!t)
                return;
        placer_destroy(&t->placer);
        placer_destroy(&t->spooler);
        fetch_destroy(&t->fetch);
        regions_destroy(&t->regions);
        window_destroy(&t->window);
        free(t);
}
