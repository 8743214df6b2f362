/* SPDX-License-Identifier: Apache-2.0 */
/* WRAP: realloc */
/* Every behaviour of the ring is tested on both backends; those of io_uring are skipped where it is
 * forbidden. */
#include "base/ring_backend.h"
#include "tests/unit/test.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define DEPTH 4
#define BLOCK 4096

struct fixture {
        enum ring_kind kind;
        struct ring *ring;
        int fd;
        char path[64];
};

static bool no_memory;

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_realloc(void *p, size_t size) {
        return no_memory ? NULL : __real_realloc(p, size);
}

/* An operation, and what its callback saw. */
struct watched {
        struct ring_op op;
        int ran, result;
};

static void on_done(struct ring_op *op, int result) {
        struct watched *w = op->owner;

        w->ran++;
        w->result = result;
}

#define WATCHED(w) struct watched w = { .op = { .done = on_done, .owner = &(w) } }

static int setup(void **state) {
        static struct fixture fixtures[3];
        enum ring_kind kind = *(const enum ring_kind *)*state;
        struct fixture *f = &fixtures[kind];
        struct error e = { 0 };

        *f = (struct fixture){ .kind = kind };
        if (ring_open(&f->ring, kind, DEPTH, &e) < 0 && kind == RING_POSIX)
                fail_msg("%s", e.text);
        snprintf(f->path, sizeof f->path, "/var/tmp/modelstage-ring-XXXXXX");
        f->fd = mkostemp(f->path, O_CLOEXEC);
        assert_true(f->fd >= 0);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        struct fixture *f = *state;

        ring_close(f->ring);
        close(f->fd);
        return unlink(f->path);
}

static struct ring *ring_of(struct fixture *f) {
        if (!f->ring)
                skip(); /* io_uring is forbidden here */
        assert_string_equal(ring_backend(f->ring), f->kind == RING_URING ? "uring" : "posix");
        return f->ring;
}

static void run(struct ring *r, const struct watched *w) {
        while (!w->ran)
                assert_true(ring_wait(r, -1) >= 0);
        assert_int_equal(w->ran, 1);
}

static void assert_content(int fd, off_t offset, const char *expected) {
        char text[64] = { 0 };

        assert_int_equal(pread(fd, text, strlen(expected), offset), strlen(expected));
        assert_string_equal(text, expected);
}

/* ---- writes ---- */

static void test_write_lands_at_its_offset(void **state) {
        struct fixture *f = *state;
        struct ring *r = ring_of(f);
        WATCHED(b);
        WATCHED(a);

        ring_write(r, &b.op, f->fd, "world", 5, 6);
        ring_write(r, &a.op, f->fd, "hello ", 6, 0);
        assert_int_equal(a.ran + b.ran, 0); /* never inside a submit call */
        run(r, &a);
        run(r, &b);
        assert_int_equal(a.result, 6);
        assert_int_equal(b.result, 5);
        assert_content(f->fd, 0, "hello world");
}

static void test_more_writes_than_depth_all_land(void **state) {
        struct fixture *f = *state;
        struct ring *r = ring_of(f);
        static struct watched w[50 * DEPTH];
        char text[8], numbers[50 * DEPTH][8];

        for (unsigned i = 0; i < 50 * DEPTH; i++) {
                snprintf(numbers[i], sizeof numbers[i], "%07u", i);
                w[i] = (struct watched){ .op = { .done = on_done, .owner = &w[i] } };
                ring_write(r, &w[i].op, f->fd, numbers[i], 8, 8u * i);
                assert_in_range(r->in_flight, 1, DEPTH);
        }
        for (unsigned i = 0; i < 50 * DEPTH; i++) {
                run(r, &w[i]);
                assert_int_equal(w[i].result, 8);
                assert_int_equal(pread(f->fd, text, 8, 8 * (off_t)i), 8);
                assert_string_equal(text, numbers[i]);
        }
}

static void test_empty_write_is_done(void **state) {
        struct fixture *f = *state;
        struct ring *r = ring_of(f);
        WATCHED(w);

        ring_write(r, &w.op, f->fd, "", 0, 0);
        run(r, &w);
        assert_int_equal(w.result, 0);
}

