/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensors: what a model consists of, read from the headers of its safetensors and GGUF files: how many
 * tensors and parameters, of which types, and the few metadata that people ask for.
 *
 * The headers come from an artifact, so nothing in them is believed: reading is bounded, sums cannot wrap,
 * and a header that contradicts itself or its file is ERROR_INVALID. Tensor data is never read. One thread at
 * a time for one summary.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum tensors_format { TENSORS_SAFETENSORS, TENSORS_GGUF, _TENSORS_FORMAT_MAX };

/* Where a header's bytes come from. */
struct tensors_source {
        ssize_t (*read)(void *userdata, void *data, size_t len, uint64_t offset); /* as pread(2) */
        void *userdata;
        uint64_t size; /* of the whole file */
};

#define TENSORS_DTYPES_MAX 64
struct tensors_count {
        uint64_t tensors, parameters;
};
struct tensors_summary { /* of one file */
        enum tensors_format format;
        struct tensors_count all;
        struct tensors_count dtypes[TENSORS_DTYPES_MAX]; /* by the format's own numbers */
        json_t *metadata; /* object: strings, integers, booleans; a few, cut where long */
};
/* Back to empty; accepts an empty one. */
void tensors_summary_clear(struct tensors_summary *s);
#define _cleanup_tensors_ _cleanup_(tensors_summary_clear)

/* Is @path called like a file of this kind? enum tensors_format, or -1. */
int tensors_format_of(const char *path);
/* @budget: bytes that may still be read for headers; what was read is taken off. */
int tensors_read(struct tensors_summary *ret, enum tensors_format format, const struct tensors_source *source,
                 uint64_t *budget, struct error *e);

/*
 * The summary of a whole model as JSON:
 *
 *   {"tensors", "parameters", "dtypes": {NAME: {"tensors", "parameters"}},
 *    "files": [{"path", "format", "tensors", "parameters", "metadata"} or {"path", "format", "error"}]}
 */
struct tensors_report;
int tensors_report_new(struct tensors_report **ret, struct error *e);
void tensors_report_free(struct tensors_report *r);
DEFINE_CLEANUP(struct tensors_report *, tensors_report_free);
/* Reads @path below @dir_fd if its name says that it has a header. A bad header becomes the file's "error",
 * not a failure. */
int tensors_report_add(struct tensors_report *r, int dir_fd, const char *path, struct error *e);
/* The JSON text, to be freed; NULL in *ret if no file had a header. */
int tensors_report_json(struct tensors_report *r, char **ret, struct error *e);
