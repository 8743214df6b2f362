/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place: files from open to close, and the space that they may take. How bytes get into them is in
 * place_write.c.
 *
 *   open  -> ended (place_end) -> closed (its last write is done)
 *
 * Files are closed on the blob thread only; the reactor counts the writes down. After the reactor has counted
 * the last one it does not touch the file or the placer any more. A file system that refuses O_DIRECT at open
 * gets plain writes. Small files never see a segment: the blob thread writes and closes them at once. A file
 * that is written straight from the window (place_open_straight) stays open until all that was expected has
 * come.
 */
#include "stager/place_file.h"

#include "base/log.h"
#include "base/path.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#define MAX_OPEN 32u /* files with writes under way */

void placer_init(struct placer *p) {
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->changed, NULL);
        p->queue_end = &p->queue;
}

static void wait_written(const struct place_file *f) {
        struct placer *p = f->placer;

        placer_submit(p);
        LOCK_SCOPE(&p->lock);
        while (f->pending > 0)
                pthread_cond_wait(&p->changed, &p->lock);
}

/* All its writes are done. */
static void file_free(struct place_file *f) {
        struct placer *p = f->placer;
        struct place_file **link = &p->files;

        while (*link != f)
                link = &(*link)->next;
        *link = f->next;
        p->n_files--;
        if (f->cur)
                arena_unref(p->arena, f->cur);
        close(f->fd);
        free(f);
}

static void close_all(struct placer *p) {
        while (p->files) {
                wait_written(p->files);
                file_free(p->files);
        }
}

void placer_destroy(struct placer *p) {
        close_all(p);
        pthread_cond_destroy(&p->changed);
        pthread_mutex_destroy(&p->lock);
}

void placer_restart(struct placer *p) {
        close_all(p);
        LOCK_SCOPE(&p->lock);
        p->claimed = 0;
        p->written = 0;
        p->error.kind = ERROR_NONE;
}

/* May @bytes more be placed? Asks in large steps, so that small members do not ask each time. */
static int claim(struct placer *p, uint64_t bytes, struct error *e) {
        if (bytes > UINT64_MAX / 4 - p->claimed)
                return error_set(e, ERROR_INVALID, "the archive unpacks to more bytes than a disk can have");
        uint64_t want = p->claimed + bytes;

        if (want > p->allowed) {
                uint64_t more = (want - p->allowed + PLACE_GROW_STEP - 1) / PLACE_GROW_STEP * PLACE_GROW_STEP;

                placer_submit(p); /* grow() may take its time */
                int r = p->grow ? p->grow(p->userdata, more, e) : 0;

                if (r < 0)
                        return r;
                p->allowed += more;
        }
        p->claimed = want;
        return 0;
}

int place_claim_to(const struct place_file *f, uint64_t from, uint64_t end, struct error *e) {
        if (from < f->granted)
                from = f->granted;
        return f->claimed || end <= from ? 0 : claim(f->placer, end - from, e);
}

/* ext4 leaves a direct write that needs new blocks or a new size to a worker, one at a time for a file. */
int place_allocate(struct place_file *f, uint64_t upto, struct error *e) {
        while (f->allocate && f->allocated < upto && f->allocated < f->size) {
                uint64_t left = f->size - f->allocated;
                uint64_t n = left < PLACE_GROW_STEP ? left : PLACE_GROW_STEP;
                int r = place_claim_to(f, f->reached, f->allocated + n, e);

                if (r < 0)
                        return r;
                f->granted = f->allocated + n;
                if (fallocate(f->fd, 0, (off_t)f->allocated, (off_t)n) == 0) {
                        f->allocated += n;
                        continue;
                }
                if (errno == EINTR)
                        continue;
                if (errno == ENOSPC || errno == EDQUOT)
                        return error_errno(e, errno, "allocate %" PRIu64 " bytes in the cache", f->size);
                f->allocate = false; /* the file system cannot; it works without */
        }
        return 0;
}

void placer_report(struct placer *p, uint64_t bytes) {
        uint64_t news = 0;

        {
                LOCK_SCOPE(&p->lock);
                p->written += bytes;
                if (p->written > p->reported) {
                        news = p->written - p->reported;
                        p->reported = p->written;
                }
        }
        if (news > 0 && p->wrote)
                p->wrote(p->userdata, news);
}

