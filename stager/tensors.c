/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensors: bounded reading of headers, and the report over a model's files.
 *
 *   tensors_report_add -> tensors_read -> safetensors_scan | gguf_scan -> summary_count, summary_note
 *        |
 *        +-> files: each with its figures or its error, the first REPORT_FILES of them
 *        +-> sums over all files: tensors, parameters, types
 *
 * A header is read through one 64 KiB buffer, so memory does not grow with what the file claims. What a
 * hostile file can cost is reading: every refill is taken off a budget that all files of one report share. A
 * file whose header is bad does not count in the sums.
 */
#include "stager/tensors.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/path.h"
#include "base/text.h"
#include "stager/tensors_scan.h"

#define REPORT_BUDGET ((uint64_t)256 << 20) /* bytes of headers, of all files together */
#define REPORT_FILES 4096                   /* listed one by one; the sums go on */

struct tensors_report {
        uint64_t budget; /* bytes that may still be read */
        struct tensors_count all;
        json_t *dtypes; /* name: {"tensors", "parameters"} */
        json_t *files;
};

void scan_init(struct scan *s, const struct tensors_source *source, uint64_t *budget) {
        s->source = source;
        s->budget = budget;
        s->pos = s->from = 0;
        s->end = source->size;
        s->len = 0;
}

/* The buffer's next content, from s->pos on. The budget pays for what is asked for. */
static int scan_fill(struct scan *s, struct error *e) {
        size_t want = s->end - s->pos < sizeof s->data ? s->end - s->pos : sizeof s->data;
        ssize_t n;

        if (want == 0)
                return error_set(e, ERROR_INVALID, "the header ends too early, at byte %llu",
                                 (unsigned long long)s->pos);
        if (*s->budget < want)
                return error_set(e, ERROR_INVALID, "the header is too large to be summarised");
        *s->budget -= want;
        n = s->source->read(s->source->userdata, s->data, want, s->pos);
        if (n < 0)
                return error_errno(e, errno, "read the header");
        if (n == 0)
                return error_set(e, ERROR_INVALID, "the file is shorter than it was");
        s->from = s->pos;
        s->len = (size_t)n;
        return 0;
}

int scan_peek(struct scan *s, struct error *e) {
        if (s->pos >= s->end || s->pos < s->from || s->pos - s->from >= s->len) {
                int r = scan_fill(s, e);
                if (r < 0)
                        return r;
        }
        return s->data[s->pos - s->from];
}

int scan_byte(struct scan *s, struct error *e) {
        int c = scan_peek(s, e);

        if (c >= 0)
                s->pos++;
        return c;
}

int scan_bytes(struct scan *s, void *ret, size_t len, struct error *e) {
        uint8_t *to = ret;

        for (size_t i = 0; i < len; i++) {
                int c = scan_byte(s, e);
                if (c < 0)
                        return c;
                to[i] = (uint8_t)c;
        }
        return 0;
}

int scan_le(struct scan *s, uint64_t *ret, unsigned bytes, struct error *e) {
        uint8_t raw[8];
        uint64_t v = 0;
        int r = scan_bytes(s, raw, bytes, e);

        if (r < 0)
                return r;
        for (unsigned i = bytes; i-- > 0;)
                v = v << 8 | raw[i];
        *ret = v;
        return 0;
}

int scan_skip(struct scan *s, uint64_t len, struct error *e) {
        if (len > s->end - s->pos)
                return error_set(e, ERROR_INVALID, "the header goes beyond the end, at byte %llu",
                                 (unsigned long long)s->pos);
        s->pos += len;
        return 0;
}

int summary_count(struct tensors_summary *t, unsigned dtype, uint64_t parameters, struct error *e) {
        if (__builtin_add_overflow(t->all.parameters, parameters, &t->all.parameters) ||
            t->all.parameters > INT64_MAX)
                return error_set(e, ERROR_INVALID, "the tensors have more elements than a number can hold");
        t->all.tensors++;
        t->dtypes[dtype].tensors++;
        t->dtypes[dtype].parameters += parameters;
        return 0;
}

void summary_note(struct tensors_summary *t, const char *key, json_t *value) {
        if (!t->metadata)
                t->metadata = json_object();
        if (!value || json_object_size(t->metadata) >= SCAN_METADATA ||
            json_object_set_new(t->metadata, key, value) < 0)
                return; /* set_new has released the value; a metadatum less is no failure */
}

void tensors_summary_clear(struct tensors_summary *s) {
        json_decref(s->metadata);
        *s = (struct tensors_summary){ 0 };
}

int tensors_format_of(const char *path) {
        if (text_ends_with(path, ".safetensors"))
                return TENSORS_SAFETENSORS;
        if (text_ends_with(path, ".gguf"))
                return TENSORS_GGUF;
        return -1;
}

