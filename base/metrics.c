/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics in memory and their text.
 *
 *   metrics.def --> families[] --> series: one for each set of label values, in the order of their birth
 *                                  value; a histogram also has a count and a number for each bucket
 *
 * A family's list of series is searched by comparing strings: there are few, and a change is a few a second.
 * Label values that are too long or not UTF-8, and all beyond METRIC_MAX_SERIES, are counted as "other". A
 * change that finds no memory is lost: nothing fails for a metric's sake.
 *
 * Threads: any. `lock` guards the series and is never held while a collector runs; `scrape_lock` guards the
 * list of collectors, and metrics_forget_scrape() waits for one that runs, so that its owner may go.
 */
#include "base/metrics.h"

#include "base/text.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "modelstage_"
#define MAX_LABELS 4
#define MAX_BUCKETS 16
#define MAX_VALUE 255 /* bytes of a label's value; what is longer is counted as "other" */
#define MAX_COLLECTORS 16

struct series {
        struct series *next;
        double value;                  /* counter, gauge; sum of a histogram */
        uint64_t count;                /* histogram only, as is the next */
        uint64_t buckets[MAX_BUCKETS]; /* each for itself; summed up when written */
        char *labels[MAX_LABELS];      /* into text */
        char text[];
};

struct family {
        const char *name;
        enum metric_type type;
        const char *label_text, *bucket_text, *help; /* as in the table */
        char **labels;                               /* NULL-ended */
        unsigned n_labels, n_buckets, n_series;
        double bounds[MAX_BUCKETS];
        struct series *series;
};

#define X(id, name_, type_, labels_, buckets_, help_) \
        [METRIC_##id] = { .name = PREFIX name_, \
                          .type = type_, \
                          .label_text = labels_, \
                          .bucket_text = buckets_, \
                          .help = help_ },
static struct family families[_METRIC_MAX] = {
#include "base/metrics.def"
};
#undef X

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static pthread_mutex_t scrape_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t scrape_done = PTHREAD_COND_INITIALIZER;
static unsigned n_scrapes; /* running */
static struct collector {
        void (*collect)(void *userdata);
        void *userdata;
} collectors[MAX_COLLECTORS];
static unsigned n_collectors;

/* The table is ours: a mistake in it is found by the first test that runs. */
static void family_init(struct family *f) {
        f->labels = text_split(f->label_text, ' ');
        assert(f->labels);
        while (f->labels[f->n_labels])
                f->n_labels++;
        assert(f->n_labels <= MAX_LABELS);

        const char *at = f->bucket_text;
        assert((f->type == METRIC_HISTOGRAM) == (at != NULL));
        while (at && *at) {
                char *end;

                assert(f->n_buckets < MAX_BUCKETS);
                f->bounds[f->n_buckets++] = strtod(at, &end);
                assert(end != at);
                at = end;
        }
}

static void families_init(void) {
        for (unsigned i = 0; i < _METRIC_MAX; i++)
                family_init(&families[i]);
}

static struct family *family_get(enum metric id) {
        assert((unsigned)id < _METRIC_MAX);
        pthread_once(&once, families_init);
        return &families[id];
}

static const char *label_value(const char *value) {
        size_t len = strlen(value);

        return len <= MAX_VALUE && text_is_utf8(value, len) ? value : "other";
}

/* With the lock held. NULL: these labels have not been seen. */
static struct series *series_find(struct family *f, const char *const *labels) {
        for (struct series *s = f->series; s; s = s->next) {
                unsigned i = 0;

                while (i < f->n_labels && strcmp(s->labels[i], label_value(labels[i])) == 0)
                        i++;
                if (i == f->n_labels)
                        return s;
        }
        return NULL;
}

/* Labels are copied behind the struct, in one allocation. */
static struct series *series_add(struct family *f, const char *const *labels) {
        size_t size = 0;

