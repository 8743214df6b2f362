/* SPDX-License-Identifier: Apache-2.0 */
/*
 * warm: a call for each reference, on a few threads; the main thread draws.
 *
 *   orders[] --next--> run_orders(), on up to THREADS_MAX threads --> Warm --> progress, a result or an error
 *   main thread: progress_wait() draws meanwhile; then the results, and the failures
 *
 * An order belongs to the thread that took it until it has told progress_end(); then to the main thread. The
 * daemon goes on when this program is interrupted.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "tools/modelstage/commands.h"
#include "tools/modelstage/daemon.h"
#include "tools/modelstage/output.h"
#include "tools/modelstage/progress.h"
#include "tools/modelstage/table.h"

#define THREADS_MAX 32 /* the daemon has 256 places for calls that wait; others want some too */

struct order { /* one operand */
        struct warming *all;
        size_t index; /* among the operands */
        bool done;    /* with a result; else @error says why not */
        struct error error;
        char result[16]; /* hit, miss, joined, accepted */
        char digest[DIGEST_TEXT_SIZE];
        int64_t bytes, fetched, elapsed_ms;
};

struct warming {
        const struct args *args;
        struct daemon daemon;
        char *docker_config;
        struct progress *progress;
        struct order *orders;
        size_t n;
        atomic_size_t next; /* order that nobody has taken */
};

static void order_finished(struct order *o, const Modelstage__V1__WarmProgress *p) {
        o->done = true;
        snprintf(o->result, sizeof o->result, "%s", p->result);
        snprintf(o->digest, sizeof o->digest, "%s", *p->digest ? p->digest : p->job ? p->job->digest : "");
        o->bytes = p->bytes;
        o->fetched = p->fetched;
        o->elapsed_ms = p->elapsed_ms;
}

/* On the order's thread, for each message of the daemon. */
static int on_progress(const ProtobufCMessage *m, void *userdata, struct error *e) {
        const Modelstage__V1__WarmProgress *p = (const void *)m;
        struct order *o = userdata;

        (void)e;
        if (p->job)
                progress_update_job(o->all->progress, o->index, p->job);
        if (*p->result) {
                order_finished(o, p);
                /* Detached: the daemon keeps the call to pin the model later; we need not see that. */
                return args_has(o->all->args, ARG_BIT(DETACH)) ? -ECANCELED : 0;
        }
        return 0;
}

/* "REF: miss, 2.6 GiB in 3.2s (812 MiB/s)" */
static char *last_line(const struct order *o) {
        const char *reference = o->all->args->operands[o->index];
        char size[TEXT_SHORT], time[TEXT_SHORT], rate[TEXT_SHORT];
        char *line = NULL;
        int n;

        text_format_size((uint64_t)(o->bytes > 0 ? o->bytes : 0), size);
        text_format_duration(o->elapsed_ms, time);
        if (strcmp(o->result, "miss") == 0 && o->elapsed_ms > 0 && o->fetched > 0)
                n = asprintf(&line, "%s: %s, %s in %s (%s)", reference, o->result, size, time,
                             text_format_rate((uint64_t)o->fetched * 1000 / (uint64_t)o->elapsed_ms, rate));
        else if (strcmp(o->result, "accepted") == 0)
                n = asprintf(&line, "%s: accepted", reference);
        else
                n = asprintf(&line, "%s: %s, %s", reference, o->result, size);
        if (n < 0)
                cli_out_of_memory();
        return line;
}

/* One call, from request to result; tells the drawing thread when it is over. */
static void run_order(struct order *o) {
        const struct args *a = o->all->args;
        Modelstage__V1__WarmRequest req = MODELSTAGE__V1__WARM_REQUEST__INIT;
        Modelstage__V1__Selection selection;
        _cleanup_free_ char *line = NULL;

        req.reference = (char *)a->operands[o->index];
        req.selection = (Modelstage__V1__Selection *)daemon_selection(&selection, a);
        req.pull_policy = daemon_pull_policy(a);
        req.docker_config = o->all->docker_config;
        req.pin = args_has(a, ARG_BIT(PIN));
        req.ttl_seconds = a->ttl_ms / 1000;
        req.detach = args_has(a, ARG_BIT(DETACH));
        int r = daemon_stream(&o->all->daemon, "Warm", &req.base, &modelstage__v1__warm_progress__descriptor,
                              on_progress, o, &o->error);
        if (o->done && (r >= 0 || req.detach))
                line = last_line(o);
        else if (r >= 0)
                error_set(&o->error, ERROR_INTERNAL, "the daemon ended the call for %s without a result",
                          req.reference);
        o->done = line != NULL;
        progress_end(o->all->progress, o->index, line);
}

