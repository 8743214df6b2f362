/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch: the daemon's engine for one model and one directory.
 *
 *   DIR/.modelstage-XXXXXX   a cache of its own: layers, the model's tree (hard links into the layers)
 *   DIR/...                  links to the tree's files, made when all of it is there and verified, and its
 *                            directories and symbolic links
 *
 * Then the private cache is removed, and the files in DIR are the only names of their data. Interrupted or
 * failed, nothing of it stays: not the private cache, not a file in DIR, not DIR if it was made for this;
 * what --force replaced is back.
 *
 * Killed, it leaves the private cache to the next one that comes to DIR (scratch.h).
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/text.h"
#include "stager/stager.h"
#include "tools/modelstage/commands.h"
#include "tools/modelstage/direct.h"
#include "tools/modelstage/output.h"
#include "tools/modelstage/placing.h"
#include "tools/modelstage/progress.h"
#include "tools/modelstage/scratch.h"
#include "tools/modelstage/signals.h"
#include "tools/modelstage/table.h"

#define TICK_MS 100

struct fetch {
        struct direct direct;
        const char *dir; /* as it was given */
        int dir_fd;
        bool made; /* DIR was not there before */
        struct scratch scratch;
        struct cache *cache;
        struct oci_client *client;
        struct stager *stager;
};

/* DIR, made if it is missing; f->made remembers that, for clean_up(). */
static int open_directory(struct fetch *f, struct error *e) {
        _cleanup_free_ char *cwd = NULL, *absolute = NULL;
        struct stat st;
        int r;

        if (stat(f->dir, &st) < 0) {
                if (*f->dir != '/' && !(cwd = getcwd(NULL, 0)))
                        return error_errno(e, errno, "find the working directory");
                if (asprintf(&absolute, "%s%s%s", cwd ? cwd : "", cwd ? "/" : "", f->dir) < 0)
                        cli_out_of_memory();
                if ((r = path_make_dirs_absolute(absolute, 0755, e)) < 0)
                        return r;
                f->made = true;
        }
        f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return f->dir_fd < 0 ? error_errno(e, errno, "open the directory %s", f->dir) : 0;
}

/* The whole disk is ours to use: keeping some of it free is a matter of the daemon that shares it with pods.
 */
static int start_engine(struct fetch *f, struct error *e) {
        struct settings *s = f->direct.settings;
        int r;

        if ((r = settings_set(s, "cache.root", f->scratch.path, e)) < 0 ||
            (r = settings_set(s, "cache.maxBytes", "0", e)) < 0 ||
            (r = settings_set(s, "cache.minFree", "0", e)) < 0 || (r = settings_check(s, e)) < 0 ||
            (r = cache_open(&f->cache, s, e)) < 0 || (r = oci_client_new(&f->client, s, e)) < 0)
                return r;
        return stager_new(&f->stager, s, f->cache, f->client, e);
}

/* Draws meanwhile; a signal ends the wait. */
static int wait_ready(struct stage_job *job, struct progress *bars, struct stage_outcome *o,
                      struct error *e) {
        struct error why = { 0 };
        int r;

        while ((r = stage_job_wait(job, TICK_MS, o, &why)) < 0 && why.kind == ERROR_IN_PROGRESS) {
                _cleanup_(stage_progress_clear) struct stage_progress p = { 0 };
                if (signals_caught())
                        return error_set(e, ERROR_CANCELLED, "interrupted");
                if (stage_job_progress(job, &p) == 0)
                        progress_update_stage(bars, 0, &p);
                progress_tick(bars);
        }
        return r < 0 ? error_copy(e, &why) : 0;
}

/* The tree's files get their names in DIR. */
static int place(struct fetch *f, const struct digest *key, bool force, struct error *e) {
        _cleanup_(cache_model_freep) struct cache_model *model = NULL;
        struct cache_file *files = NULL;
        size_t n = 0;
        int r;

        if (cache_model_find(f->cache, key, &model) < 0)
                return error_set(e, ERROR_INTERNAL, "the model was staged but is not there");
        if ((r = cache_model_entries(f->cache, key, &files, &n, e)) < 0)
                return r;
        struct placing p = { .dir = f->dir,
                             .dir_fd = f->dir_fd,
                             .tree = model->path,
                             .spare = path_base(f->scratch.path),
                             .files = files,
                             .n = n,
                             .force = force };
        r = placing_run(&p, e);
        cache_file_list_free(files, n);
        return r;
}

