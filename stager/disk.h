/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk: writes and syncs that any thread may ask for and the reactor carries out on its ring. The caller
 * keeps the operation until its callback ran, on the reactor's thread.
 */
#pragma once

#include "base/ring.h"

struct reactor;

struct disk_op {
        struct ring_op op; /* done and owner are the caller's to set */
        bool sync;         /* fsync; else a write */
        int fd;
        const void *data;
        size_t len;
        uint64_t offset;
        struct disk_op *next; /* on its way to the reactor; NULL: the last one */
};

/* Never waits. On the reactor's own thread the operation begins at once, otherwise in its next turn. */
void disk_submit(struct reactor *r, struct disk_op *op);
/* Likewise, for one or more, linked by `next`, in one message. */
void disk_submit_all(struct reactor *r, struct disk_op *first);
