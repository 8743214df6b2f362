/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bucket: bytes a second. What is asked for is spent at once, even if the bucket does not have it: it goes
 * below zero, and nothing more is asked for until it has filled again. It holds at most a moment's worth, so
 * that who was idle has not saved up. No clock of its own.
 */
#pragma once

#include <stdint.h>

struct bucket {
        uint64_t rate;        /* bytes a second; 0: unlimited */
        int64_t credit;       /* bytes that may be asked for; negative: wait */
        uint64_t refilled_ns; /* monotonic; 0: never */
};

void bucket_init(struct bucket *b, uint64_t rate);
/* Milliseconds until something may be asked for again; 0: now. */
int bucket_wait_ms(struct bucket *b, uint64_t now_ns);
void bucket_spend(struct bucket *b, uint64_t bytes);