static int run(struct fetch *f, const struct args *a, struct stage_outcome *o, struct error *e) {
        _cleanup_(stage_job_leavep) struct stage_job *job = NULL;
        _cleanup_(progress_freep) struct progress *bars = NULL;
        struct stage_request request = { .policy = STAGE_ALWAYS, .urgent = true };
        int r;

        if ((r = open_directory(f, e)) < 0 || (r = scratch_make(&f->scratch, f->dir_fd, f->dir, e)) < 0 ||
            (r = start_engine(f, e)) < 0)
                return r;
        request.reference = f->direct.reference;
        request.selection = f->direct.selection;
        request.keyring = f->direct.keyring;
        if ((r = stager_stage(&job, f->stager, &request, e)) < 0)
                return r;
        bars = progress_new(a->operands, 1, args_has(a, ARG_BIT(QUIET)));
        if ((r = wait_ready(job, bars, o, e)) < 0)
                return r;
        return place(f, &o->key, args_has(a, ARG_BIT(FORCE)), e);
}

/* Whatever happened: engine, cache and private directory go; if it failed, DIR too if it was ours. */
static int clean_up(struct fetch *f, bool failed, struct error *e) {
        stager_free(f->stager);
        oci_client_free(f->client);
        cache_close(f->cache);
        int r = scratch_remove(&f->scratch, f->dir_fd, e);
        if (failed && f->made)
                (void)rmdir(f->dir); /* not empty: somebody else has put something there */
        if (f->dir_fd >= 0)
                close(f->dir_fd);
        direct_close(&f->direct);
        return r;
}

static void print_result(const struct args *a, const struct stage_outcome *o) {
        static const char *const headers[] = { "REFERENCE", "DIGEST", "RESULT", ">SIZE",
                                               ">FETCHED",  ">TIME",  NULL };
        char digest[DIGEST_TEXT_SIZE], text[TEXT_SHORT];

        digest_format(&o->manifest, digest);
        if (args_has(a, ARG_BIT(QUIET))) {
                printf("%s\n", digest);
        } else if (a->output == ARG_OUTPUT_JSON) {
                json_t *item = cli_must(json_object()), *list = cli_must(json_array());
                output_set(item, "reference", output_text(a->operands[0]));
                output_set(item, "digest", output_text(digest));
                output_set(item, "result", output_text(stage_result_name(o->result)));
                output_set(item, "bytes", json_integer((json_int_t)o->bytes));
                output_set(item, "fetched", json_integer((json_int_t)o->fetched));
                output_set(item, "seconds", output_seconds(o->elapsed_ms));
                json_array_append_new(list, item);
                output_json(list);
        } else {
                _cleanup_(table_freep) struct table *t = table_new(headers);
                table_cell(t, a->operands[0]);
                table_short_digest(t, digest);
                table_cell(t, stage_result_name(o->result));
                table_size(t, o->bytes);
                table_size(t, o->fetched);
                table_cell(t, text_format_duration(o->elapsed_ms, text));
                table_print(t, stdout);
        }
}

int cmd_fetch(const struct args *a) {
        struct fetch f = { .dir = a->operands[1], .dir_fd = -1, .scratch = SCRATCH_NONE };
        struct stage_outcome o = { 0 };
        struct error e = { 0 }, trouble = { 0 };
        int r = direct_open(&f.direct, a);

        if (r != 0) {
                direct_close(&f.direct);
                return r;
        }
        signals_defer();
        r = run(&f, a, &o, &e);
        int cleaned = clean_up(&f, r < 0, &trouble);
        signals_raise();
        if (r < 0)
                return cli_fail(&e);
        if (cleaned < 0)
                return cli_fail(&trouble);
        print_result(a, &o);
        return CLI_DONE;
}
