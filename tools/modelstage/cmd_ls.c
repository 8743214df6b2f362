/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ls and df: what the cache has. One call each, and its answer as a table or as JSON.
 *
 *   ls    models that are ready, and jobs that run or have failed in the last minutes (stager/control.c)
 *   df    bytes: capacity, used, reserved by running jobs, free for a new model, saved by shared layers
 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "tools/modelstage/commands.h"
#include "tools/modelstage/daemon.h"
#include "tools/modelstage/output.h"
#include "tools/modelstage/table.h"

/* "3m ago": one unit is enough to see what is old. */
static void cell_ago(struct table *t, int64_t unix_ms) {
        static const struct {
                const char *unit;
                int64_t seconds;
        } units[] = { { "d", 86400 }, { "h", 3600 }, { "m", 60 }, { "s", 1 } };
        int64_t ago = (time_now_ms() - unix_ms) / 1000;
        size_t i = 0;

        if (unix_ms == 0) {
                table_cell(t, "never");
                return;
        }
        while (i < 3 && ago < units[i].seconds)
                i++;
        table_cellf(t, "%lld%s ago", (long long)(ago > 0 ? ago / units[i].seconds : 0), units[i].unit);
}

static void print_table(const Modelstage__V1__ListResponse *list) {
        static const char *const headers[] = { "REFERENCE", "DIGEST", "FORMAT", ">SIZE",
                                               ">FILES",    "STATE",  ">HITS",  "LAST USED",
                                               ">MOUNTS",   "PIN",    NULL };
        _cleanup_(table_freep) struct table *t = table_new(headers);

        for (size_t i = 0; i < list->n_models; i++) {
                const Modelstage__V1__Model *m = list->models[i];
                table_cell(t, m->reference);
                table_short_digest(t, m->digest);
                table_cell(t, m->format);
                table_size(t, m->size > 0 ? (uint64_t)m->size : 0);
                table_cellf(t, "%lld", (long long)m->files);
                table_cell(t, m->state);
                table_cellf(t, "%lld", (long long)m->hits);
                cell_ago(t, m->last_used_ms);
                table_cellf(t, "%d", m->mounts);
                table_cell(t, m->pinned ? "yes" : "");
        }
        table_print(t, stdout);
}

static void print_json(const Modelstage__V1__ListResponse *list) {
        json_t *array = cli_must(json_array());

        for (size_t i = 0; i < list->n_models; i++) {
                const Modelstage__V1__Model *m = list->models[i];
                json_t *item = cli_must(json_object());
                output_set(item, "reference", output_text(m->reference));
                output_set(item, "digest", output_text_or_null(m->digest));
                output_set(item, "format", output_text_or_null(m->format));
                output_set(item, "size", json_integer(m->size));
                output_set(item, "files", json_integer(m->files));
                output_set(item, "state", output_text(m->state));
                output_set(item, "hits", json_integer(m->hits));
                output_set(item, "lastUsed", output_time(m->last_used_ms));
                output_set(item, "mounts", json_integer(m->mounts));
                output_set(item, "pinned", json_boolean(m->pinned));
                output_set(item, "key", output_text_or_null(m->key));
                output_set(item, "path", output_text_or_null(m->path));
                output_set(item, "error", output_text_or_null(m->error));
                json_array_append_new(array, item);
        }
        output_json(array);
}

int cmd_ls(const struct args *a) {
        Modelstage__V1__ListRequest req = MODELSTAGE__V1__LIST_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *reply = NULL;
        _cleanup_daemon_ struct daemon d = { 0 };
        struct error e = { 0 };
        int r = daemon_open(&d, a);

        if (r != 0)
                return r;
        if (daemon_call(&d, "List", &req.base, &modelstage__v1__list_response__descriptor, &reply, &e) < 0)
                return daemon_fail(&d, &e);
        const Modelstage__V1__ListResponse *list = (const void *)reply;
        if (args_has(a, ARG_BIT(QUIET))) {
                for (size_t i = 0; i < list->n_models; i++)
                        if (*list->models[i]->digest)
                                printf("%s\n", list->models[i]->digest);
        } else if (a->output == ARG_OUTPUT_JSON) {
                print_json(list);
        } else {
                print_table(list);
        }
        return CLI_DONE;
}

static void print_space(const Modelstage__V1__DiskFreeResponse *s) {
        static const char *const headers[] = { ">CAPACITY", ">USED",   ">RESERVED", ">FREE",
                                               ">MODELS",   ">LAYERS", ">SAVED",    NULL };
        _cleanup_(table_freep) struct table *t = table_new(headers);

        table_size(t, (uint64_t)s->capacity);
        table_size(t, (uint64_t)s->used);
        table_size(t, (uint64_t)s->reserved);
        table_size(t, (uint64_t)s->free);
        table_cellf(t, "%lld", (long long)s->models);
        table_cellf(t, "%lld", (long long)s->layers);
        table_size(t, (uint64_t)s->saved);
        table_print(t, stdout);
}

int cmd_df(const struct args *a) {
        Modelstage__V1__DiskFreeRequest req = MODELSTAGE__V1__DISK_FREE_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *reply = NULL;
        _cleanup_daemon_ struct daemon d = { 0 };
        struct error e = { 0 };
        int r = daemon_open(&d, a);

        if (r != 0)
                return r;
        if (daemon_call(&d, "DiskFree", &req.base, &modelstage__v1__disk_free_response__descriptor, &reply,
                        &e) < 0)
                return daemon_fail(&d, &e);
        const Modelstage__V1__DiskFreeResponse *s = (const void *)reply;
        if (a->output == ARG_OUTPUT_JSON)
                output_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "capacity",
                                      (json_int_t)s->capacity, "used", (json_int_t)s->used, "reserved",
                                      (json_int_t)s->reserved, "free", (json_int_t)s->free, "models",
                                      (json_int_t)s->models, "layers", (json_int_t)s->layers, "saved",
                                      (json_int_t)s->saved));
        else
                print_space(s);
        return CLI_DONE;
}
