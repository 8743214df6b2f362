/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/staged.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/text.h"

#define WAITS_MAX 256u

/* ---- the text ---- */

static uint64_t rate_of(uint64_t bytes, int64_t ms) {
        return ms > 0 ? (uint64_t)((double)bytes * 1000 / (double)ms) : 0;
}

void csi_staged_describe(const struct csi_staged *s, char text[static CSI_STAGED_TEXT]) {
        uint64_t moved = s->received ? s->received : s->bytes, rate = rate_of(moved, s->staged_ms);
        char size[TEXT_SHORT], took[TEXT_SHORT], speed[TEXT_SHORT], part[TEXT_SHORT], waited[TEXT_SHORT];
        char fetched[64] = "", others[96] = "";

        /* Layers that were here; a hundredth is headers and what was received twice. */
        if (s->received && s->received < s->bytes - s->bytes / 100)
                snprintf(fetched, sizeof fetched, ", %s of it fetched", text_format_size(s->received, part));
        if (s->joined)
                snprintf(others, sizeof others, "; other volumes had asked for it before, this one waited %s",
                         text_format_duration(s->waited_ms, waited));
        snprintf(text, CSI_STAGED_TEXT, "%.700s is mounted: %s staged in %s%s%s%s%s", s->reference,
                 text_format_size(s->bytes, size), text_format_duration(s->staged_ms, took), rate ? ", " : "",
                 rate ? text_format_rate(rate, speed) : "", fetched, others);
}

/* ---- who waits ---- */

struct wait {
        struct digest volume; /* of id and target */
        int64_t since_ms;     /* 0: this place is free */
};
struct csi_waits {
        pthread_mutex_t lock; /* guards what follows */
        struct wait list[WAITS_MAX];
};

int csi_waits_new(struct csi_waits **ret, struct error *e) {
        struct csi_waits *w = calloc(1, sizeof *w);

        if (!w)
                return error_errno(e, ENOMEM, "cannot remember who waits");
        pthread_mutex_init(&w->lock, NULL);
        *ret = w;
        return 0;
}

void csi_waits_free(struct csi_waits *w) {
        if (!w)
                return;
        pthread_mutex_destroy(&w->lock);
        free(w);
}

static int volume_digest(struct digest *ret, const char *volume_id, const char *target) {
        _cleanup_free_ char *text = NULL;
        int n = asprintf(&text, "%zu:%s%s", strlen(volume_id), volume_id, target);

        if (n < 0) {
                text = NULL;
                return -ENOMEM;
        }
        return digest_of(ret, text, (size_t)n);
}

static struct wait *find(struct csi_waits *w, const struct digest *volume) {
        for (size_t i = 0; i < WAITS_MAX; i++)
                if (w->list[i].since_ms && digest_equal(&w->list[i].volume, volume))
                        return &w->list[i];
        return NULL;
}

static struct wait *find_oldest(struct csi_waits *w) { /* a free place is older than all */
        struct wait *oldest = &w->list[0];

        for (size_t i = 1; i < WAITS_MAX; i++)
                if (w->list[i].since_ms < oldest->since_ms)
                        oldest = &w->list[i];
        return oldest;
}

void csi_waits_add(struct csi_waits *w, const char *volume_id, const char *target, int64_t since_ms) {
        struct digest volume;

        if (volume_digest(&volume, volume_id, target) < 0)
                return; /* an event less */
        LOCK_SCOPE(&w->lock);
        if (!find(w, &volume))
                *find_oldest(w) = (struct wait){ .volume = volume, .since_ms = since_ms };
}

int64_t csi_waits_take(struct csi_waits *w, const char *volume_id, const char *target) {
        struct digest volume;

        if (volume_digest(&volume, volume_id, target) < 0)
                return 0;
        LOCK_SCOPE(&w->lock);
        struct wait *found = find(w, &volume);
        int64_t since_ms = found ? found->since_ms : 0;

        if (found)
                found->since_ms = 0;
        return since_ms;
}