int placer_failed(struct placer *p, struct error *e) {
        LOCK_SCOPE(&p->lock);
        return p->error.kind == ERROR_NONE ? 0 : error_copy(e, &p->error);
}

/* @make: a new one, else it has to be there. */
static int open_name(bool *ret_direct, bool make, int parent_fd, const char *name, struct error *e) {
        int flags = O_WRONLY | O_NOFOLLOW | O_CLOEXEC | (make ? O_CREAT | O_EXCL : 0);

        if (*ret_direct) {
                int fd = openat(parent_fd, name, flags | O_DIRECT, 0600);

                if (fd >= 0)
                        return fd;
                if (errno != EINVAL && errno != EOPNOTSUPP)
                        return path_make_failed(parent_fd, errno, e, "create %s", name);
                log_info("The file system has no direct writes; writing through the page cache");
                if (make)
                        (void)unlinkat(parent_fd, name, 0); /* made before it was refused */
                *ret_direct = false;
        }
        int fd = openat(parent_fd, name, flags, 0600);
        return fd < 0 ? path_make_failed(parent_fd, errno, e, "create %s", name) : fd;
}

static bool wants_direct(struct placer *p) {
        LOCK_SCOPE(&p->lock);
        return p->direct;
}

static void forget_direct(struct placer *p) {
        LOCK_SCOPE(&p->lock);
        p->direct = false;
}

static int open_file(struct place_file **ret, struct placer *p, int parent_fd, const char *name,
                     const struct place_file *as, struct error *e) {
        bool direct = as->large && wants_direct(p), asked = direct;
        int fd = open_name(&direct, !as->kept, parent_fd, name, e);

        if (fd < 0)
                return fd;
        if (asked && !direct)
                forget_direct(p);
        struct place_file *f = malloc(sizeof *f);
        if (!f) {
                close(fd);
                return error_errno(e, ENOMEM, "create %s", name);
        }
        *f = *as;
        f->placer = p;
        f->fd = fd;
        f->next = p->files;
        p->files = f;
        p->n_files++;
        *ret = f;
        return 0;
}

static void on_synced(struct ring_op *op, int result) {
        struct place_file *f = op->owner;
        struct placer *p = f->placer;
        LOCK_SCOPE(&p->lock);

        if (result < 0 && p->error.kind == ERROR_NONE)
                error_errno(&p->error, result, "flush a file to the cache's disk");
        if (--f->pending == 0)
                pthread_cond_signal(&p->changed);
}

static int file_sync(struct place_file *f, struct error *e) {
        f->sync = (struct disk_op){ .op = { .done = on_synced, .owner = f }, .sync = true, .fd = f->fd };
        {
                LOCK_SCOPE(&f->placer->lock);
                f->pending++;
        }
        disk_submit(f->placer->reactor, &f->sync);
        wait_written(f);
        return placer_failed(f->placer, e);
}

/* Most files have the right size already; to set it is a transaction of the file system. */
static bool has_size(const struct place_file *f) {
        return (f->extent > f->allocated ? f->extent : f->allocated) == f->end.size;
}

/* Size, mode, time, and the disk if that is wanted; the file is freed in any case. */
static int file_close(struct place_file *f, struct error *e) {
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, f->end.mtime };
        int r = 0;

        if (!has_size(f) && ftruncate(f->fd, (off_t)f->end.size) < 0)
                r = error_errno(e, errno, "set the size of a file");
        else if (fchmod(f->fd, f->end.mode) < 0)
                r = error_errno(e, errno, "set the mode of a file");
        else if (futimens(f->fd, times) < 0)
                r = error_errno(e, errno, "set the time of a file");
        else if (f->end.sync)
                r = file_sync(f, e);
        file_free(f);
        return r;
}

/* Closes the ended files whose writes are done. */
static int reap(struct placer *p, struct error *e) {
        int r = placer_failed(p, e);

        for (struct place_file *f = p->files, *next; f && r == 0; f = next) {
                bool done;

                next = f->next;
                {
                        LOCK_SCOPE(&p->lock);
                        done = (f->ended || f->abandoned) && f->pending == 0 && f->awaited == 0;
                }
                if (done && f->abandoned)
                        file_free(f);
                else if (done)
                        r = file_close(f, e);
        }
        return r;
}

