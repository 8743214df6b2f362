/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pulse: the sign of life of a thread that others depend on. The thread beats each time round its loop, which
 * is at least every PULSE_MS even when there is nothing to do; any thread may ask how long ago that was.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/text.h"

#define PULSE_MS 5000

struct pulse {
        atomic_int_least64_t at_ms; /* of the monotonic clock */
};

static inline void pulse_beat(struct pulse *p) {
        atomic_store_explicit(&p->at_ms, time_monotonic_ms(), memory_order_relaxed);
}

static inline int64_t pulse_age_ms(const struct pulse *p) {
        return time_monotonic_ms() - atomic_load_explicit(&p->at_ms, memory_order_relaxed);
}
