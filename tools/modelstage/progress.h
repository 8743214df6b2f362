/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress: of models being staged, on stderr: bars redrawn in place on a terminal, a line a second
 * elsewhere.
 *
 * progress_update_job(), _stage() and progress_end() from any thread; the thread that made it draws, in
 * progress_tick() or progress_wait(). A terminal whose size changes between two drawings is put right as far
 * as it can be.
 */
#pragma once

#include "proto/modelstage.pb-c.h"
#include "stager/stager.h"
#include "tools/modelstage/cli.h"

#include <stdbool.h>

struct progress;
/* @titles: copied. A model is named by its place among them. @quiet: nothing is shown; progress_wait() still
 * waits. */
struct progress *progress_new(const char *const *titles, size_t n, bool quiet);
/* Takes what is drawn away again, shows the cursor. */
void progress_free(struct progress *p);
static inline void progress_freep(struct progress **p) {
        progress_free(*p);
}

/* What is known of model @i now, from the daemon or from the engine in this program; copied. */
void progress_update_job(struct progress *p, size_t i, const Modelstage__V1__Job *job);
void progress_update_stage(struct progress *p, size_t i, const struct stage_progress *s);
/* Model @i is done or has failed; @line (may be NULL) stays on the screen. */
void progress_end(struct progress *p, size_t i, const char *line);

void progress_tick(struct progress *p); /* draws if it is time to */
void progress_wait(struct progress *p); /* draws until every model has ended */
