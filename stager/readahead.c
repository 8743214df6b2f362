/* SPDX-License-Identifier: Apache-2.0 */
/*
 * readahead: files through the page cache, on a thread that everybody else goes before.
 *
 *   readahead_add ──▶ keys[] ──▶ the thread: list of files, sizes ──▶ memory_look ──▶ readahead_budget
 *                                                                          │
 *        file by file, STEP by STEP:  ask for the next step (fadvise) ◀────┘
 *                                     let this one pass (sendfile to /dev/null), which waits for the disk
 *        every STEP or two, of all files:  go on?  not: stopping, the model is gone, memory is short
 *
 * sendfile() moves references to pages, so nothing is copied, and unlike fadvise() alone it leaves no page
 * out and keeps no more than two steps under way. fadvise() looks at ASK bytes at most on some kernels.
 *
 * `lock` guards the keys; the thread lets go of it while it reads.
 */
#include "stager/readahead.h"

#include "base/log.h"
#include "base/metrics.h"
#include "base/path.h"
#include "base/text.h"
#include "stager/tensors.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

#define STEP ((uint64_t)8 << 20)
#define ASK ((uint64_t)128 << 10)
#define FILE_COST ((uint64_t)512 << 10) /* of STEP: a disk that seeks opens one while it reads so much */
#define SHARE_PERCENT 40                /* of the room that a model may take and still be comfortable */
#define LOW_PERCENT 10                  /* of all memory: less room than that is short */
#define KEYS_MAX 16 /* that wait; of more, the oldest are forgotten: their readers have long started */
#define STACK (1024 << 10)

struct readahead {
        enum readahead_policy policy;
        struct cache *cache; /* the caller's */
        bool has_thread;
        pthread_t thread;
        pthread_mutex_t lock; /* guards what follows */
        pthread_cond_t changed;
        struct digest keys[KEYS_MAX]; /* in the order they came */
        size_t n_keys;
        bool is_reading; /* keys[0] */
        bool stopping;
};

/* ---- decisions ---- */

static uint64_t percent_of(uint64_t whole, unsigned percent) {
        return whole / 100 * percent;
}

uint64_t readahead_budget(enum readahead_policy policy, uint64_t size, const struct memory_room *m) {
        uint64_t keep = percent_of(m->whole, LOW_PERCENT);
        uint64_t room = m->room > keep ? m->room - keep : 0;

        switch (policy) {
        case READAHEAD_AUTO:
                return size < percent_of(m->room, SHARE_PERCENT) && size <= room ? size : 0;
        case READAHEAD_ON:
                return size < room ? size : room;
        default:
                return 0;
        }
}

bool readahead_is_low(const struct memory_room *m) {
        return m->room < percent_of(m->whole, LOW_PERCENT);
}

/* ---- reading ---- */

static void ask_for(int fd, uint64_t pos, uint64_t end) {
        for (; pos < end; pos += ASK)
                (void)posix_fadvise(fd, (off_t)pos, (off_t)(end - pos < ASK ? end - pos : ASK),
                                    POSIX_FADV_WILLNEED);
}

/* What is in memory afterwards: less than @len at the end of the file, or when the disk fails. */
static uint64_t pass(int null_fd, int fd, uint64_t pos, uint64_t len) {
        off_t offset = (off_t)pos;
        uint64_t done = 0;

        while (done < len) {
                ssize_t n = sendfile(null_fd, fd, &offset, (size_t)(len - done));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        break;
                done += (uint64_t)n;
        }
        return done;
}

struct reading {
        const struct readahead_source *source;
        int null_fd;
        uint64_t left;    /* of the budget */
        uint64_t unasked; /* cost of what was read since go_on() was asked */
};

/* May @cost more be read? Then it counts. */
static bool may_go_on(struct reading *r, uint64_t cost) {
        if (r->unasked >= STEP) {
                r->unasked = 0;
                if (!r->source->go_on(r->source->userdata))
                        return false;
        }
        r->unasked += cost;
        return true;
}

