/* SPDX-License-Identifier: Apache-2.0 */
/*
 * readahead: a model that a volume has just got is read into the page cache, so that whoever maps its files
 * does not wait for the disk. Only if there is room for it: what it would push out may be wanted more.
 *
 * A thread of its own at idle priority, one model at a time. Nobody waits for it and nothing depends on it.
 */
#pragma once

#include "base/memory.h"
#include "cache/cache.h"

#include <stdbool.h>

/* AUTO: the whole model if it fits comfortably, else nothing. ON: as much of it as there is room for. */
enum readahead_policy { READAHEAD_OFF, READAHEAD_AUTO, READAHEAD_ON };

struct readahead;

/* Both are kept by reference. Without a thread if the settings say "off". */
int readahead_new(struct readahead **ret, const struct settings *s, struct cache *c, struct error *e);
void readahead_free(struct readahead *r); /* stops what is under way; NULL is fine */
/* The model @key soon, unless it is waiting for that already or being read. Returns at once. */
void readahead_add(struct readahead *r, const struct digest *key);

/* ---- what the thread is made of, for tests ---- */

/* How many bytes of a model of @size to read. */
uint64_t readahead_budget(enum readahead_policy policy, uint64_t size, const struct memory_room *m);
/* Memory has become so short that it is better to stop. */
bool readahead_is_low(const struct memory_room *m);

struct readahead_source {
        int dir_fd;
        const struct cache_file *files;
        size_t n_files;
        uint64_t budget;               /* bytes, at most */
        bool (*go_on)(void *userdata); /* asked every few MiB, over all files */
        void *userdata;
};
/* Files with tensors first, otherwise in the given order. How many bytes it was. */
uint64_t readahead_files(const struct readahead_source *s);
