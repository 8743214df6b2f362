/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nfd: labels by a feature file of Node Feature Discovery's "local" source: a file in a directory that NFD
 * watches, one label a line, which NFD puts on the Node and takes off again. We need no permission of the API
 * server's.
 */
#pragma once

#include "base/error.h"
#include "csi/labels.h"

#define CSI_NFD_FILE "modelstage"

/* Writes <dir>/modelstage, atomically, or removes it when there is nothing to say. A missing @dir is an error
 * only when there is. */
int csi_nfd_write(const char *dir, const struct csi_labels *labels, struct error *e);
