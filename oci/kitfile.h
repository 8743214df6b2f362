/* SPDX-License-Identifier: Apache-2.0 */
/* kitfile: the config of a ModelKit, as far as it says what the layers are. */
#pragma once

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The lists of a Kitfile; each is one kind of layer, in this order. */
enum kit_section {
        KIT_MODEL,
        KIT_PART,
        KIT_CODE,
        KIT_DATASET,
        KIT_DOC,
        KIT_PROMPT,
        KIT_MCP,
        _KIT_SECTION_MAX
};

struct kit_entry {
        enum kit_section section;
        const char *path; /* as written; "." if there is none */
        bool has_digest;  /* since KitOps 0.5 */
        struct digest digest;
};

struct kitfile {
        struct kit_entry *entries;
        size_t n_entries;
        bool has_layer_info; /* some entry has a digest */
        json_t *document;    /* owns the paths */
};

/* ERROR_INVALID: not JSON, not of this shape, or more than OCI_LAYERS_MAX entries. */
int oci_kitfile_parse(struct kitfile *ret, const char *json, size_t len, struct error *e);
void oci_kitfile_done(struct kitfile *k);
#define _cleanup_kitfile_ _cleanup_(oci_kitfile_done)

/* The @n-th entry of @section, or NULL. */
const struct kit_entry *oci_kitfile_entry(const struct kitfile *k, enum kit_section section, size_t n);
