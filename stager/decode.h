/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode: gzip (several members) and zstd (several frames) in bounded memory. The input is hostile.
 *
 *   decoder_new -> decoder_run (until it wants input, with each piece of it) -> decoder_end -> decoder_free
 *
 * It keeps state between the pieces, but not the pieces. One thread at a time.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"
#include "oci/plan.h"

#include <stddef.h>

struct decoder;
int decoder_new(struct decoder **ret, enum plan_codec codec, struct error *e); /* not for PLAN_CODEC_NONE */
void decoder_free(struct decoder *d);
void decoder_follow(struct decoder *d); /* whole members or frames have been decoded elsewhere before */
DEFINE_CLEANUP(struct decoder *, decoder_free);

/* Takes input from *@in, which moves on, and puts at most @size bytes into @out. 1: @out is full and there
 * may be more to come without input; 0: all the input is used up. ERROR_INVALID: damaged. */
int decoder_run(struct decoder *d, const char **in, size_t *in_len, void *out, size_t size, size_t *ret_len,
                struct error *e);
/* Whole members or frames and nothing else, decoded at once, by a decoder that is between two of them. */
int decoder_run_whole(struct decoder *d, const char *in, size_t in_len, void *out, size_t size,
                      size_t *ret_len, struct error *e);
/* There is no more input: was that the end of the stream? ERROR_INVALID if not. */
int decoder_end(const struct decoder *d, struct error *e);
