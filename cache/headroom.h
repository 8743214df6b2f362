/* SPDX-License-Identifier: Apache-2.0 */
/*
 * headroom: a file of blocks that nobody needs, so that on a full disk there are some for what must be
 * written down. Not thread-safe.
 */
#pragma once

#include <stdbool.h>

struct cache_headroom {
        char *path;    /* the owner's */
        bool is_given; /* away; to be had again */
};

/* Takes the blocks, unless that would be much of what is free. */
void cache_headroom_take(struct cache_headroom *h);
/* Gives them to whoever writes next. False: there were none. */
bool cache_headroom_give(struct cache_headroom *h);