static void test_failed_operations_give_their_errno(void **state) {
        struct ring *r = ring_of(*state);
        WATCHED(write_op);
        WATCHED(sync_op);
        WATCHED(poll_op);

        ring_write(r, &write_op.op, -1, "x", 1, 0);
        ring_fsync(r, &sync_op.op, 9999);
        ring_poll(r, &poll_op.op, 9999, POLLIN);
        run(r, &write_op);
        run(r, &sync_op);
        run(r, &poll_op);
        assert_int_equal(write_op.result, -EBADF);
        assert_int_equal(sync_op.result, -EBADF);
        assert_int_equal(poll_op.result, -EBADF);
}

static void test_sync_succeeds(void **state) {
        struct fixture *f = *state;
        struct ring *r = ring_of(f);
        WATCHED(w);

        ring_fsync(r, &w.op, f->fd);
        run(r, &w);
        assert_int_equal(w.result, 0);
}

/* The kernel writes up to the limit and returns a short count; only a ring that continues meets the error. */
static void test_short_write_is_continued(void **state) {
        struct fixture *f = *state;
        struct ring *r = ring_of(f);
        struct rlimit old, small;
        struct stat st;
        static char data[4 * BLOCK];
        WATCHED(w);

        signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        small = (struct rlimit){ .rlim_cur = BLOCK, .rlim_max = old.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        ring_write(r, &w.op, f->fd, data, sizeof data, 0);
        run(r, &w);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(w.result, -EFBIG);
        assert_int_equal(fstat(f->fd, &st), 0);
        assert_int_equal(st.st_size, BLOCK);
}

static char *arena_new(size_t size) {
        char *arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_true(arena != MAP_FAILED);
        return arena;
}

/* At the edges of two registered buffers, across their border, and outside of both. */
static void test_writes_from_registered_and_other_memory(void **state) {
        struct fixture *f = *state;
        struct ring *r = ring_of(f);
        char *arena = arena_new(2 * BLOCK);
        const struct iovec buffers[] = { { arena, BLOCK }, { arena + BLOCK, BLOCK } };
        const struct {
                const char *data, *text;
        } cases[] = {
                { arena, "first" },
                { arena + BLOCK - 5, "end 1" },
                { arena + 2 * BLOCK - 5, "end 2" },
                { arena + BLOCK - 2, "cross" },
                { NULL, "other" },
        };

        ring_register(r, buffers, 2);
        for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
                WATCHED(w);

                if (cases[i].data)
                        memcpy((char *)cases[i].data, cases[i].text, 5);
                ring_write(r, &w.op, f->fd, cases[i].data ? cases[i].data : cases[i].text, 5, 10 * i);
                run(r, &w);
                assert_int_equal(w.result, 5);
                assert_content(f->fd, (off_t)(10 * i), cases[i].text);
        }
        munmap(arena, 2 * BLOCK);
}

static void test_direct_write(void **state) {
        struct fixture *f = *state;
        struct ring *r = ring_of(f);
        _cleanup_close_ int fd = open(f->path, O_WRONLY | O_DIRECT | O_CLOEXEC);
        char *arena = arena_new(4 * BLOCK);
        WATCHED(w);

        if (fd < 0)
                skip(); /* a file system without O_DIRECT */
        memcpy(arena + BLOCK, "direct", 6);
        ring_register(r, &(struct iovec){ arena, 4 * BLOCK }, 1);
        ring_write(r, &w.op, fd, arena + BLOCK, BLOCK, 2 * BLOCK);
        run(r, &w);
        assert_int_equal(w.result, BLOCK);
        assert_content(f->fd, 2 * BLOCK, "direct");
        munmap(arena, 4 * BLOCK);
}

/* ---- polls ---- */

static void test_poll_reports_readiness_once(void **state) {
        struct ring *r = ring_of(*state);
        int p[2];
        WATCHED(w);

        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        ring_poll(r, &w.op, p[0], POLLIN);
        assert_int_equal(ring_wait(r, 0), 0);
        assert_int_equal(write(p[1], "x", 1), 1);
        run(r, &w);
        assert_int_equal(w.result, POLLIN);
        assert_int_equal(ring_wait(r, 0), 0); /* still readable, but nobody asked again */

        ring_poll(r, &w.op, p[1], POLLOUT);
        close(p[0]);
        w.ran = 0;
        run(r, &w);
        assert_int_equal(w.result & POLLERR, POLLERR);
        close(p[1]);
}

