/* SPDX-License-Identifier: Apache-2.0 */
/*
 * body: sends the bytes of a blob or a manifest, as slowly and as wrongly as the knobs say.
 *
 * What goes wrong is decided before the first byte (body_plan), so that "every k-th answer" counts answers
 * and not pieces.
 */
#pragma once

#include "http.h"
#include "knobs.h"
#include "stats.h"
#include "store.h"

enum body_end { BODY_WHOLE, BODY_RESET, BODY_TRUNCATED, BODY_STALLED };

struct body_plan {
        enum body_end end;
        uint64_t cut; /* bytes of this answer that go out before the end; all of them if BODY_WHOLE */
        bool flip;    /* the byte at flip_at of the blob is wrong */
        uint64_t flip_at;
};

void body_plan(struct body_plan *ret, const struct knobs *k, const char *digest, uint64_t start,
               uint64_t end);
/* Only the wrong byte: for manifests. */
void body_plan_flip(struct body_plan *ret, const struct knobs *k, const char *digest, uint64_t start,
                    uint64_t end);
/* False: the connection is of no use any more. *ret_sent: bytes that were handed to the kernel. */
bool body_send(struct http_connection *c, const struct content *content, uint64_t start, uint64_t end,
               const struct knobs *k, const struct body_plan *plan, const struct stats_entry *stats,
               uint64_t *ret_sent);

void body_pace(struct http_connection *c, const struct knobs *k);
/* Returns when the peer has closed or the time is over (-1: never); false: closed. */
bool body_wait(const struct http_connection *c, int64_t ns);
bool body_fails(const struct knobs *k); /* should this request for a blob fail? Counts it. */
void body_counters_reset(void);         /* every k-th counts from here */