int tensors_read(struct tensors_summary *ret, enum tensors_format format, const struct tensors_source *source,
                 uint64_t *budget, struct error *e) {
        _cleanup_tensors_ struct tensors_summary t = { .format = format };
        _cleanup_free_ struct scan *s = malloc(sizeof *s);
        int r;

        if (!s)
                return error_errno(e, ENOMEM, "read a tensor header");
        scan_init(s, source, budget);
        r = format == TENSORS_GGUF ? gguf_scan(&t, s, e) : safetensors_scan(&t, s, e);
        if (r < 0)
                return r;
        *ret = t;
        t.metadata = NULL;
        return 0;
}

int tensors_report_new(struct tensors_report **ret, struct error *e) {
        _cleanup_(tensors_report_freep) struct tensors_report *r = calloc(1, sizeof *r);

        if (!r || !(r->dtypes = json_object()) || !(r->files = json_array()))
                return error_errno(e, ENOMEM, "summarise tensors");
        r->budget = REPORT_BUDGET;
        *ret = take_ptr(r);
        return 0;
}

void tensors_report_free(struct tensors_report *r) {
        if (!r)
                return;
        json_decref(r->dtypes);
        json_decref(r->files);
        free(r);
}

static const char *dtype_name(enum tensors_format format, unsigned dtype) {
        const char *name = format == TENSORS_GGUF ? gguf_dtype_name(dtype) : safetensors_dtype_name(dtype);
        return name ? name : "other";
}

/* Adds one file's figures to the entry of a type; both are integers that stay below 2^63. */
static void report_dtype(struct tensors_report *r, const char *name, const struct tensors_count *c) {
        json_t *entry = json_object_get(r->dtypes, name);
        json_int_t tensors = json_integer_value(json_object_get(entry, "tensors"));
        json_int_t parameters = json_integer_value(json_object_get(entry, "parameters"));

        if (__builtin_add_overflow(parameters, (json_int_t)c->parameters, &parameters))
                parameters = INT64_MAX;
        json_object_set_new(
            r->dtypes, name,
            json_pack("{s:I, s:I}", "tensors", tensors + (json_int_t)c->tensors, "parameters", parameters));
}

/* Sums that would not fit stay at the largest number. */
static void report_summary(struct tensors_report *r, const struct tensors_summary *t) {
        for (unsigned i = 0; i < TENSORS_DTYPES_MAX; i++)
                if (t->dtypes[i].tensors > 0)
                        report_dtype(r, dtype_name(t->format, i), &t->dtypes[i]);
        r->all.tensors += t->all.tensors;
        if (__builtin_add_overflow(r->all.parameters, t->all.parameters, &r->all.parameters) ||
            r->all.parameters > INT64_MAX)
                r->all.parameters = INT64_MAX;
}

static ssize_t read_file(void *userdata, void *data, size_t len, uint64_t offset) {
        return pread(*(const int *)userdata, data, len, (off_t)offset);
}

static int read_header(struct tensors_summary *ret, enum tensors_format format, int dir_fd, const char *path,
                       uint64_t *budget, struct error *e) {
        _cleanup_close_ int fd = path_open(dir_fd, path, O_RDONLY | O_NONBLOCK, 0, e);
        struct tensors_source source = { .read = read_file, .userdata = &fd };
        struct stat st;

        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return error_errno(e, errno, "stat %s", path);
        if (!S_ISREG(st.st_mode))
                return error_set(e, ERROR_INVALID, "not a regular file");
        source.size = (uint64_t)st.st_size;
        return tensors_read(ret, format, &source, budget, e);
}

int tensors_report_add(struct tensors_report *r, int dir_fd, const char *path, struct error *e) {
        static const char *const names[] = { "safetensors", "gguf" };
        _cleanup_tensors_ struct tensors_summary t = { 0 };
        struct error bad = { 0 };
        int format = tensors_format_of(path);
        json_t *file;

        if (format < 0)
                return 0;
        if (read_header(&t, (enum tensors_format)format, dir_fd, path, &r->budget, &bad) < 0) {
                file = json_pack("{s:s, s:s, s:s}", "path", path, "format", names[format], "error", bad.text);
        } else {
                report_summary(r, &t);
                file = json_pack("{s:s, s:s, s:I, s:I, s:O?}", "path", path, "format", names[format],
                                 "tensors", (json_int_t)t.all.tensors, "parameters",
                                 (json_int_t)t.all.parameters, "metadata", t.metadata);
        }
        if (!file)
                return 0; /* a name that is not UTF-8 cannot be said in JSON; the sums have it */
        if (json_array_size(r->files) >= REPORT_FILES) {
                json_decref(file);
                return 0;
        }
        if (json_array_append_new(r->files, file) < 0)
                return error_errno(e, ENOMEM, "summarise tensors");
        return 0;
}

int tensors_report_json(struct tensors_report *r, char **ret, struct error *e) {
        json_t *all;

        if (json_array_size(r->files) == 0) {
                *ret = NULL;
                return 0;
        }
        all = json_pack("{s:I, s:I, s:O, s:O}", "tensors", (json_int_t)r->all.tensors, "parameters",
                        (json_int_t)r->all.parameters, "dtypes", r->dtypes, "files", r->files);
        char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
        json_decref(all);
        if (!text)
                return error_errno(e, ENOMEM, "summarise tensors");
        *ret = text;
        return 0;
}
