/* SPDX-License-Identifier: Apache-2.0 */
/* Idle threads do not wait in this test: their ten seconds are over at once. */
/* WRAP: pthread_cond_timedwait pthread_create */
#include "base/rpc_workers.h"
#include "tests/unit/test.h"

#include "base/cleanup.h"

#include <stdatomic.h>

static atomic_bool impatient, no_threads;

int __real_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until) {
        return impatient ? ETIMEDOUT : __real_pthread_cond_timedwait(c, m, until);
}

int __real_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*main)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*main)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*main)(void *), void *arg) {
        return no_threads ? EAGAIN : __real_pthread_create(t, attr, main, arg);
}

#define N 40

struct job {
        struct rpc_work work;
        struct gate *gate;
};

struct gate {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned n_inside, n_done;
        bool open;
};

static void pass(struct rpc_work *work) {
        struct gate *g = ((struct job *)work)->gate; /* work is its first member */
        LOCK_SCOPE(&g->lock);

        g->n_inside++;
        pthread_cond_broadcast(&g->changed);
        while (!g->open)
                pthread_cond_wait(&g->changed, &g->lock);
        g->n_done++;
        pthread_cond_broadcast(&g->changed);
}

static void wait_for(struct gate *g, const unsigned *counter, unsigned n) {
        LOCK_SCOPE(&g->lock);

        while (*counter < n)
                pthread_cond_wait(&g->changed, &g->lock);
}

static void gate_open(struct gate *g) {
        LOCK_SCOPE(&g->lock);

        g->open = true;
        pthread_cond_broadcast(&g->changed);
}

static void test_work_never_waits_for_other_work(void **state) {
        struct gate g = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
        struct rpc_workers w;
        static struct job jobs[N];

        (void)state;
        rpc_workers_init(&w);
        for (unsigned i = 0; i < N; i++) {
                jobs[i] = (struct job){ .work.run = pass, .gate = &g };
                assert_int_equal(rpc_workers_add(&w, &jobs[i].work), 0);
        }
        wait_for(&g, &g.n_inside, N); /* all at once; for ever if one were behind another */
        gate_open(&g);
        rpc_workers_stop(&w);
        assert_int_equal(g.n_done, N);
}

static void test_idle_threads_are_used_again(void **state) {
        struct gate g = { .lock = PTHREAD_MUTEX_INITIALIZER,
                          .changed = PTHREAD_COND_INITIALIZER,
                          .open = true };
        struct rpc_workers w;
        static struct job jobs[N];

        (void)state;
        rpc_workers_init(&w);
        for (unsigned i = 0; i < N; i++) {
                jobs[i] = (struct job){ .work.run = pass, .gate = &g };
                assert_int_equal(rpc_workers_add(&w, &jobs[i].work), 0);
                wait_for(&g, &g.n_done, i + 1);
        }
        pthread_mutex_lock(&w.lock);
        assert_true(w.n_threads < N);
        pthread_mutex_unlock(&w.lock);
        rpc_workers_stop(&w);
}

static void test_threads_that_were_idle_leave(void **state) {
        struct gate g = { .lock = PTHREAD_MUTEX_INITIALIZER,
                          .changed = PTHREAD_COND_INITIALIZER,
                          .open = true };
        struct rpc_workers w;
        static struct job jobs[N];

        (void)state;
        impatient = true;
        rpc_workers_init(&w);
        for (unsigned i = 0; i < N; i++) {
                jobs[i] = (struct job){ .work.run = pass, .gate = &g };
                assert_int_equal(rpc_workers_add(&w, &jobs[i].work), 0);
        }
        wait_for(&g, &g.n_done, N);
        pthread_mutex_lock(&w.lock);
        while (w.n_threads > 0) /* each says so when it leaves */
                pthread_cond_wait(&w.changed, &w.lock);
        pthread_mutex_unlock(&w.lock);

        struct job late = { .work.run = pass, .gate = &g };
        assert_int_equal(rpc_workers_add(&w, &late.work), 0);
        wait_for(&g, &g.n_done, N + 1);
        rpc_workers_stop(&w);
        impatient = false;
}

static void test_work_without_a_thread_is_not_taken(void **state) {
        struct gate g = { .lock = PTHREAD_MUTEX_INITIALIZER,
                          .changed = PTHREAD_COND_INITIALIZER,
                          .open = true };
        struct rpc_workers w;
        struct job job = { .work.run = pass, .gate = &g };

        (void)state;
        rpc_workers_init(&w);
        no_threads = true;
        assert_int_equal(rpc_workers_add(&w, &job.work), -EAGAIN);
        no_threads = false;
        assert_int_equal(g.n_done, 0);
        assert_int_equal(rpc_workers_add(&w, &job.work), 0);
        rpc_workers_stop(&w);
        assert_int_equal(g.n_done, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_work_never_waits_for_other_work),
                cmocka_unit_test(test_idle_threads_are_used_again),
                cmocka_unit_test(test_threads_that_were_idle_leave),
                cmocka_unit_test(test_work_without_a_thread_is_not_taken),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