        for (unsigned i = 0; i < f->n_labels; i++)
                size += strlen(label_value(labels[i])) + 1;
        struct series *s = calloc(1, sizeof *s + size);
        if (!s)
                return NULL;

        char *at = s->text;
        for (unsigned i = 0; i < f->n_labels; i++) {
                s->labels[i] = at;
                at = stpcpy(at, label_value(labels[i])) + 1;
        }
        struct series **end = &f->series; /* in the order of their birth */
        while (*end)
                end = &(*end)->next;
        *end = s;
        f->n_series++;
        return s;
}

/* With the lock held. NULL: out of memory, and the change is lost. */
static struct series *series_get(struct family *f, const char *const *labels) {
        static const char *const other[MAX_LABELS] = { "other", "other", "other", "other" };

        for (unsigned i = 0; i < f->n_labels; i++)
                assert(labels[i]);
        assert(!labels[f->n_labels]);
        struct series *s = series_find(f, labels);
        if (s)
                return s;
        if (f->n_series < METRIC_MAX_SERIES - 1)
                return series_add(f, labels);
        s = series_find(f, other);
        return s ? s : series_add(f, other);
}

void metric_change(enum metric id, double delta, const char *const *labels) {
        struct family *f = family_get(id);
        LOCK_SCOPE(&lock);

        assert(f->type != METRIC_HISTOGRAM && (f->type != METRIC_COUNTER || delta >= 0));
        struct series *s = series_get(f, labels);
        if (s)
                s->value += delta;
}

void metric_store(enum metric id, double value, const char *const *labels) {
        struct family *f = family_get(id);
        LOCK_SCOPE(&lock);

        assert(f->type == METRIC_GAUGE);
        struct series *s = series_get(f, labels);
        if (s)
                s->value = value;
}

void metric_record(enum metric id, double value, const char *const *labels) {
        struct family *f = family_get(id);
        LOCK_SCOPE(&lock);

        assert(f->type == METRIC_HISTOGRAM);
        struct series *s = series_get(f, labels);
        if (!s)
                return;
        s->value += value;
        s->count++;
        for (unsigned i = 0; i < f->n_buckets; i++)
                if (value <= f->bounds[i]) {
                        s->buckets[i]++;
                        break;
                }
}

double metric_value(enum metric id, const char *const *labels) {
        struct family *f = family_get(id);
        LOCK_SCOPE(&lock);

        assert(f->type != METRIC_HISTOGRAM);
        const struct series *s = series_find(f, labels);
        return s ? s->value : 0;
}

void metrics_on_scrape(void (*collect)(void *userdata), void *userdata) {
        LOCK_SCOPE(&scrape_lock);

        assert(n_collectors < MAX_COLLECTORS);
        collectors[n_collectors++] = (struct collector){ collect, userdata };
}

void metrics_forget_scrape(void *userdata) {
        LOCK_SCOPE(&scrape_lock);
        unsigned kept = 0;

        while (n_scrapes > 0)
                pthread_cond_wait(&scrape_done, &scrape_lock);
        for (unsigned i = 0; i < n_collectors; i++)
                if (collectors[i].userdata != userdata)
                        collectors[kept++] = collectors[i];
        n_collectors = kept;
}

/* Runs the collectors without a lock, so that they may change metrics and take locks of their own. */
static void scrape_collect(void) {
        struct collector now[MAX_COLLECTORS];

        pthread_mutex_lock(&scrape_lock);
        unsigned n = n_collectors;
        memcpy(now, collectors, sizeof now);
        n_scrapes++;
        pthread_mutex_unlock(&scrape_lock);

        for (unsigned i = 0; i < n; i++)
                now[i].collect(now[i].userdata);

        pthread_mutex_lock(&scrape_lock);
        n_scrapes--;
        pthread_cond_broadcast(&scrape_done);
        pthread_mutex_unlock(&scrape_lock);
}

/* ---- text ---- */

