/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine: moves blobs from where they are to files on disk: exact parallel ranges into a bounded window over
 * one arena, a digest that follows in order, decoding, placement with O_DIRECT through the ring.
 *
 *   one reactor thread    curl's sockets and the ring's completions; owns ranges and connections
 *   a few blob threads    one for each blob in work: locate, decode, unpack; they do block
 *   a few decoders        help with streams of many frames (engine.decodeThreads)
 *   a few digest threads  hash what is in the windows, two of them at once where the CPU can
 *
 * A transfer is one blob on its way, once for each engine_start(): that nobody starts the same blob twice,
 * and who waits for it, is the caller's business (share.h).
 */
#pragma once

#include "base/settings.h"
#include "oci/blob.h"
#include "oci/plan.h"
#include "stager/hosts.h"

#include <stdbool.h>
#include <stdint.h>

struct engine;
int engine_new(struct engine **ret, const struct settings *s, struct error *e);
void engine_free(struct engine *g); /* running transfers end with ERROR_CANCELLED first */
DEFINE_CLEANUP(struct engine *, engine_free);
const char *engine_io(const struct engine *g);    /* "uring" or "posix" */
int64_t engine_silent_ms(const struct engine *g); /* reactor_silent_ms() */
struct hosts *engine_hosts(struct engine *g);     /* what is learned of hosts */

/* What the blob is and where it goes. Everything is borrowed until the transfer is done. */
struct transfer_order {
        struct oci_blob *source;
        struct digest digest; /* of the bytes on the wire */
        uint64_t size;        /* of them, exact */
        enum plan_packing packing;
        enum plan_codec codec;
        int dir_fd;     /* PLAN_RAW: the file "blob" is made in it; PLAN_TAR: the directory "tree" */
        mode_t mode;    /* of a raw file; 0: 0444. Always readable by all, writable by the owner alone */
        int64_t mtime;  /* of a raw file, seconds since 1970; 0 is set as it is */
        bool urgent;    /* a volume waits for it: before all that is not; transfer_set_urgent() */
        uint64_t group; /* transfers of one job, which share its turns with other jobs; 0: of its own */
        /* Called before bytes beyond @size are written (archives that grow when decoded); a failure ends the
         * transfer. */
        int (*grow)(void *userdata, uint64_t bytes, struct error *e);
        void (*wrote)(void *userdata, uint64_t bytes); /* after bytes are on disk; any thread */
        /* Space that only serves to go on after a failure, and comes back by spared(): 0 if there is so much
         * that nobody is in want of it. NULL: there is none. */
        int (*spare)(void *userdata, uint64_t bytes);
        void (*spared)(void *userdata, uint64_t bytes);
        void *userdata;
};

struct transfer_result {
        uint64_t bytes, files; /* placed */
};
#define TRANSFER_HOST_MAX 256
#define TRANSFER_TROUBLE_SIZE 256
struct transfer_progress {
        uint64_t done;                       /* bytes verified so far, in order */
        uint64_t received;                   /* bytes received, with those received twice */
        unsigned connections;                /* now */
        uint64_t retries;                    /* requests that were asked for again */
        char host[TRANSFER_HOST_MAX];        /* where the bytes come from now; "": not known yet, or a file */
        bool queued;                         /* waits until other transfers are done */
        char trouble[TRANSFER_TROUBLE_SIZE]; /* why nothing comes; "": something does, or not known */
};

struct transfer;
/* Queues; runs when a blob thread is free. @done runs once, on a thread of the engine, after everything is
 * placed, verified and durable (result 0) or given up (a negative errno and @e); all files are closed.
 */
int engine_start(struct transfer **ret, struct engine *g, const struct transfer_order *order,
                 void (*done)(void *userdata, int result, const struct transfer_result *r,
                              const struct error *e),
                 struct error *e);
void transfer_progress(struct transfer *t, struct transfer_progress *ret); /* any thread */
/* Any thread, before engine_free(); the caller keeps @t from being freed until they return. */
void transfer_set_urgent(struct transfer *t); /* for good */
void transfer_cancel(struct transfer *t);     /* done() still runs, perhaps before this returns */
void transfer_free(struct transfer *t);       /* after done() ran */
