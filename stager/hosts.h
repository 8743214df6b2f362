/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hosts: what was learned about each host that blobs come from, kept across restarts, and shown to people.
 *
 *   ranges         does it answer a request for a range with that range? "No" is believed for a day, then it
 *                  is tried again
 *   best, rate     beyond so many connections its goodput did not grow, and what it was
 *   limit          it refused more connections than that; forgotten after a day
 *   latency_us     to the first byte
 *
 * All of it is advice: who starts with the wrong number finds the right one again. The file (hosts.json below
 * the cache's root) is written whole and renamed into place; what cannot be read is as if it were not there,
 * an entry that makes no sense is left out. At most HOSTS_MAX are known: the one that was not used for the
 * longest time goes first. Thread-safe; times are milliseconds since 1970.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOSTS_MAX 128u
#define HOSTS_NAME_MAX 256u

enum host_ranges {
        HOST_RANGES_UNKNOWN,
        HOST_RANGES_HONOURED,
        HOST_RANGES_IGNORED, /* it answers with the whole blob, and says so at once */
        HOST_RANGES_BROKEN,  /* it took the first one, and then sent something else */
        _HOST_RANGES_MAX
};
const char *host_ranges_name(enum host_ranges r); /* "", "honoured", "ignored", "broken" */

struct host_pace {
        unsigned best, limit; /* connections; 0: not known, none */
        uint64_t rate;        /* bytes a second with `best` */
        uint64_t latency_us;  /* 0: not known */
};

struct host_profile {
        char name[HOSTS_NAME_MAX]; /* "host[:port]" */
        enum host_ranges ranges;
        struct host_pace pace;
        int64_t ranges_ms, limit_ms, used_ms; /* when that was seen last; 0: never */
        unsigned connections;                 /* now; not kept */
};

struct hosts;
struct hosts *hosts_new(void); /* NULL: out of memory */
struct hosts *hosts_ref(struct hosts *h);
void hosts_unref(struct hosts *h);
DEFINE_CLEANUP(struct hosts *, hosts_unref);

/* What is known and still believed; zeroes for a host that is not known. */
void hosts_get(struct hosts *h, const char *name, int64_t now_ms, struct host_profile *ret);
void hosts_note_ranges(struct hosts *h, const char *name, enum host_ranges r, int64_t now_ms);
void hosts_note_pace(struct hosts *h, const char *name, const struct host_pace *p, int64_t now_ms);
void hosts_note_connections(struct hosts *h, const char *name, unsigned n, int64_t now_ms);

/* All, the one that was used last first; *ret is to be freed. -ENOMEM. */
int hosts_list(struct hosts *h, int64_t now_ms, struct host_profile **ret, size_t *ret_n);

/* Reads the file @name below @dir_fd; a missing one is fine. The error is for the log: nothing was read. */
int hosts_load(struct hosts *h, int dir_fd, const char *name, int64_t now_ms, struct error *e);
/* Writes it if anything has changed since. */
int hosts_save(struct hosts *h, int dir_fd, const char *name, struct error *e);
