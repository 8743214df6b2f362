/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats: what the clients did. Counters by path, the last requests one by one, tokens and credentials seen. A
 * request is entered when its head has been read and left when its answer has gone out (or not). Any thread.
 */
#pragma once

#include "http.h"

#include <stdint.h>

#define STATS_LISTENERS 3

/* A request under way; the handle is for stats_leave(). */
struct stats_entry {
        struct stats_path *path;
        uint64_t number; /* of the request since the start or the last reset */
        uint64_t resets; /* so many had been when it was entered; after one more it counts no more */
        int64_t start_ns;
};

void stats_enter(struct stats_entry *ret, const struct http_request *r);
void stats_sent(const struct stats_entry *e, uint64_t bytes); /* of the body; as they go out */
void stats_leave(const struct stats_entry *e, const struct http_request *r, int status, uint64_t bytes);
void stats_token(void); /* a token was given */
void stats_connection(int delta);
json_t *stats_json(bool with_requests);
void stats_reset(void);
