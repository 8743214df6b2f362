/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A socket that curl wants to hear of has a watch. The ring's polls are one-shot:
 *
 *   armed --(the ring's callback)--> ready --(sockets_run: curl works)--> armed again,
 *                                                                         or freed by curl meanwhile
 *
 * The ring's callback only notes that the socket is ready. curl is called from sockets_run() alone, outside
 * of every callback of the ring, because curl in turn arms and cancels polls. curl takes a socket away before
 * it closes it, so a number that comes back at once is a new watch.
 */
#include "stager/sockets.h"

#include "base/text.h"

#include <assert.h>
#include <poll.h>

#define WATCH_MAGIC 0x57415443u

struct watch {
        unsigned magic;
        struct sockets *sockets;
        struct watch *next, **link; /* of all */
        struct watch *next_ready;
        struct ring_op op;
        curl_socket_t fd;
        int want;   /* POLLIN | POLLOUT */
        int events; /* what was seen, while ready */
        bool armed, ready;
};

struct sockets {
        struct ring *ring;
        CURLM *multi;
        struct watch *all;
        struct watch *ready, **ready_end;
        struct watch *current; /* that curl works on; NULL as soon as it is freed */
        int64_t due_ms;        /* of curl's timer; -1: none */
};

static void on_ready(struct ring_op *op, int result) {
        struct watch *w = op->owner;
        struct sockets *s = w->sockets;

        assert(w->magic == WATCH_MAGIC && w->armed && !w->ready);
        w->armed = false;
        w->ready = true;
        w->events = result < 0 ? POLLERR : result;
        w->next_ready = NULL;
        *s->ready_end = w;
        s->ready_end = &w->next_ready;
}

static void arm(struct watch *w) {
        w->armed = true;
        w->op = (struct ring_op){ .done = on_ready, .owner = w };
        ring_poll(w->sockets->ring, &w->op, w->fd, w->want);
}

/* After this the ring does not know the operation any more. */
static void disarm(struct watch *w) {
        if (w->armed)
                ring_poll_cancel(w->sockets->ring, &w->op);
        w->armed = false;
}

static void forget_ready(struct sockets *s, struct watch *w) {
        struct watch **link = &s->ready;

        while (*link && *link != w)
                link = &(*link)->next_ready;
        if (!*link)
                return;
        *link = w->next_ready;
        if (s->ready_end == &w->next_ready)
                s->ready_end = link;
}

static void watch_free(struct watch *w) {
        struct sockets *s = w->sockets;

        disarm(w);
        if (w->ready)
                forget_ready(s, w);
        if (s->current == w)
                s->current = NULL;
        *w->link = w->next;
        if (w->next)
                w->next->link = w->link;
        w->magic = 0;
        free(w);
}

static struct watch *watch_new(struct sockets *s, curl_socket_t fd) {
        struct watch *w = calloc(1, sizeof *w);

        if (!w)
                return NULL;
        *w = (struct watch){ .magic = WATCH_MAGIC, .sockets = s, .fd = fd, .next = s->all, .link = &s->all };
        if (s->all)
                s->all->link = &w->next;
        s->all = w;
        curl_multi_assign(s->multi, fd, w);
        return w;
}

/* curl says what it wants to know about @fd; @socket_data is the watch that it has, or NULL. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_data) {
        struct sockets *s = userdata;
        struct watch *w = socket_data;
        int want = (what & CURL_POLL_IN ? POLLIN : 0) | (what & CURL_POLL_OUT ? POLLOUT : 0);

        (void)easy;
        if (what == CURL_POLL_REMOVE) {
                if (w)
                        watch_free(w);
                curl_multi_assign(s->multi, fd, NULL);
                return 0;
        }
        if (!w)
                w = watch_new(s, fd);
        if (!w)
                return -1;
        if (w->armed && w->want != want)
                disarm(w);
        w->want = want;
        if (want && !w->armed && !w->ready && w != s->current)
                arm(w);
        return 0;
}

/* curl has one timer: when it wants to be called without a socket being ready. */
static int on_timer(CURLM *multi, long timeout_ms, void *userdata) {
        struct sockets *s = userdata;

        (void)multi;
        s->due_ms = timeout_ms < 0 ? -1 : time_monotonic_ms() + timeout_ms;
        return 0;
}

int sockets_new(struct sockets **ret, struct ring *r, unsigned connections, struct error *e) {
        _cleanup_(sockets_freep) struct sockets *s = calloc(1, sizeof *s);

        if (!s)
                return error_errno(e, ENOMEM, "engine sockets");
        s->ring = r;
        s->due_ms = -1;
        s->ready_end = &s->ready;
        s->multi = curl_multi_init();
        if (!s->multi)
                return error_errno(e, ENOMEM, "engine sockets");
        curl_multi_setopt(s->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(s->multi, CURLMOPT_SOCKETDATA, s);
        curl_multi_setopt(s->multi, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(s->multi, CURLMOPT_TIMERDATA, s);
        curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, (long)connections);
        curl_multi_setopt(s->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
        *ret = take_ptr(s);
        return 0;
}

void sockets_free(struct sockets *s) {
        if (!s)
                return;
        if (s->multi)
                curl_multi_cleanup(s->multi); /* still calls on_socket() */
        while (s->all)
                watch_free(s->all);
        free(s);
}

CURLM *sockets_multi(struct sockets *s) {
        return s->multi;
}

int sockets_timeout_ms(const struct sockets *s) {
        if (s->due_ms < 0)
                return -1;
        int64_t left = s->due_ms - time_monotonic_ms();
        return left < 0 ? 0 : left > 3600 * 1000 ? 3600 * 1000 : (int)left;
}

/* curl may free the watch meanwhile; s->current is NULL then. */
static void work_on(struct sockets *s, struct watch *w) {
        int running, mask = 0;

        if (w->events & (POLLIN | POLLHUP))
                mask |= CURL_CSELECT_IN;
        if (w->events & POLLOUT)
                mask |= CURL_CSELECT_OUT;
        if (w->events & (POLLERR | POLLNVAL))
                mask |= CURL_CSELECT_ERR;
        w->ready = false;
        s->current = w;
        curl_multi_socket_action(s->multi, w->fd, mask, &running);
        if (s->current && w->want && !w->armed)
                arm(w);
        s->current = NULL;
}

void sockets_run(struct sockets *s) {
        int running;

        while (s->ready) {
                struct watch *w = s->ready;

                s->ready = w->next_ready;
                if (!s->ready)
                        s->ready_end = &s->ready;
                work_on(s, w);
        }
        if (s->due_ms >= 0 && s->due_ms <= time_monotonic_ms()) {
                s->due_ms = -1; /* curl sets it again from inside if it wants */
                curl_multi_socket_action(s->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        }
}
