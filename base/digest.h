/* SPDX-License-Identifier: Apache-2.0 */
/*
 * digest: SHA-256, and the "sha256:hex" names that OCI gives to content (image-spec descriptor.md, Digests).
 *
 * A parsed digest is plain data: copy it, compare it with digest_equal(), nothing to free.
 */
#pragma once

#include "base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_HEX_SIZE (64 + 1) /* with the NUL */
#define DIGEST_TEXT_SIZE (sizeof "sha256:" - 1 + 64 + 1)

struct digest {
        uint8_t bytes[32];
};

/* Only lower-case hex is a digest. -EINVAL: not a digest; -EOPNOTSUPP: an algorithm that we do not know. */
int digest_parse(struct digest *ret, const char *text, size_t len);
int digest_parse_hex(struct digest *ret, const char *hex); /* exactly 64 characters */
const char *digest_format(const struct digest *d, char text[static DIGEST_TEXT_SIZE]);
const char *digest_hex(const struct digest *d, char hex[static DIGEST_HEX_SIZE]);
bool digest_equal(const struct digest *a, const struct digest *b);

/* SHA-256 of one piece. 0 or -ENOMEM. */
int digest_of(struct digest *ret, const void *data, size_t len);

/* SHA-256 of a stream; one thread at a time. */
struct digest_stream;
int digest_stream_new(struct digest_stream **ret); /* -ENOMEM */
int digest_stream_update(struct digest_stream *s, const void *data, size_t len);
int digest_stream_final(struct digest_stream *s, struct digest *ret); /* the stream can only be freed then */
void digest_stream_free(struct digest_stream *s);
DEFINE_CLEANUP(struct digest_stream *, digest_stream_free);
