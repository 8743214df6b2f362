/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status: the jobs of the daemon, from a stream: one message without --watch, one a second with it. The hosts
 * that it knows are below them; with --hosts they are all.
 *
 *   table    on a terminal --watch clears the screen before each one
 *   JSON     jobs, or hosts; indented, with --watch each message is an array on a line of its own
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "tools/modelstage/commands.h"
#include "tools/modelstage/daemon.h"
#include "tools/modelstage/output.h"
#include "tools/modelstage/table.h"

static json_t *job_json(const Modelstage__V1__Job *j) {
        json_t *item = cli_must(json_object());

        output_set(item, "reference", output_text(j->reference));
        output_set(item, "digest", output_text_or_null(j->digest));
        output_set(item, "state", output_text(j->state));
        output_set(item, "done", json_integer(j->done));
        output_set(item, "size", json_integer(j->size));
        output_set(item, "rate", json_integer(j->rate));
        output_set(item, "eta", output_seconds(j->eta_ms));
        output_set(item, "connections", json_integer(j->connections));
        output_set(item, "host", output_text_or_null(j->host));
        output_set(item, "retries", json_integer(j->retries));
        output_set(item, "waiting", json_integer(j->waiting));
        output_set(item, "error", output_text_or_null(j->error));
        return item;
}

static json_t *number_or_null(int64_t n) {
        return n > 0 ? json_integer(n) : json_null();
}

static json_t *host_json(const Modelstage__V1__Host *h) {
        json_t *item = cli_must(json_object());

        output_set(item, "host", output_text(h->name));
        output_set(item, "ranges", output_text_or_null(h->ranges));
        output_set(item, "connections", json_integer(h->connections));
        output_set(item, "best", number_or_null(h->best));
        output_set(item, "limit", number_or_null(h->limit));
        output_set(item, "rate", number_or_null(h->rate));
        output_set(item, "latency", h->latency_us > 0 ? json_real((double)h->latency_us / 1e6) : json_null());
        output_set(item, "lastUsed", output_time(h->last_used_ms));
        return item;
}

static void print_json(const Modelstage__V1__StatusResponse *s, bool hosts, bool one_line) {
        json_t *list = cli_must(json_array());

        for (size_t i = 0; !hosts && i < s->n_jobs; i++)
                json_array_append_new(list, job_json(s->jobs[i]));
        for (size_t i = 0; hosts && i < s->n_hosts; i++)
                json_array_append_new(list, host_json(s->hosts[i]));
        if (one_line)
                output_json_line(list);
        else
                output_json(list);
}

static void print_jobs(const Modelstage__V1__StatusResponse *s) {
        static const char *const headers[] = { "REFERENCE", "STATE",        ">DONE", ">SIZE",    ">RATE",
                                               ">ETA",      ">CONNECTIONS", "HOST",  ">RETRIES", ">WAITING",
                                               NULL };
        _cleanup_(table_freep) struct table *t = table_new(headers);
        char text[TEXT_SHORT];

        for (size_t i = 0; i < s->n_jobs; i++) {
                const Modelstage__V1__Job *j = s->jobs[i];
                table_cell(t, j->reference);
                table_cell(t, j->state);
                if (j->size > 0)
                        table_cellf(t, "%d%%", (int)((double)j->done * 100 / (double)j->size));
                else
                        table_cell(t, "");
                table_cell(t, j->size > 0 ? text_format_size((uint64_t)j->size, text) : "");
                table_cell(t, j->rate > 0 ? text_format_rate((uint64_t)j->rate, text) : "");
                table_cell(t, j->eta_ms >= 0 ? text_format_duration(j->eta_ms, text) : "");
                table_cellf(t, "%d", j->connections);
                table_cell(t, j->host);
                table_cellf(t, "%lld", (long long)j->retries);
                table_cellf(t, "%d", j->waiting);
        }
        table_print(t, stdout);
}

static void cell_number(struct table *t, int n) {
        if (n > 0)
                table_cellf(t, "%d", n);
        else
                table_cell(t, "");
}

static void print_hosts(const Modelstage__V1__StatusResponse *s) {
        static const char *const headers[] = { "HOST",   "RANGES",   ">CONNECTIONS", ">BEST", ">RATE",
                                               ">LIMIT", ">LATENCY", "LAST USED",    NULL };
        _cleanup_(table_freep) struct table *t = table_new(headers);
        char text[TEXT_SHORT];

        for (size_t i = 0; i < s->n_hosts; i++) {
                const Modelstage__V1__Host *h = s->hosts[i];
                table_cell(t, h->name);
                table_cell(t, h->ranges);
                table_cellf(t, "%d", h->connections);
                cell_number(t, h->best);
                table_cell(t, h->rate > 0 ? text_format_rate((uint64_t)h->rate, text) : "");
                cell_number(t, h->limit);
                if (h->latency_us > 0)
                        table_cellf(t, "%.1f ms", (double)h->latency_us / 1000);
                else
                        table_cell(t, "");
                table_cell(t, h->last_used_ms > 0 ? text_format_time(h->last_used_ms, text) : "");
        }
        table_print(t, stdout);
}

static void print_tables(const Modelstage__V1__StatusResponse *s, bool hosts) {
        if (!hosts)
                print_jobs(s);
        if (!hosts && s->n_hosts > 0)
                putchar('\n');
        if (hosts || s->n_hosts > 0)
                print_hosts(s);
}

static int on_status(const ProtobufCMessage *m, void *userdata, struct error *e) {
        const Modelstage__V1__StatusResponse *s = (const void *)m;
        const struct args *a = userdata;
        bool watch = args_has(a, ARG_BIT(WATCH)), hosts = args_has(a, ARG_BIT(HOSTS));

        if (a->output == ARG_OUTPUT_JSON) {
                print_json(s, hosts, watch);
        } else {
                if (watch && isatty(STDOUT_FILENO))
                        fputs("\033[H\033[J", stdout);
                print_tables(s, hosts);
        }
        if (fflush(stdout) != 0)
                return error_errno(e, errno, "write the jobs to stdout");
        return 0;
}

int cmd_status(const struct args *a) {
        Modelstage__V1__StatusRequest req = MODELSTAGE__V1__STATUS_REQUEST__INIT;
        _cleanup_daemon_ struct daemon d = { 0 };
        struct error e = { 0 };
        int r = daemon_open(&d, a);

        if (r != 0)
                return r;
        req.watch = args_has(a, ARG_BIT(WATCH));
        if (daemon_stream(&d, "Status", &req.base, &modelstage__v1__status_response__descriptor, on_status,
                          (void *)a, &e) < 0)
                return ferror(stdout) ? CLI_DONE : daemon_fail(&d, &e); /* CLI_DONE: cli_finish() tells */
        return CLI_DONE;
}
