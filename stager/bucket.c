/* SPDX-License-Identifier: Apache-2.0 */
#include "stager/bucket.h"

#define BURST_MS 250
#define WAIT_MAX_MS 1000             /* whoever waits looks again after that */
#define RATE_MAX ((uint64_t)1 << 50) /* more is no limit */

void bucket_init(struct bucket *b, uint64_t rate) {
        *b = (struct bucket){ .rate = rate < RATE_MAX ? rate : 0 };
}

int bucket_wait_ms(struct bucket *b, uint64_t now_ns) {
        if (b->rate == 0)
                return 0;
        uint64_t ms = (now_ns - b->refilled_ns) / 1000000;

        if (b->refilled_ns == 0)
                ms = BURST_MS;
        if (ms > 0) {
                double most = (double)b->rate * BURST_MS / 1000.0 + 1.0;
                double credit = (double)b->credit + (double)b->rate * (double)ms / 1000.0;

                b->credit = (int64_t)(credit < most ? credit : most);
                b->refilled_ns =
                    b->refilled_ns == 0 ? now_ns : b->refilled_ns + ms * 1000000; /* no part is lost */
        }
        if (b->credit > 0)
                return 0;
        double wait = (double)(1 - b->credit) * 1000.0 / (double)b->rate + 1.0;
        return wait > WAIT_MAX_MS ? WAIT_MAX_MS : (int)wait;
}

void bucket_spend(struct bucket *b, uint64_t bytes) {
        if (b->rate > 0)
                b->credit -= (int64_t)(bytes < RATE_MAX ? bytes : RATE_MAX);
}