/* The oldest one that only its writes keep open, or NULL. */
static const struct place_file *oldest_ended(const struct placer *p) {
        const struct place_file *oldest = NULL;

        for (const struct place_file *f = p->files; f; f = f->next)
                if (f->ended && !f->claimed)
                        oldest = f;
        return oldest;
}

int place_open(struct place_file **ret, struct placer *p, int parent_fd, const char *name, uint64_t size,
               bool sparse, struct error *e) {
        int r = reap(p, e);

        if (r < 0)
                return r;
        const struct place_file *oldest = p->n_files >= MAX_OPEN ? oldest_ended(p) : NULL;
        if (oldest) {
                wait_written(oldest);
                r = reap(p, e);
                if (r < 0)
                        return r;
        }
        bool large = p->reactor && size >= PLACE_SMALL;
        return open_file(ret, p, parent_fd, name,
                         &(struct place_file){ .size = size, .large = large, .allocate = large && !sparse },
                         e);
}

int place_end(struct place_file *f, const struct place_end *end, struct error *e) {
        f->end = *end;
        f->ended = true;
        if (f->cur)
                place_flush(f);
        return f->large ? placer_failed(f->placer, e) : file_close(f, e);
}

int placer_drain(struct placer *p, struct error *e) {
        for (struct place_file *f = p->files; f; f = f->next)
                wait_written(f);
        int r = reap(p, e);
        for (const struct place_file *f = p->files; f && r == 0; f = f->next)
                assert(!f->ended); /* it would be incomplete, and nobody would know */
        return r;
}

/* It may have been left longer than it is going to be. */
static int cut_kept(const struct place_file *f, struct error *e) {
        struct stat st;

        if (fstat(f->fd, &st) < 0)
                return error_errno(e, errno, "look at what was kept of a file");
        if ((uint64_t)st.st_size > f->size && ftruncate(f->fd, (off_t)f->size) < 0)
                return error_errno(e, errno, "set the size of a file");
        return 0;
}

/* All of it is claimed and allocated at once. */
static int open_claimed(struct place_file **ret, struct placer *p, int parent_fd, const char *name,
                        const struct place_file *as, struct error *e) {
        struct place_file *f;
        int r = reap(p, e);

        if (r == 0)
                r = claim(p, as->size, e);
        if (r < 0)
                return r;
        r = open_file(&f, p, parent_fd, name, as, e);
        if (r < 0)
                return r;
        r = as->kept ? cut_kept(f, e) : 0;
        if (r == 0)
                r = place_allocate(f, as->size, e);
        if (r < 0)
                return r; /* placer_restart() closes it */
        *ret = f;
        return 0;
}

int place_open_straight(struct place_file **ret, struct placer *p, int parent_fd, const char *name,
                        uint64_t size, struct error *e) {
        const struct place_file as = { .size = size, .large = true, .allocate = true, .claimed = true };

        return open_claimed(ret, p, parent_fd, name, &as, e);
}

int place_open_kept(struct place_file **ret, struct placer *p, int parent_fd, const char *name, uint64_t size,
                    uint64_t kept, struct error *e) {
        bool large = p->reactor && size >= PLACE_SMALL;
        const struct place_file as = { .size = size,
                                       .large = large,
                                       .allocate = large,
                                       .claimed = true,
                                       .kept = true,
                                       .reached = kept };

        return open_claimed(ret, p, parent_fd, name, &as, e);
}

int placer_keep(struct placer *p, uint64_t bytes, struct error *e) {
        return claim(p, bytes, e);
}

void placer_had(struct placer *p, uint64_t bytes) {
        placer_report(p, bytes);
}

void placer_again(struct placer *p, uint64_t bytes) {
        LOCK_SCOPE(&p->lock);
        p->written -= bytes < p->written ? bytes : p->written;
}

uint64_t place_size(const struct place_file *f) {
        return f->size;
}

void place_expect(struct place_file *f, uint64_t bytes) {
        LOCK_SCOPE(&f->placer->lock);
        f->awaited += bytes;
}

void place_abandon(struct place_file *f) {
        f->placer->claimed -= f->size;
        f->abandoned = true;
}