static void *run_orders(void *userdata) {
        struct warming *w = userdata;

        for (size_t i; (i = atomic_fetch_add(&w->next, 1)) < w->n;)
                run_order(&w->orders[i]);
        return NULL;
}

static void run_all(struct warming *w) {
        size_t wanted = w->n < THREADS_MAX ? w->n : THREADS_MAX, started = 0;
        pthread_t threads[THREADS_MAX];

        while (started < wanted && pthread_create(&threads[started], NULL, run_orders, w) == 0)
                started++;
        if (started == 0)
                run_orders(w); /* no bars then, but the models */
        progress_wait(w->progress);
        for (size_t i = 0; i < started; i++)
                pthread_join(threads[i], NULL);
}

static void print_json(const struct warming *w) {
        json_t *list = cli_must(json_array());

        for (size_t i = 0; i < w->n; i++) {
                const struct order *o = &w->orders[i];
                if (!o->done)
                        continue;
                json_t *item = cli_must(json_object());
                output_set(item, "reference", output_text(w->args->operands[i]));
                output_set(item, "digest", output_text_or_null(o->digest));
                output_set(item, "result", output_text(o->result));
                output_set(item, "bytes", json_integer(o->bytes));
                output_set(item, "fetched", json_integer(o->fetched));
                output_set(item, "seconds", output_seconds(o->elapsed_ms));
                json_array_append_new(list, item);
        }
        output_json(list);
}

static void print_table(const struct warming *w) {
        static const char *const headers[] = { "REFERENCE", "DIGEST", "RESULT", ">SIZE",
                                               ">FETCHED",  ">TIME",  NULL };
        _cleanup_(table_freep) struct table *t = table_new(headers);
        char text[TEXT_SHORT];
        size_t rows = 0;

        for (size_t i = 0; i < w->n; i++) {
                const struct order *o = &w->orders[i];
                if (!o->done)
                        continue;
                rows++;
                table_cell(t, w->args->operands[i]);
                table_short_digest(t, o->digest);
                table_cell(t, o->result);
                table_size(t, (uint64_t)o->bytes);
                table_size(t, (uint64_t)o->fetched);
                table_cell(t, text_format_duration(o->elapsed_ms, text));
        }
        if (rows > 0)
                table_print(t, stdout);
}

static int report(const struct warming *w) {
        int exit_code = CLI_DONE;

        for (size_t i = 0; i < w->n; i++)
                if (!w->orders[i].done) {
                        int code = daemon_fail(&w->daemon, &w->orders[i].error);
                        exit_code = exit_code == CLI_DONE ? code : exit_code;
                }
        if (args_has(w->args, ARG_BIT(QUIET))) {
                for (size_t i = 0; i < w->n; i++)
                        if (w->orders[i].done && *w->orders[i].digest)
                                printf("%s\n", w->orders[i].digest);
        } else if (w->args->output == ARG_OUTPUT_JSON) {
                print_json(w);
        } else {
                print_table(w);
        }
        return exit_code;
}

int cmd_warm(const struct args *a) {
        struct warming w = { .args = a, .n = a->n_operands };
        struct error e = { 0 };
        int r = daemon_check_references(a, a->n_operands);

        if (r != 0)
                return r;
        if (daemon_docker_config(&w.docker_config, a, &e) < 0)
                return cli_fail(&e);
        r = daemon_open(&w.daemon, a);
        if (r == 0) {
                w.orders = cli_alloc(w.n * sizeof *w.orders);
                for (size_t i = 0; i < w.n; i++)
                        w.orders[i] = (struct order){ .all = &w, .index = i };
                w.progress = progress_new(a->operands, w.n, args_has(a, ARG_BIT(QUIET)));
                run_all(&w);
                progress_free(w.progress);
                r = report(&w);
        }
        daemon_close(&w.daemon);
        free(w.orders);
        free(w.docker_config);
        return r;
}
