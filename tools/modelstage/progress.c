/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is drawn is forgotten by going up as many rows as it takes now: a terminal that became narrower has
 * broken our lines into several rows, so the rows are counted from the lines' widths and the present width.
 * One write(2) a frame.
 *
 * SIGINT, SIGTERM and SIGHUP: the cursor, which is hidden while there are bars, is shown by the handler; then
 * the signal does what it would have done (or is only remembered, after signals_defer()).
 */
#include "tools/modelstage/progress.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "tools/modelstage/bars.h"
#include "tools/modelstage/screen.h"
#include "tools/modelstage/signals.h"

#define DRAW_MS 100  /* between two frames on a terminal */
#define LINE_MS 1000 /* between two lines elsewhere */
#define FRAME_MAX (1u << 20)
#define BLOBS_MAX 256

struct progress {
        pthread_mutex_t lock; /* guards what follows, up to the empty line */
        pthread_cond_t changed;
        struct bars_model *models; /* in the order of the titles */
        size_t n, running;         /* of these, not ended */
        struct buf said;           /* lines that stay, not yet written */

        bool quiet, terminal, colour;
        int64_t drawn_ms;        /* 0: never */
        struct bars_frame frame; /* what is on the screen */
};

static bool wants_colour(void) {
        const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

        return !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

struct progress *progress_new(const char *const *titles, size_t n, bool quiet) {
        struct progress *p = cli_alloc(sizeof *p);
        const char *term = getenv("TERM");
        pthread_condattr_t monotonic;

        pthread_mutex_init(&p->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&p->changed, &monotonic);
        pthread_condattr_destroy(&monotonic);
        p->models = cli_alloc(n * sizeof *p->models);
        p->n = p->running = n;
        p->said.max = p->frame.text.max = FRAME_MAX;
        p->quiet = quiet;
        p->terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
        p->colour = wants_colour();
        for (size_t i = 0; i < n; i++) {
                p->models[i].title = cli_strdup(titles[i]);
                snprintf(p->models[i].state, sizeof p->models[i].state, "waiting");
                p->models[i].eta_ms = -1;
        }
        if (!p->terminal)
                p->drawn_ms = time_monotonic_ms(); /* the first line after a second: most hits need none */
        return p;
}

/* ---- news ---- */

static void add_blob(struct bars_model *m, const char *path, const char *digest, uint64_t done,
                     uint64_t size) {
        struct bars_blob *b;

        if (m->n_blobs == BLOBS_MAX)
                return;
        m->blobs = cli_must(reallocarray(m->blobs, m->n_blobs + 1, sizeof *m->blobs));
        b = &m->blobs[m->n_blobs++];
        *b = (struct bars_blob){ .done = done, .size = size };
        b->name = *path ? cli_strdup(path) : cli_must(strndup(digest, sizeof "sha256:" - 1 + 12));
}

static uint64_t unsigned_of(int64_t v) {
        return v > 0 ? (uint64_t)v : 0;
}

static void replace(struct progress *p, size_t i, struct bars_model *m) {
        LOCK_SCOPE(&p->lock);
        m->title = take_ptr(p->models[i].title);
        m->ended = p->models[i].ended;
        bars_model_clear(&p->models[i]);
        p->models[i] = *m;
}

void progress_update_job(struct progress *p, size_t i, const Modelstage__V1__Job *job) {
        struct bars_model m = { .done = unsigned_of(job->done),
                                .size = unsigned_of(job->size),
                                .rate = unsigned_of(job->rate),
                                .eta_ms = job->eta_ms };

        snprintf(m.state, sizeof m.state, "%s", job->state);
        for (size_t k = 0; k < job->n_blobs; k++) {
                const Modelstage__V1__BlobProgress *b = job->blobs[k];
                if (strcmp(b->state, "fetching") == 0)
                        add_blob(&m, b->path, b->digest, unsigned_of(b->done), unsigned_of(b->size));
        }
        replace(p, i, &m);
}

void progress_update_stage(struct progress *p, size_t i, const struct stage_progress *s) {
        struct bars_model m = { .done = s->done, .size = s->size, .rate = s->rate, .eta_ms = s->eta_ms };
        char digest[DIGEST_TEXT_SIZE];

        snprintf(m.state, sizeof m.state, "%s", s->state);
        for (size_t k = 0; k < s->n_blobs; k++) {
                const struct stage_blob_progress *b = &s->blobs[k];
                if (strcmp(b->state, "fetching") == 0)
                        add_blob(&m, b->path ? b->path : "", digest_format(&b->digest, digest), b->done,
                                 b->size);
        }
        replace(p, i, &m);
}

void progress_end(struct progress *p, size_t i, const char *line) {
        LOCK_SCOPE(&p->lock);
        if (p->models[i].ended)
                return;
        p->models[i].ended = true;
        p->running--;
        if (line) {
                screen_put(&p->said, line, SCREEN_WHOLE, SCREEN_CUT_END);
                (void)buf_append(&p->said, "\n", 1);
        }
        pthread_cond_signal(&p->changed);
}

/* ---- drawing ---- */

static void write_all(const struct buf *b) {
        for (size_t done = 0; done < b->len;) {
                ssize_t n = write(STDERR_FILENO, b->data + done, b->len - done);
                if (n < 0 && errno != EINTR)
                        return; /* progress that nobody can see is no failure */
                done += n > 0 ? (size_t)n : 0;
        }
}

static struct bars_style style_now(const struct progress *p) {
        struct winsize w;
        struct bars_style s = { .width = 80, .height = 24, .utf8 = screen_is_utf8(), .colour = p->colour };

        if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0) {
                s.width = w.ws_col;
                s.height = w.ws_row > 0 ? w.ws_row : s.height;
        }
        return s;
}

