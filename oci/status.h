/* SPDX-License-Identifier: Apache-2.0 */
/* status: what a registry's refusal means to people, in its own words where it has some. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "oci/reference.h"

/* From the document that comes with a status of 400 or more (distribution's "errors"). */
struct oci_words {
        char code[64];     /* "DENIED" */
        char message[201]; /* printable ASCII; longer ones are cut */
};

/*
 * Reads them from @body; without any they are empty. @secrets (NULL-ended) are what this registry was sent: a
 * registry may echo our headers, and its words go into errors that whoever made the pod can read. Only these
 * are looked for, not all that log.h knows: else a pod could find out what other pods' secrets are.
 */
void oci_words_read(struct oci_words *ret, const char *body, size_t len, const char *const *secrets);

/* The failure that an answer with @status means, as one sentence. @words may be NULL. */
int oci_status_error(struct error *e, const struct oci_reference *reference, const char *host, long status,
                     const struct oci_words *words);
