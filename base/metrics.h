/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics: counters, gauges and histograms from one table (metrics.def), in Prometheus' text format.
 *
 * A family is named by its METRIC_ id; its label names stand in the table, its label values come with each
 * call, in that order. Callable from every thread. A family holds at most METRIC_MAX_SERIES label sets; what
 * goes beyond is counted under the value "other", so that a hostile registry name cannot eat memory.
 */
#pragma once

#include "base/buf.h"

#include <stdint.h>

#define METRIC_MAX_SERIES 256

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

enum metric {
#define X(id, ...) METRIC_##id,
#include "base/metrics.def"
#undef X
        _METRIC_MAX,
};

/* The variable arguments are the label values (const char *), as many as the family has labels. */
#define metric_add(id, value, ...) \
        metric_change(METRIC_##id, value, (const char *[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })
#define metric_set(id, value, ...) \
        metric_store(METRIC_##id, value, (const char *[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })
#define metric_observe(id, value, ...) \
        metric_record(METRIC_##id, value, (const char *[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

void metric_change(enum metric id, double delta, const char *const *labels); /* counter: delta >= 0 */
void metric_store(enum metric id, double value, const char *const *labels);  /* gauge */
void metric_record(enum metric id, double value, const char *const *labels); /* histogram */
double metric_value(enum metric id, const char *const *labels); /* counter or gauge; for tests and status */

/* @collect is called before each exposition, to set gauges whose truth lies elsewhere: on the thread that
 * asks for the text, without a lock of ours held. At most 16. */
void metrics_on_scrape(void (*collect)(void *userdata), void *userdata);
/* All of @userdata; waits for one that runs, so afterwards @userdata may go. */
void metrics_forget_scrape(void *userdata);
int metrics_write(struct buf *out); /* text exposition format 0.0.4; 0, -EFBIG, -ENOMEM */