/* In a label's value a quote is escaped, in a help text it is not. */
static int write_escaped(struct buf *out, const char *text, bool in_quotes) {
        int r = 0;

        for (; *text && r >= 0; text++)
                if (*text == '\\')
                        r = buf_append(out, "\\\\", 2);
                else if (*text == '\n')
                        r = buf_append(out, "\\n", 2);
                else if (*text == '"' && in_quotes)
                        r = buf_append(out, "\\\"", 2);
                else
                        r = buf_append(out, text, 1);
        return r;
}

/* The shortest form that reads back as the same number. */
static int write_number(struct buf *out, double value) {
        char text[40];

        if (!isfinite(value))
                return buf_printf(out, "%s", isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
        if (fabs(value) < 1e15 && value == trunc(value)) /* bytes and counts as people write them */
                return buf_printf(out, "%.0f", value);
        for (int digits = 6; digits <= 17; digits++) {
                snprintf(text, sizeof text, "%.*g", digits, value);
                if (strtod(text, NULL) == value)
                        break;
        }
        return buf_printf(out, "%s", text);
}

/* name_suffix{labels,le="bound"} value; @bound NULL: no le. */
static int write_sample(struct buf *out, const struct family *f, const struct series *s, const char *suffix,
                        const double *bound, double value) {
        int r = buf_printf(out, "%s%s%s", f->name, suffix, f->n_labels || bound ? "{" : "");

        for (unsigned i = 0; i < f->n_labels && r >= 0; i++) {
                r = buf_printf(out, "%s%s=\"", i ? "," : "", f->labels[i]);
                if (r >= 0)
                        r = write_escaped(out, s->labels[i], true);
                if (r >= 0)
                        r = buf_append(out, "\"", 1);
        }
        if (r >= 0 && bound) {
                r = buf_printf(out, "%sle=\"", f->n_labels ? "," : "");
                if (r >= 0)
                        r = write_number(out, *bound);
                if (r >= 0)
                        r = buf_append(out, "\"", 1);
        }
        if (r >= 0)
                r = buf_printf(out, f->n_labels || bound ? "} " : " ");
        if (r >= 0)
                r = write_number(out, value);
        return r < 0 ? r : buf_append(out, "\n", 1);
}

static int write_histogram(struct buf *out, const struct family *f, const struct series *s) {
        uint64_t below = 0;
        double inf = INFINITY;
        int r = 0;

        for (unsigned i = 0; i < f->n_buckets && r >= 0; i++) {
                below += s->buckets[i];
                r = write_sample(out, f, s, "_bucket", &f->bounds[i], (double)below);
        }
        if (r >= 0)
                r = write_sample(out, f, s, "_bucket", &inf, (double)s->count);
        if (r >= 0)
                r = write_sample(out, f, s, "_sum", NULL, s->value);
        return r < 0 ? r : write_sample(out, f, s, "_count", NULL, (double)s->count);
}

/* With the lock held. A family with labels has nothing to show before its first change, one without is 0. */
static int write_family(struct buf *out, const struct family *f) {
        static const char *const types[] = { "counter", "gauge", "histogram" };
        static const struct series zero;
        const struct series *s = f->series;

        if (!s && f->n_labels)
                return 0;
        int r = buf_printf(out, "# HELP %s ", f->name);
        if (r >= 0)
                r = write_escaped(out, f->help, false);
        if (r >= 0)
                r = buf_printf(out, "\n# TYPE %s %s\n", f->name, types[f->type]);
        for (s = s ? s : &zero; s && r >= 0; s = s->next)
                r = f->type == METRIC_HISTOGRAM ? write_histogram(out, f, s)
                                                : write_sample(out, f, s, "", NULL, s->value);
        return r;
}

int metrics_write(struct buf *out) {
        int r = 0;

        scrape_collect();
        for (unsigned i = 0; i < _METRIC_MAX && r >= 0; i++) {
                const struct family *f = family_get((enum metric)i);
                LOCK_SCOPE(&lock);

                r = write_family(out, f);
        }
        return r;
}