static void test_cancelled_poll_is_free_at_once(void **state) {
        struct ring *r = ring_of(*state);
        int p[2];
        WATCHED(w);
        WATCHED(again);

        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        ring_poll(r, &w.op, p[0], POLLIN);
        assert_int_equal(ring_wait(r, 0), 0);
        ring_poll_cancel(r, &w.op);
        memset(&w, 0xff, sizeof w); /* whoever touches it now has lost */
        ring_poll(r, &again.op, p[0], POLLIN);
        ring_poll_cancel(r, &again.op); /* before it was ever submitted */
        ring_poll_cancel(r, &again.op); /* not polling: nothing happens */
        assert_int_equal(write(p[1], "x", 1), 1);
        assert_int_equal(ring_wait(r, 0), 0);

        ring_poll(r, &again.op, p[0], POLLIN);
        run(r, &again);
        assert_int_equal(again.result, POLLIN);
        close(p[0]);
        close(p[1]);
}

/* io_uring's answer to the first removal is that the poll is being answered just now; then it finds nothing to
 * read any more, and polls on. */
static void test_poll_whose_readiness_was_taken_away_is_cancelled(void **state) {
        struct ring *r = ring_of(*state);
        int p[2];
        char c;
        WATCHED(w);

        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        ring_poll(r, &w.op, p[0], POLLIN);
        assert_int_equal(ring_wait(r, 0), 0);
        assert_int_equal(write(p[1], "x", 1), 1);
        assert_int_equal(read(p[0], &c, 1), 1);
        ring_poll_cancel(r, &w.op);
        assert_int_equal(ring_wait(r, 0), 0);
        assert_int_equal(w.ran, 0);
        close(p[0]);
        close(p[1]);
}

/* A poll that has fired, but whose callback did not run yet. */
struct rivals {
        struct ring *ring;
        struct ring_op ops[2];
        int ran;
};

static void on_rival(struct ring_op *op, int result) {
        struct rivals *rivals = op->owner;

        (void)result;
        rivals->ran++;
        ring_poll_cancel(rivals->ring, op == &rivals->ops[0] ? &rivals->ops[1] : &rivals->ops[0]);
}

static void test_poll_cancelled_by_another_callback_does_not_run(void **state) {
        struct rivals rivals = { .ring = ring_of(*state) };
        int p[2];

        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        assert_int_equal(write(p[1], "x", 1), 1);
        for (int i = 0; i < 2; i++) {
                rivals.ops[i] = (struct ring_op){ .done = on_rival, .owner = &rivals };
                ring_poll(rivals.ring, &rivals.ops[i], p[0], POLLIN);
        }
        while (!rivals.ran)
                assert_true(ring_wait(rivals.ring, -1) >= 0);
        assert_int_equal(ring_wait(rivals.ring, 0), 0);
        assert_int_equal(rivals.ran, 1);
        close(p[0]);
        close(p[1]);
}

/* Hundreds of them, as many as curl has sockets, and more than the submission queue holds. */
static void test_many_polls_are_told_apart(void **state) {
        struct ring *r = ring_of(*state);
        static struct watched w[300];
        static int pipes[300][2];

        for (unsigned i = 0; i < 300; i++) {
                w[i] = (struct watched){ .op = { .done = on_done, .owner = &w[i] } };
                assert_int_equal(pipe2(pipes[i], O_CLOEXEC), 0);
                ring_poll(r, &w[i].op, pipes[i][0], POLLIN);
        }
        for (unsigned i = 0; i < 300; i += 3)
                assert_int_equal(write(pipes[i][1], "x", 1), 1);
        for (unsigned i = 0; i < 300; i += 3)
                run(r, &w[i]);
        assert_int_equal(ring_wait(r, 0), 0);
        for (unsigned i = 0; i < 300; i++) {
                assert_int_equal(w[i].ran, i % 3 == 0);
                ring_poll_cancel(r, &w[i].op);
                close(pipes[i][0]);
                close(pipes[i][1]);
        }
}