/* False: enough, of everything. */
static bool read_file(struct reading *r, const struct cache_file *f) {
        _cleanup_close_ int fd = -1;
        uint64_t size = f->size < r->left ? f->size : r->left;

        if (!may_go_on(r, FILE_COST))
                return false;
        fd = path_open(r->source->dir_fd, f->path, O_RDONLY, 0, NULL);
        for (uint64_t pos = 0; fd >= 0 && pos < size;) {
                uint64_t n = size - pos < STEP ? size - pos : STEP;

                if (!may_go_on(r, n))
                        return false;
                ask_for(fd, pos == 0 ? 0 : pos + n, size - pos - n < STEP ? size : pos + n + STEP);
                uint64_t got = pass(r->null_fd, fd, pos, n);
                r->left -= got;
                pos += got;
                if (got < n)
                        break;
        }
        return r->left > 0;
}

uint64_t readahead_files(const struct readahead_source *s) {
        _cleanup_close_ int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
        struct reading r = { .source = s, .null_fd = null_fd, .left = s->budget, .unasked = STEP };

        if (null_fd < 0)
                return 0;
        for (unsigned pass_of = 0; pass_of < 2; pass_of++)
                for (size_t i = 0; i < s->n_files; i++) {
                        bool has_tensors = tensors_format_of(s->files[i].path) >= 0;

                        if (has_tensors == (pass_of == 0) && s->files[i].size > 0 &&
                            !read_file(&r, &s->files[i]))
                                return s->budget - r.left;
                }
        return s->budget - r.left;
}

/* ---- one model ---- */

struct run {
        struct readahead *readahead;
        const char *path; /* of the model */
        const char *why;  /* it has stopped; NULL: it has not */
};

static bool go_on(void *userdata) {
        struct run *run = userdata;
        struct memory_room m;

        {
                LOCK_SCOPE(&run->readahead->lock);
                if (run->readahead->stopping)
                        run->why = "the daemon is stopping";
        }
        if (!run->why && access(run->path, F_OK) < 0)
                run->why = "the model is gone";
        if (!run->why && (memory_look(&m, "") < 0 || readahead_is_low(&m)))
                run->why = "memory is short";
        return run->why == NULL;
}

static uint64_t size_of(const struct cache_file *files, size_t n) {
        uint64_t size = 0;

        for (size_t i = 0; i < n; i++)
                size += files[i].size;
        return size;
}

