/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bars: how progress looks, as a function of what is known and of the size of the terminal. No terminal here.
 *
 *   registry.example.com/models/llama:v1   45%   1.2 GiB/2.6 GiB  812 MiB/s  eta 2s
 *     model-00001-of-00002.safetensors  ━━━━━━━━━━━──────────   51%   0.7 GiB/1.3 GiB
 *     model-00002-of-00002.safetensors  ━━━━━━━─────────────   39%   0.5 GiB/1.3 GiB
 */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct bars_blob {
        char *name;
        uint64_t done, size;
};
struct bars_model {
        char *title;
        char state[16];          /* "fetching" */
        uint64_t done, size;     /* size 0: not known yet */
        uint64_t rate;           /* bytes a second; 0: unknown */
        int64_t eta_ms;          /* -1: unknown */
        struct bars_blob *blobs; /* those in work */
        size_t n_blobs;
        bool ended; /* not drawn any more */
};
void bars_model_clear(struct bars_model *m);

struct bars_style {
        unsigned width, height; /* of the terminal */
        bool utf8, colour;
};

#define BARS_LINES_MAX 256
struct bars_frame {
        struct buf text;                /* lines, each ends with '\n' */
        unsigned n;                     /* lines */
        unsigned width[BARS_LINES_MAX]; /* columns of each */
};
/* Never wider than the terminal less one column, never higher than it less one line. */
void bars_draw(struct bars_frame *ret, const struct bars_model *models, size_t n, const struct bars_style *s);
/* One model as a line of text for logs; ends with '\n'. */
void bars_line(struct buf *out, const struct bars_model *m);
