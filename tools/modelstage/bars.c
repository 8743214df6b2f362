/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bars: numbers into lines of text, at most as wide and as high as the terminal.
 *
 *   model   LABEL  STATE  SIZES  RATE  ETA     what there is room for, in the order of importance: state,
 *                                              rate, sizes, time left; the label keeps LABEL_MIN columns
 *   blob      LABEL  BAR  PERCENT  SIZES       the same columns for all blobs of a frame
 *
 * A label is cut at its start, because the ends of references and paths tell more. Models come before blobs
 * where there is not room for all. Text from outside goes through screen_put(), which makes it safe and knows
 * its width.
 */
#include "tools/modelstage/bars.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "tools/modelstage/screen.h"

#define LABEL_MIN 10u
#define LABEL_LEAST 4u /* so that the first piece is there on any terminal */
#define LABEL_GOOD 20u /* of a blob: the name is worth more than the sizes */
#define PERCENT 4u     /* "100%" */
#define SIZES 19u      /* "123.4 GiB/567.8 GiB" */
#define BAR_MIN 8u
#define BAR_MAX 40u
#define GAP 2u

void bars_model_clear(struct bars_model *m) {
        for (size_t i = 0; i < m->n_blobs; i++)
                free(m->blobs[i].name);
        free(m->blobs);
        free(m->title);
        *m = (struct bars_model){ 0 };
}

static unsigned min(unsigned a, unsigned b) {
        return a < b ? a : b;
}

/* 100 only when it is done: bytes that nobody vouches for yet are not there. */
static unsigned percent(uint64_t done, uint64_t size) {
        if (size == 0)
                return 0;
        if (done >= size)
                return 100;
        return min(99, (unsigned)((double)done * 100 / (double)size));
}

static void spaces(struct buf *out, unsigned n) {
        (void)buf_printf(out, "%*s", (int)n, "");
}

static void end_line(struct bars_frame *f, unsigned width) {
        (void)buf_append(&f->text, "\n", 1);
        f->width[f->n++] = width;
}

/* Whole seconds: what is estimated has no tenths. */
static const char *eta_text(int64_t ms, char text[static TEXT_SHORT]) {
        if (ms >= 60000)
                return text_format_duration(ms, text);
        snprintf(text, TEXT_SHORT, "%ds", (int)((ms + 999) / 1000));
        return text;
}

static void sizes_text(char text[static 2 * TEXT_SHORT], uint64_t done, uint64_t size) {
        char a[TEXT_SHORT], b[TEXT_SHORT];

        snprintf(text, 2 * TEXT_SHORT, "%s/%s", text_format_size(done, a), text_format_size(size, b));
}

/* ---- the line of a model ---- */

enum piece { PIECE_STATE, PIECE_SIZES, PIECE_RATE, PIECE_ETA, _PIECE_MAX };

/* "" is a piece that is not known. */
static void model_pieces(char text[static _PIECE_MAX][2 * TEXT_SHORT], const struct bars_model *m) {
        char number[TEXT_SHORT];

        for (int i = 0; i < _PIECE_MAX; i++)
                text[i][0] = '\0';
        if (m->size == 0 || strcmp(m->state, "fetching") != 0)
                snprintf(text[PIECE_STATE], sizeof *text, "%s", m->state);
        else
                snprintf(text[PIECE_STATE], sizeof *text, "%3u%%", percent(m->done, m->size));
        if (m->size > 0)
                sizes_text(text[PIECE_SIZES], m->done, m->size);
        if (m->rate > 0)
                snprintf(text[PIECE_RATE], sizeof *text, "%s", text_format_rate(m->rate, number));
        if (m->eta_ms >= 0 && m->size > 0)
                snprintf(text[PIECE_ETA], sizeof *text, "eta %s", eta_text(m->eta_ms, number));
}

static void draw_model(struct bars_frame *f, const struct bars_model *m, unsigned width) {
        static const enum piece by_importance[_PIECE_MAX] = { PIECE_STATE, PIECE_RATE, PIECE_SIZES,
                                                              PIECE_ETA };
        static const unsigned columns[_PIECE_MAX] = { PERCENT, SIZES, 10, 8 };
        char text[_PIECE_MAX][2 * TEXT_SHORT];
        unsigned wanted[_PIECE_MAX] = { 0 }, used = 0;

        model_pieces(text, m);
        for (int i = 0; i < _PIECE_MAX; i++) {
                enum piece p = by_importance[i];
                unsigned w = (unsigned)strlen(text[p]);
                if (w == 0)
                        continue;
                w = w > columns[p] ? w : columns[p];
                if (used + GAP + w + (used ? LABEL_MIN : LABEL_LEAST) <= width) {
                        wanted[p] = w;
                        used += GAP + w;
                }
        }
        unsigned label = screen_put(&f->text, m->title, width - used, SCREEN_CUT_START);
        for (int i = 0; i < _PIECE_MAX; i++)
                if (wanted[i] > 0)
                        (void)buf_printf(&f->text, "%*s%*s", (int)GAP, "", (int)wanted[i], text[i]);
        end_line(f, label + used);
}

/* ---- the lines of blobs ---- */

struct columns {
        unsigned label, bar, sizes; /* 0: left out */
};

