/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory: how much of it this process could still fill, by the machine and by the control groups that it is
 * in. Pages of files that it reads are charged to its group too, so for a cache of files the group's limit
 * counts like the machine's. No state; any thread.
 */
#pragma once

#include <stdint.h>

struct memory_room {
        uint64_t whole; /* bytes: the machine's, or the least limit of a group */
        uint64_t room;  /* of it, what can be had without taking it from anybody's own pages */
};

/* @root: before /proc and /sys; "" but in tests. A group that cannot be read is passed over. Negative errno:
 * the machine's memory is not known. */
int memory_look(struct memory_room *ret, const char *root);
