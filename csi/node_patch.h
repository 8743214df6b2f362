/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node_patch: what to change on a Node object as the API server has it. No I/O. Only what is ours is touched:
 * taints with our key, labels with our prefix.
 */
#pragma once

#include "base/json.h"
#include "csi/labels.h"

/* A JSON patch that takes the taints with @key away, whatever their effect, and fails if the taints have
 * changed meanwhile. *ret is NULL if there are none. ERROR_INVALID: @node is no Node. */
int csi_node_taint_patch(json_t **ret, const json_t *node, const char *key, struct error *e);

/* Karpenter has not registered @node yet: it is still to get its start-up taints. */
bool csi_node_is_joining(const json_t *node);

/* A merge patch after which exactly @wanted of our labels are there. *ret is NULL if they are already. */
int csi_node_label_patch(json_t **ret, const json_t *node, const struct csi_labels *wanted, struct error *e);