static void read_model_files(struct readahead *r, const struct cache_model *model,
                             const struct cache_file *files, size_t n) {
        _cleanup_close_ int dir_fd = open(model->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        uint64_t size = size_of(files, n), budget = 0, got = 0;
        struct run run = { .readahead = r, .path = model->path };
        int64_t since_ms = time_monotonic_ms();
        char text[2][TEXT_SHORT];
        struct memory_room m;

        if (dir_fd < 0)
                return;
        if (memory_look(&m, "") == 0)
                budget = readahead_budget(r->policy, size, &m);
        if (budget > 0)
                got = readahead_files(&(struct readahead_source){ .dir_fd = dir_fd,
                                                                  .files = files,
                                                                  .n_files = n,
                                                                  .budget = budget,
                                                                  .go_on = go_on,
                                                                  .userdata = &run });
        metric_add(READAHEAD_BYTES, (double)got, "read");
        metric_add(READAHEAD_BYTES, (double)(budget - got), "stopped");
        metric_add(READAHEAD_BYTES, (double)(size - budget), "no_room");
        log_debug(STAGE, "%s: read ahead %s of %s in %lld ms%s%s", model->reference,
                  text_format_size(got, text[0]), text_format_size(size, text[1]),
                  (long long)(time_monotonic_ms() - since_ms), run.why ? ": " : "", run.why ? run.why : "");
}

static void read_model(struct readahead *r, const struct digest *key) {
        _cleanup_(cache_model_freep) struct cache_model *model = NULL;
        struct cache_file *files;
        size_t n;

        if (cache_model_find(r->cache, key, &model) < 0 ||
            cache_model_files(r->cache, key, &files, &n, NULL) < 0)
                return; /* gone meanwhile */
        read_model_files(r, model, files, n);
        cache_file_list_free(files, n);
}

/* ---- the thread ---- */

/* The last in the queue of processors and, where the scheduler knows it, of disks. */
static void be_idle(void) {
        const int whose = 1, class_idle = 3 << 13; /* IOPRIO_WHO_PROCESS, IOPRIO_CLASS_IDLE */

        (void)syscall(SYS_ioprio_set, whose, 0, class_idle);
        (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
}

/* False: it is time to stop. */
static bool wait_for_key(struct readahead *r, struct digest *ret) {
        LOCK_SCOPE(&r->lock);
        while (r->n_keys == 0 && !r->stopping)
                pthread_cond_wait(&r->changed, &r->lock);
        if (r->stopping)
                return false;
        r->is_reading = true;
        *ret = r->keys[0];
        return true;
}

static void drop_key(struct readahead *r, size_t i) {
        r->n_keys--;
        memmove(&r->keys[i], &r->keys[i + 1], (r->n_keys - i) * sizeof *r->keys);
}

static void *main_loop(void *userdata) {
        struct readahead *r = userdata;
        struct digest key;

        (void)pthread_setname_np(pthread_self(), "readahead");
        be_idle();
        while (wait_for_key(r, &key)) {
                read_model(r, &key);
                LOCK_SCOPE(&r->lock);
                r->is_reading = false;
                drop_key(r, 0);
        }
        return NULL;
}

void readahead_add(struct readahead *r, const struct digest *key) {
        LOCK_SCOPE(&r->lock);
        if (!r->has_thread)
                return;
        for (size_t i = 0; i < r->n_keys; i++)
                if (digest_equal(&r->keys[i], key))
                        return;
        if (r->n_keys == KEYS_MAX)
                drop_key(r, r->is_reading ? 1 : 0);
        r->keys[r->n_keys++] = *key;
        pthread_cond_signal(&r->changed);
}

static enum readahead_policy policy_of(const struct settings *s) {
        if (strcmp(s->engine.readahead, "off") == 0)
                return READAHEAD_OFF;
        return strcmp(s->engine.readahead, "on") == 0 ? READAHEAD_ON : READAHEAD_AUTO;
}

int readahead_new(struct readahead **ret, const struct settings *s, struct cache *c, struct error *e) {
        struct readahead *r = calloc(1, sizeof *r);
        pthread_attr_t attr;
        int failed = 0;

        if (!r)
                return error_errno(e, ENOMEM, "start reading ahead");
        r->policy = policy_of(s);
        r->cache = c;
        pthread_mutex_init(&r->lock, NULL);
        pthread_cond_init(&r->changed, NULL);
        if (r->policy != READAHEAD_OFF) {
                pthread_attr_init(&attr);
                pthread_attr_setstacksize(&attr, STACK);
                failed = pthread_create(&r->thread, &attr, main_loop, r);
                pthread_attr_destroy(&attr);
                r->has_thread = failed == 0;
        }
        if (failed) {
                readahead_free(r);
                return error_errno(e, failed, "start reading ahead");
        }
        *ret = r;
        return 0;
}

void readahead_free(struct readahead *r) {
        if (!r)
                return;
        {
                LOCK_SCOPE(&r->lock);
                r->stopping = true;
                pthread_cond_signal(&r->changed);
        }
        if (r->has_thread)
                pthread_join(r->thread, NULL);
        pthread_cond_destroy(&r->changed);
        pthread_mutex_destroy(&r->lock);
        free(r);
}
