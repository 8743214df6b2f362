/* SPDX-License-Identifier: Apache-2.0 */
/* A job that is not done, in a few words that a person reads in `kubectl describe pod`: what it does, how far
 * it is, what keeps it. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/text.h"
#include "stager/stager.h"

#define DESCRIPTION_MAX 768u

static void say_what(struct buf *b, const struct stage_progress *p) {
        bool is_fetching = strcmp(p->state, "fetching") == 0;

        if (strcmp(p->state, "waiting") == 0)
                (void)buf_printf(b, "waiting until one of %u other models is done", p->ahead);
        else if (strcmp(p->state, "resolving") == 0 && *p->host)
                (void)buf_printf(b, "asking %.200s for its manifest", p->host);
        else if (is_fetching && p->queued)
                (void)buf_printf(b, "waiting until other models are fetched");
        else
                (void)buf_printf(b, "%s", p->state);
}

static void say_how_far(struct buf *b, const struct stage_progress *p) {
        char done[TEXT_SHORT], whole[TEXT_SHORT], rate[TEXT_SHORT], eta[TEXT_SHORT];

        if (p->size == 0)
                return;
        (void)buf_printf(b, ", %u %%, %s of %s", (unsigned)((double)p->done * 100 / (double)p->size),
                         text_format_size(p->done, done), text_format_size(p->size, whole));
        if (p->rate == 0 || *p->trouble)
                return;
        (void)buf_printf(b, ", %s", text_format_rate(p->rate, rate));
        if (p->eta_ms >= 0)
                (void)buf_printf(b, ", %s left", text_format_duration(p->eta_ms, eta));
}

void stage_progress_describe(const struct stage_progress *p, char *text, size_t size) {
        _cleanup_buf_ struct buf b = BUF_INIT(DESCRIPTION_MAX);

        say_what(&b, p);
        say_how_far(&b, p);
        if (*p->trouble)
                (void)buf_printf(&b, ", again because %s", p->trouble);
        snprintf(text, size, "%s", buf_text(&b));
}