/* What all blobs of the frame have room for on a line of @width. */
static struct columns blob_columns(const struct bars_model *models, size_t n, unsigned width) {
        struct columns c = { .label = 1 };
        unsigned room =
            width > GAP + GAP + PERCENT ? width - GAP - GAP - PERCENT : 0; /* indent, gap, percent */

        for (size_t i = 0; i < n; i++)
                for (size_t k = 0; k < models[i].n_blobs && !models[i].ended; k++) {
                        unsigned w = screen_width(models[i].blobs[k].name);
                        c.label = w > c.label ? w : c.label;
                }
        if (room >= LABEL_GOOD + GAP + BAR_MIN + GAP + SIZES)
                c.sizes = SIZES;
        unsigned rest = room - (c.sizes ? c.sizes + GAP : 0);
        if (rest >= LABEL_MIN + GAP + BAR_MIN) {
                unsigned half = rest / 2 > LABEL_MIN ? rest / 2 : LABEL_MIN;
                c.label = min(c.label, half);
                c.bar = min(BAR_MAX, rest - c.label - GAP);
        } else {
                c.label = min(c.label, rest);
        }
        return c;
}

static void draw_bar(struct buf *out, uint64_t done, uint64_t size, unsigned width,
                     const struct bars_style *s) {
        double part = size == 0 ? 0 : done >= size ? 1 : (double)done / (double)size;
        unsigned full = (unsigned)(part * width);

        if (s->colour)
                (void)buf_printf(out, "\033[32m");
        for (unsigned i = 0; i < width; i++) {
                if (i == full && s->colour)
                        (void)buf_printf(out, "\033[0;2m");
                (void)buf_printf(out, "%s", s->utf8 ? (i < full ? "━" : "─") : (i < full ? "#" : "."));
        }
        if (s->colour)
                (void)buf_printf(out, "\033[0m");
}

static void draw_blob(struct bars_frame *f, const struct bars_blob *b, const struct columns *c,
                      const struct bars_style *s) {
        char text[2 * TEXT_SHORT];
        unsigned label;

        spaces(&f->text, GAP);
        label = screen_put(&f->text, b->name, c->label, SCREEN_CUT_START);
        spaces(&f->text, c->label - label + GAP);
        if (c->bar > 0) {
                draw_bar(&f->text, b->done, b->size, c->bar, s);
                spaces(&f->text, GAP);
        }
        (void)buf_printf(&f->text, "%3u%%", percent(b->done, b->size));
        if (c->sizes > 0) {
                sizes_text(text, b->done, b->size);
                (void)buf_printf(&f->text, "%*s%*s", (int)GAP, "", (int)c->sizes, text);
        }
        end_line(f, GAP + c->label + GAP + (c->bar ? c->bar + GAP : 0) + PERCENT +
                        (c->sizes ? GAP + c->sizes : 0));
}

/* ---- the whole ---- */

/* The last line, where not everything had room. */
static void draw_more(struct bars_frame *f, size_t hidden, const struct bars_style *s) {
        char text[64];

        snprintf(text, sizeof text, "%s and %zu more", s->utf8 ? "…" : "...", hidden);
        end_line(f, screen_put(&f->text, text, s->width - 1, SCREEN_CUT_END));
}

void bars_draw(struct bars_frame *ret, const struct bars_model *models, size_t n,
               const struct bars_style *s) {
        struct bars_style style = *s;
        size_t running = 0, blobs = 0;

        style.width = s->width < 12 ? 12 : s->width; /* below that nothing is legible anyway */
        unsigned lines = min(s->height > 2 ? s->height - 1 : 1, BARS_LINES_MAX);
        struct columns c = blob_columns(models, n, style.width - 1);
        ret->n = 0;
        buf_clear(&ret->text);
        for (size_t i = 0; i < n; i++)
                if (!models[i].ended) {
                        running++;
                        blobs += models[i].n_blobs;
                }
        /* Models come before blobs when there is not room for all; the last line says what is missing. */
        bool all = running + blobs <= lines;
        size_t may_models = all || running < lines ? running : lines - 1;
        size_t may_blobs = all ? blobs : may_models < running ? 0 : lines - 1 - running;
        size_t hidden = running - may_models + blobs - may_blobs;
        for (size_t i = 0; i < n && may_models > 0; i++) {
                if (models[i].ended)
                        continue;
                may_models--;
                draw_model(ret, &models[i], style.width - 1);
                for (size_t k = 0; k < models[i].n_blobs && may_blobs > 0; k++, may_blobs--)
                        draw_blob(ret, &models[i].blobs[k], &c, &style);
        }
        if (hidden > 0)
                draw_more(ret, hidden, &style);
}

void bars_line(struct buf *out, const struct bars_model *m) {
        char a[TEXT_SHORT], b[TEXT_SHORT];

        screen_put(out, m->title, SCREEN_WHOLE, SCREEN_CUT_END);
        (void)buf_printf(out, ": %s", m->state);
        if (m->size > 0)
                (void)buf_printf(out, " %u%%, %s of %s", percent(m->done, m->size),
                                 text_format_size(m->done, a), text_format_size(m->size, b));
        if (m->rate > 0)
                (void)buf_printf(out, ", %s", text_format_rate(m->rate, a));
        if (m->eta_ms >= 0 && m->size > 0)
                (void)buf_printf(out, ", eta %s", eta_text(m->eta_ms, a));
        (void)buf_append(out, "\n", 1);
}
