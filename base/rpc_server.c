/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life cycle of a server and the thread of its completion queue. What happens to one call stands in
 * rpc_call.c, the threads that run handlers in rpc_workers.c, the socket in rpc_listener.c.
 *
 * Threads: the listener accepts, the queue's thread turns events into steps of calls and never runs a
 * handler, workers run handlers. The owner's thread creates, starts and frees.
 */
#include "base/rpc_server.h"

#include "base/rpc_internal.h"
#include "base/rpc_message.h"

#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <stdlib.h>
#include <time.h>

#define DEFAULT_MAX_CALLS 256u /* a node that is drained unpublishes all its pods at once */
#define DEFAULT_MAX_WAITING 256u
#define DEFAULT_MAX_MESSAGE (4u * 1024 * 1024)
#define ARMED_CALLS 4u /* so that a burst does not wait for us */
#define SPARE_STREAMS \
        64u /* beyond the places, so that we refuse what is too much instead of letting it queue */

static char shutdown_tag; /* its address is the tag */

static void on_shutdown(struct rpc_server *s) {
        LOCK_SCOPE(&s->lock);

        s->shutdown_seen = true;
        pthread_cond_broadcast(&s->drained);
}

void rpc_server_call_born(struct rpc_server *s) {
        LOCK_SCOPE(&s->lock);

        s->n_live++;
}

void rpc_server_call_gone(struct rpc_server *s) {
        LOCK_SCOPE(&s->lock);

        if (--s->n_live == 0)
                pthread_cond_broadcast(&s->drained);
}

/* With the lock held. */
static bool server_is_drained(const struct rpc_server *s) {
        return s->shutdown_seen && s->n_live == 0;
}

/* One event, or none for a while; false at the end of the queue. */
static bool queue_next(struct rpc_server *s) {
        gpr_timespec until =
            gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(PULSE_MS, GPR_TIMESPAN));
        grpc_event e = grpc_completion_queue_next(s->cq, until, NULL);

        pulse_beat(&s->pulse);
        if (e.type == GRPC_QUEUE_TIMEOUT)
                return true;
        if (e.type == GRPC_QUEUE_SHUTDOWN)
                return false;
        if (e.tag == &shutdown_tag)
                on_shutdown(s);
        else
                rpc_call_on_event(e.tag, e.success);
        return true;
}

static void *queue_main(void *arg) {
        (void)pthread_setname_np(pthread_self(), "rpc-queue");
        while (queue_next(arg))
                ;
        return NULL;
}

static void on_connection(int fd, void *userdata) {
        struct rpc_server *s = userdata;
        grpc_server_credentials *creds = grpc_insecure_server_credentials_create();

        grpc_server_add_channel_from_fd(s->server, fd, creds); /* closes fd when the time comes */
        grpc_server_credentials_release(creds);
}

static void server_create(struct rpc_server *s) {
        const struct rpc_server_options *o = &s->o;
        grpc_arg args[] = {
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                  .value.integer = (int)o->max_message },
                { .type = GRPC_ARG_INTEGER,
                  .key = (char *)GRPC_ARG_MAX_CONCURRENT_STREAMS,
                  .value.integer = (int)(o->max_calls + o->max_waiting + SPARE_STREAMS) },
                { .type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_CHANNELZ, .value.integer = 0 },
        };

        rpc_library_init(); /* counted; its pair is in rpc_server_free() */
        s->cq = grpc_completion_queue_create_for_next(NULL);
        s->server = grpc_server_create(&(grpc_channel_args){ sizeof args / sizeof *args, args }, NULL);
        grpc_server_register_completion_queue(s->server, s->cq, NULL);
}

int rpc_server_new(struct rpc_server **ret, const struct rpc_server_options *o, struct error *e) {
        _cleanup_(rpc_listener_freep) struct rpc_listener *listener = NULL;
        int r = rpc_listener_new(&listener, o->socket_path, e);

        if (r < 0)
                return r;
        struct rpc_server *s = calloc(1, sizeof *s + o->n_services * sizeof *s->services);
        if (!s)
                return error_errno(e, ENOMEM, "cannot serve %s", o->socket_path);
        for (size_t i = 0; i < o->n_services; i++)
                s->services[i] = o->services[i];
        s->o = *o;
        s->o.socket_path = NULL; /* both are the caller's */
        s->o.services = s->services;
        s->o.max_calls = o->max_calls ? o->max_calls : DEFAULT_MAX_CALLS;
        s->o.max_waiting = o->max_waiting ? o->max_waiting : DEFAULT_MAX_WAITING;
        s->o.max_message = o->max_message ? o->max_message : DEFAULT_MAX_MESSAGE;
        s->listener = take_ptr(listener);
        rpc_workers_init(&s->workers);

        pthread_condattr_t attr;
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&s->drained, &attr);
        pthread_condattr_destroy(&attr);
        pthread_mutex_init(&s->lock, NULL);

        server_create(s);
        *ret = s;
        return 0;
}

int rpc_server_start(struct rpc_server *s, struct error *e) {
        grpc_server_start(s->server);
        for (unsigned i = 0; i < ARMED_CALLS; i++)
                if (rpc_call_arm(s) < 0)
                        return error_set(e, ERROR_INTERNAL, "gRPC takes no calls: out of memory");

        pulse_beat(&s->pulse);
        int r = pthread_create(&s->thread, NULL, queue_main, s);
        if (r)
                return error_errno(e, r, "cannot start the thread of gRPC's queue");
        s->running = true;
        return rpc_listener_start(s->listener, on_connection, s, e);
}

int64_t rpc_server_silent_ms(const struct rpc_server *s) {
        return pulse_age_ms(&s->pulse);
}

/* Until all calls are over: by themselves, or cancelled when the grace time has passed. */
static void server_drain(struct rpc_server *s) {
        struct timespec until;
        int r = 0;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += s->o.grace_ms / 1000;
        until.tv_nsec += (long)(s->o.grace_ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000;
        }

        pthread_mutex_lock(&s->lock);
        while (!server_is_drained(s) && r != ETIMEDOUT)
                r = pthread_cond_timedwait(&s->drained, &s->lock, &until);
        bool cancel = !server_is_drained(s);
        pthread_mutex_unlock(&s->lock);
        if (!cancel)
                return;

        grpc_server_cancel_all_calls(s->server); /* not with the lock held */
        pthread_mutex_lock(&s->lock);
        while (!server_is_drained(s))
                pthread_cond_wait(&s->drained, &s->lock);
        pthread_mutex_unlock(&s->lock);
}

/* The order is the contract of the core API: nothing may be started on a queue that was shut down, so first
 * every call has to be gone; and a queue must be empty when it is destroyed. */
void rpc_server_free(struct rpc_server *s) {
        if (!s)
                return;

        rpc_listener_free(s->listener);
        grpc_server_shutdown_and_notify(s->server, s->cq, &shutdown_tag);
        if (s->running)
                server_drain(s);
        else
                while (!server_is_drained(s)) /* never started: this thread is the queue's */
                        queue_next(s);

        rpc_workers_stop(&s->workers);
        grpc_completion_queue_shutdown(s->cq);
        if (s->running)
                pthread_join(s->thread, NULL);
        else
                queue_main(s);
        grpc_server_destroy(s->server);
        grpc_completion_queue_destroy(s->cq);
        grpc_shutdown();

        pthread_cond_destroy(&s->drained);
        pthread_mutex_destroy(&s->lock);
        free(s);
}
