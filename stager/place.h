/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place: a transfer's files on their way to the disk. Large files are written with O_DIRECT through the ring,
 * in aligned segments, several files at once; small ones with pwrite(2). Files appear under their final names
 * below the caller's directory, and are complete and closed once placer_drain() has returned 0.
 *
 *   placer_init -> place_open -> place_write … -> place_end -> … -> placer_drain -> placer_destroy
 *
 * All on the blob thread, but for place_segment(), which the reactor calls.
 */
#pragma once

#include "stager/arena.h"

#include <sys/stat.h>
#include <time.h>

#define PLACE_SMALL ((uint64_t)64 << 10) /* smaller files are not worth a segment */
#define PLACE_GROW_STEP ((uint64_t)64 << 20)

struct reactor;
struct window;

struct placer {
        struct reactor *reactor; /* NULL: every file by pwrite, no arena */
        struct arena *arena;
        struct window *window; /* told when a write fails; may be NULL */
        bool direct;           /* try O_DIRECT; guarded by lock */
        uint64_t allowed;      /* bytes that may be placed without asking grow() */
        int (*grow)(void *userdata, uint64_t bytes, struct error *e);
        void (*wrote)(void *userdata, uint64_t bytes); /* both may be NULL */
        void *userdata;

        uint64_t claimed;         /* bytes placed or about to be */
        struct place_file *files; /* open */
        unsigned n_files;
        struct disk_op *queue, **queue_end; /* writes that placer_submit() sends */
        pthread_mutex_t lock;               /* guards what follows, and pending of the files */
        pthread_cond_t changed;
        uint64_t reported;  /* high-water mark of `written` that wrote() was told */
        uint64_t written;   /* since the last placer_restart() */
        struct error error; /* the first write that failed */
};

void placer_init(struct placer *p);    /* after the settings above are filled in */
void placer_destroy(struct placer *p); /* closes what is open, after its writes */
/* Closes what is open, after its writes, to do all again; wrote() is not told the same bytes twice. Nothing
 * may come by place_segment() any more. */
void placer_restart(struct placer *p);

struct place_file;
struct place_end {
        uint64_t size;
        mode_t mode;
        struct timespec mtime;
        bool sync; /* flush it to the disk before it is closed; needs a reactor */
};

/* Makes @name (one component, must not exist) in @parent_fd. @size: what it is going to be; @sparse: with
 * holes. */
int place_open(struct place_file **ret, struct placer *p, int parent_fd, const char *name, uint64_t size,
               bool sparse, struct error *e);
/* Offsets only go forward; what is left out is a hole. */
int place_write(struct place_file *f, const void *data, size_t len, uint64_t offset, struct error *e);
/* Sends the writes that wait for company; before the blob thread waits for anything but the placer. */
void placer_submit(struct placer *p);
/* Gives the file away: it is closed when its writes are done. */
int place_end(struct place_file *f, const struct place_end *end, struct error *e);
/* Waits for all writes and closes what was ended; every segment that was expected has been given. Until it
 * has returned 0 nothing is sure to be complete. */
int placer_drain(struct placer *p, struct error *e);

/*
 * The straight way: a file of exactly @size bytes, parts of which (or all) are segments of the window and
 * are written as they are. The other parts are given to place_write().
 */
int place_open_straight(struct place_file **ret, struct placer *p, int parent_fd, const char *name,
                        uint64_t size, struct error *e);
/* One that is there already, of an earlier transfer: its first @kept bytes are right. On offsets that are not
 * at a block's beginning nothing can be added to a file of at least PLACE_SMALL bytes. */
int place_open_kept(struct place_file **ret, struct placer *p, int parent_fd, const char *name, uint64_t size,
                    uint64_t kept, struct error *e);
/* A file of so many bytes is there as a whole, and nothing is to be written. */
int placer_keep(struct placer *p, uint64_t bytes, struct error *e);
/* So many bytes were on the disk before; wrote() is told. */
void placer_had(struct placer *p, uint64_t bytes);
/* So many of these are written again after all; wrote() is not told of them twice. */
void placer_again(struct placer *p, uint64_t bytes);
uint64_t place_size(const struct place_file *f);         /* as it was opened with */
void place_expect(struct place_file *f, uint64_t bytes); /* more will come in segments */
/* Writes @s, which is full, to its file; holds a reference until that is done. Any thread. */
void place_segment(struct segment *s);
void place_abandon(
    struct place_file *f); /* not wanted after all; it is closed once nothing more comes for it */
