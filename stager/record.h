/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record: tells a keeper how a tar stream can be had again: members' data from the files that they were put
 * into, all else (headers, padding, what is no file) as the bytes that they are. It stands between the stream
 * and unpack_tar(), as an unpack_source that hands everything on.
 *
 *   source --next, skip, adopt--> record --> unpack_tar
 *                                  ▲ │  placed: from here on the bytes are in that file
 *                                  │ ▼
 *                                keeper
 *
 * On the blob thread.
 */
#pragma once

#include "stager/keeper.h"
#include "stager/unpack.h"

struct record {
        struct keeper *keeper;
        struct unpack_source inner;
        uint64_t pos;    /* of the stream: behind what was given out */
        uint64_t told;   /* of it: the keeper knows all before; beyond pos in the middle of a member's data */
        const char *cur; /* what was given out last, [pos - cur_len, pos) */
        size_t cur_len;
};

/* @keeper NULL: nobody is told. */
void record_init(struct record *r, struct keeper *keeper, const struct unpack_source *inner);
struct unpack_source record_source(struct record *r);