/* To the start of what is on the screen, and nothing below. */
static void rewind_frame(const struct progress *p, struct buf *out, unsigned width) {
        unsigned rows = 0;

        for (unsigned i = 0; i < p->frame.n; i++)
                rows += p->frame.width[i] > width ? (p->frame.width[i] + width - 1) / width : 1;
        (void)buf_printf(out, "\r");
        if (rows > 0)
                (void)buf_printf(out, "\033[%uA", rows);
}

/* Each line erases what was right of it, so that nothing flickers. */
static void put_frame(struct buf *out, const struct bars_frame *f) {
        const char *text = buf_text(&f->text);

        for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
                (void)buf_append(out, text, (size_t)(end - text));
                (void)buf_printf(out, "\033[K\n");
        }
        (void)buf_printf(out, "\033[J");
}

static void draw_terminal(struct progress *p) {
        struct buf out = BUF_INIT(2 * FRAME_MAX);
        struct bars_style style = style_now(p);

        if (p->drawn_ms == 0) {
                signals_hide_cursor();
                (void)buf_printf(&out, "\033[?25l");
        }
        rewind_frame(p, &out, style.width);
        {
                LOCK_SCOPE(&p->lock);
                if (p->said.len > 0)
                        (void)buf_printf(&out, "\033[J%s", buf_text(&p->said));
                buf_clear(&p->said);
                bars_draw(&p->frame, p->models, p->n, &style);
        }
        put_frame(&out, &p->frame);
        write_all(&out);
        buf_free(&out);
}

static void draw_lines(struct progress *p, bool due) {
        struct buf out = BUF_INIT(2 * FRAME_MAX);
        {
                LOCK_SCOPE(&p->lock);
                (void)buf_append(&out, buf_text(&p->said), p->said.len);
                buf_clear(&p->said);
                for (size_t i = 0; i < p->n && due; i++)
                        if (!p->models[i].ended && p->models[i].size > 0)
                                bars_line(&out, &p->models[i]);
        }
        write_all(&out);
        buf_free(&out);
}

void progress_tick(struct progress *p) {
        int64_t now = time_monotonic_ms();
        bool due = p->drawn_ms == 0 || now - p->drawn_ms >= (p->terminal ? DRAW_MS : LINE_MS);

        if (p->quiet)
                return;
        if (!p->terminal)
                draw_lines(p, due);
        else if (due)
                draw_terminal(p);
        if (due)
                p->drawn_ms = now;
}

void progress_wait(struct progress *p) {
        for (bool running = true; running;) {
                progress_tick(p);
                int64_t until = time_monotonic_ms() + DRAW_MS;
                struct timespec t = { .tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000 };
                LOCK_SCOPE(&p->lock);
                if (p->running > 0)
                        (void)pthread_cond_timedwait(&p->changed, &p->lock, &t);
                running = p->running > 0;
        }
}

/* What stays, and the terminal as it was. */
static void finish(struct progress *p) {
        struct buf out = BUF_INIT(2 * FRAME_MAX);

        if (p->terminal && p->drawn_ms > 0) {
                rewind_frame(p, &out, style_now(p).width);
                (void)buf_printf(&out, "\033[J");
        }
        (void)buf_append(&out, buf_text(&p->said), p->said.len);
        if (p->terminal && p->drawn_ms > 0)
                (void)buf_printf(&out, "\033[?25h");
        write_all(&out);
        buf_free(&out);
        signals_show_cursor();
}

void progress_free(struct progress *p) {
        if (!p)
                return;
        if (!p->quiet)
                finish(p);
        for (size_t i = 0; i < p->n; i++)
                bars_model_clear(&p->models[i]);
        free(p->models);
        buf_free(&p->said);
        buf_free(&p->frame.text);
        pthread_cond_destroy(&p->changed);
        pthread_mutex_destroy(&p->lock);
        free(p);
}
