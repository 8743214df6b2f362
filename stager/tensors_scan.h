/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tensors_scan: what the two header readers share; only tensors*.c include it.
 *
 *   tensors_source --(refills of up to SCAN_BUFFER, taken off the budget)--> data[] --> scan_byte, scan_le …
 *
 * A reader sees the file as a stream from its start; skipping moves on without reading what lies between.
 */
#pragma once

#include "stager/tensors.h"

#define SCAN_BUFFER (64 * 1024)
#define SCAN_TEXT 256    /* longer metadata are cut */
#define SCAN_METADATA 32 /* more are left out */

struct scan {
        const struct tensors_source *source;
        uint64_t *budget; /* bytes that may still be read */
        uint64_t pos;     /* of the next byte in the file */
        uint64_t end;     /* of what may be read: the header's, or the file's */
        uint64_t from;    /* file offset of data[0] */
        size_t len;       /* bytes in data */
        uint8_t data[SCAN_BUFFER];
};

/* At the start of the file; up to its end may be read until somebody lowers s->end. */
void scan_init(struct scan *s, const struct tensors_source *source, uint64_t *budget);
/* The next byte, or a negative errno (then @e is filled: the end came too early, the budget is used up). */
int scan_byte(struct scan *s, struct error *e);
/* The same byte again next time. */
int scan_peek(struct scan *s, struct error *e);
/* Exactly @len bytes; a little-endian number of at most 8 @bytes; over @len bytes without reading them. */
int scan_bytes(struct scan *s, void *ret, size_t len, struct error *e);
int scan_le(struct scan *s, uint64_t *ret, unsigned bytes, struct error *e);
int scan_skip(struct scan *s, uint64_t len, struct error *e);

/* Adds a tensor of @parameters elements; ERROR_INVALID if the sum does not fit. */
int summary_count(struct tensors_summary *t, unsigned dtype, uint64_t parameters, struct error *e);
/* Keeps a metadatum; steals @value (NULL is fine: out of memory or not UTF-8, left out). */
void summary_note(struct tensors_summary *t, const char *key, json_t *value);

/* The readers of one format each: fill counts and metadata of an empty @ret. ERROR_INVALID: the header
 * contradicts itself or the file, or asks for more than the budget. */
int safetensors_scan(struct tensors_summary *ret, struct scan *s, struct error *e);
int gguf_scan(struct tensors_summary *ret, struct scan *s, struct error *e);
const char *safetensors_dtype_name(unsigned dtype); /* NULL: no such type */
const char *gguf_dtype_name(unsigned dtype);
