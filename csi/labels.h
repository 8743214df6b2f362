/* SPDX-License-Identifier: Apache-2.0 */
/*
 * labels: the names of node labels that say which models of the warm list are here. No I/O.
 *
 *   modelstage.io/warm-<slug>: "true"
 *
 * The slug is the last component of the repository and the tag, "llama-1" for
 * registry.example.com/models/llama:1. Characters that a label cannot have become '-'. A part of the
 * reference's SHA-256 follows where a slug would be too long, where different models of the list would have
 * the same one, and where it is what another model gets in this way: then no model has a label by which
 * another one is known, in whatever order they are listed and whichever of them are here.
 */
#pragma once

#include "oci/reference.h"

#include <stdbool.h>
#include <stddef.h>

#define CSI_LABEL_DOMAIN "modelstage.io"
#define CSI_LABEL_PREFIX "warm-" /* of ours below the domain; all that begin so are ours */
#define CSI_LABEL_SIZE 64        /* "warm-<slug>" with its NUL: Kubernetes allows 63 */
#define CSI_LABELS_MAX 32        /* on one node */

struct csi_label {
        char name[CSI_LABEL_SIZE];
};
struct csi_labels {
        struct csi_label list[CSI_LABELS_MAX];
        size_t n;
};
struct csi_warm {                        /* an entry of the warm list */
        struct oci_reference *reference; /* NULL: it is none, so it is never here */
        bool required, is_here;
};

/* Of those that are here, the first CSI_LABELS_MAX in the order of the list. */
void csi_labels_make(struct csi_labels *ret, const struct csi_warm *warm, size_t n);
bool csi_labels_have(const struct csi_labels *l, const char *name);
bool csi_labels_equal(const struct csi_labels *a, const struct csi_labels *b);