static void test_poll_without_memory_waits_for_it(void **state) {
        struct ring *r = ring_of(*state);
        static struct watched w[40];
        int p[2];

        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        assert_int_equal(write(p[1], "x", 1), 1);
        no_memory = true;
        for (unsigned i = 0; i < 40; i++) {
                w[i] = (struct watched){ .op = { .done = on_done, .owner = &w[i] } };
                ring_poll(r, &w[i].op, i < 39 ? p[1] : p[0], POLLIN);
        }
        for (int i = 0; i < 3; i++)
                assert_true(ring_wait(r, 0) >= 0);
        no_memory = false;
        run(r, &w[39]);
        assert_int_equal(w[39].result, POLLIN);
        for (unsigned i = 0; i < 39; i++) {
                assert_int_equal(w[i].ran, 0);
                ring_poll_cancel(r, &w[i].op);
        }
        close(p[0]);
        close(p[1]);
}

/* ---- waiting ---- */

static void *wake_main(void *arg) {
        ring_wake(arg);
        return NULL;
}

static void test_wake_ends_a_wait(void **state) {
        struct ring *r = ring_of(*state);
        pthread_t thread;

        for (int i = 0; i < 100; i++) { /* before, while and after it sleeps: for ever if one is lost */
                assert_int_equal(pthread_create(&thread, NULL, wake_main, r), 0);
                assert_int_equal(ring_wait(r, -1), 0);
                pthread_join(thread, NULL);
        }
        ring_wake(r);
        ring_wake(r);
        assert_int_equal(ring_wait(r, -1), 0);
}

static void test_wait_without_time_or_work_returns(void **state) {
        struct ring *r = ring_of(*state);

        assert_int_equal(ring_wait(r, 0), 0);
        assert_int_equal(ring_wait(r, 1), 0);
}

struct chain {
        struct ring *ring;
        struct ring_op op;
        int fd, left;
};

static void on_chain(struct ring_op *op, int result) {
        struct chain *c = op->owner;

        assert_int_equal(result, 1);
        if (--c->left > 0)
                ring_write(c->ring, op, c->fd, "x", 1, (uint64_t)c->left);
}

static void test_callback_may_submit_its_operation_again(void **state) {
        struct fixture *f = *state;
        struct chain c = {
                .ring = ring_of(f), .op = { .done = on_chain, .owner = &c }, .fd = f->fd, .left = 20
        };

        ring_write(c.ring, &c.op, f->fd, "x", 1, 0);
        while (c.left > 0)
                assert_true(ring_wait(c.ring, -1) >= 0);
}

static void test_close_drains_writes_and_drops_polls(void **state) {
        struct fixture *f = *state;
        struct ring *r = ring_of(f);
        struct watched w[3 * DEPTH], polls[2];
        int p[2];

        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        assert_int_equal(write(p[1], "x", 1), 1);
        for (int i = 0; i < 2; i++) { /* one is ready, one is not */
                polls[i] = (struct watched){ .op = { .done = on_done, .owner = &polls[i] } };
                ring_poll(r, &polls[i].op, p[i], POLLIN);
        }
        for (int i = 0; i < 3 * DEPTH; i++) {
                w[i] = (struct watched){ .op = { .done = on_done, .owner = &w[i] } };
                ring_write(r, &w[i].op, f->fd, "x", 1, (uint64_t)i);
        }
        ring_close(r);
        f->ring = NULL;
        for (int i = 0; i < 3 * DEPTH; i++)
                assert_int_equal(w[i].ran, 1);
        assert_int_equal(polls[0].ran + polls[1].ran, 0);
        close(p[0]);
        close(p[1]);
}

/* ---- where something is forbidden; each in a child, because it cannot be taken back ---- */

