/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capability: which volume capabilities a read-only directory of files can have; conversions of protobuf
 * maps. CreateVolume, ValidateVolumeCapabilities and NodePublishVolume ask the same question here.
 */
#pragma once

#include "base/error.h"
#include "csi/attributes.h"
#include "proto/csi.pb-c.h"

/* ERROR_INVALID: none at all, or a mount option that we would have to ignore. @unfit is the kind for what a
 * claim says and a model cannot be: a block device, or an access mode other than the read-only ones and
 * SINGLE_NODE_WRITER. A file system type is not looked at. */
int csi_capability_check(const Csi__V1__VolumeCapability *c, enum error_kind unfit, struct error *e);

/* The entries of a map field as pairs; every generated entry type has the same members. *ret is to be freed;
 * the strings stay the message's. */
#define csi_pairs(ret, entries, n) \
        ({ \
                *(ret) = calloc((n) ? (n) : 1, sizeof **(ret)); \
                for (size_t i_ = 0; *(ret) && i_ < (n); i_++) \
                        (*(ret))[i_] = \
                            (struct csi_pair){ (entries)[i_]->key ? (entries)[i_]->key : "", \
                                               (entries)[i_]->value ? (entries)[i_]->value : "" }; \
                *(ret) ? 0 : -ENOMEM; \
        })