static void assert_child_succeeds(int (*child)(void)) {
        int status;
        pid_t pid = fork();

        if (pid == 0)
                _exit(child());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static int forbid_io_uring(void) {
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { sizeof filter / sizeof *filter, filter };

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

static int child_auto_falls_back(void) {
        _cleanup_close_ int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        struct ring *r = NULL;
        WATCHED(w);

        if (forbid_io_uring() < 0 || ring_open(&r, RING_AUTO, DEPTH, NULL) < 0)
                return 1;
        if (strcmp(ring_backend(r), "posix") != 0)
                return 2;
        ring_write(r, &w.op, fd, "x", 1, 0);
        while (!w.ran)
                if (ring_wait(r, -1) < 0)
                        return 3;
        ring_close(r);
        return w.result == 1 ? 0 : 4;
}

static void test_auto_falls_back_where_seccomp_forbids_io_uring(void **state) {
        (void)state;
        assert_child_succeeds(child_auto_falls_back);
}

static int child_uring_fails(void) {
        struct ring *r = NULL;
        struct error e = { 0 };

        if (forbid_io_uring() < 0 || ring_open(&r, RING_URING, DEPTH, &e) != -EPERM || r)
                return 1;
        return strcmp(e.text, "io_uring is not available: Operation not permitted") == 0 ? 0 : 2;
}

static void test_uring_fails_with_the_reason_where_it_is_forbidden(void **state) {
        (void)state;
        assert_child_succeeds(child_uring_fails);
}

static void drop_ipc_lock(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2];

        if (syscall(SYS_capget, &header, data) < 0)
                _exit(10);
        data[0].effective &= ~(1u << CAP_IPC_LOCK);
        data[0].permitted &= ~(1u << CAP_IPC_LOCK);
        if (syscall(SYS_capset, &header, data) < 0)
                _exit(11);
}

static int child_without_memlock(void) {
        static char arena[1 << 20] __attribute__((aligned(BLOCK)));
        const struct rlimit small = { 256 * 1024, 256 * 1024 }; /* enough for the ring itself */
        struct ring *r = NULL;
        char path[] = "/var/tmp/modelstage-ring-XXXXXX";
        _cleanup_close_ int fd = mkostemp(path, O_CLOEXEC);
        WATCHED(w);

        (void)unlink(path);
        drop_ipc_lock();
        if (setrlimit(RLIMIT_MEMLOCK, &small) < 0 || ring_open(&r, RING_AUTO, DEPTH, NULL) < 0)
                return 1;
        ring_register(r, &(struct iovec){ arena, sizeof arena }, 1);
        ring_write(r, &w.op, fd, arena, sizeof arena, 0);
        while (!w.ran)
                if (ring_wait(r, -1) < 0)
                        return 3;
        ring_close(r);
        return w.result == sizeof arena ? 0 : 4;
}

static void test_writes_go_on_where_memory_cannot_be_registered(void **state) {
        (void)state;
        assert_child_succeeds(child_without_memlock);
}

int main(void) {
        static enum ring_kind uring = RING_URING, posix = RING_POSIX;
        const struct CMUnitTest tests[] = {
#define T(name) \
        { #name " (uring)", name, setup, teardown, &uring }, \
            { #name " (posix)", name, setup, teardown, &posix }
                T(test_write_lands_at_its_offset),
                T(test_more_writes_than_depth_all_land),
                T(test_empty_write_is_done),
                T(test_failed_operations_give_their_errno),
                T(test_sync_succeeds),
                T(test_short_write_is_continued),
                T(test_writes_from_registered_and_other_memory),
                T(test_direct_write),
                T(test_poll_reports_readiness_once),
                T(test_cancelled_poll_is_free_at_once),
                T(test_poll_whose_readiness_was_taken_away_is_cancelled),
                T(test_poll_cancelled_by_another_callback_does_not_run),
                T(test_many_polls_are_told_apart),
                T(test_poll_without_memory_waits_for_it),
                T(test_wake_ends_a_wait),
                T(test_wait_without_time_or_work_returns),
                T(test_callback_may_submit_its_operation_again),
                T(test_close_drains_writes_and_drops_polls),
                cmocka_unit_test(test_auto_falls_back_where_seccomp_forbids_io_uring),
                cmocka_unit_test(test_uring_fails_with_the_reason_where_it_is_forbidden),
                cmocka_unit_test(test_writes_go_on_where_memory_cannot_be_registered),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
