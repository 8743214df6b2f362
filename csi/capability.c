/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capability: every volume is a read-only mount of files, so a capability is refused when honouring it would
 * mean something else, rather than ignored.
 *
 *   access type    mount: fine; block: no
 *   mount flags    those that hold anyway (ro, nosuid, nodev) or mean nothing without writes; others: no
 *   access mode    *_READER_ONLY: fine; SINGLE_NODE_WRITER too, because kubelet sends it for inline
 *                  volumes, and the mount is read-only all the same; others: no
 */
#include "csi/capability.h"

#include <string.h>

/* Always set by us, or without meaning for files that nobody writes. */
static bool is_harmless(const char *flag) {
        static const char *const known[] = { "ro", "nosuid", "nodev", "noatime", "nodiratime", "relatime" };

        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
                if (strcmp(known[i], flag) == 0)
                        return true;
        return false;
}

/* As a claim has it, where it can. */
static const char *mode_name(Csi__V1__VolumeCapability__AccessMode__Mode mode) {
        switch (mode) {
        case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_MULTI_WRITER:
                return "ReadWriteMany";
        case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_SINGLE_WRITER:
                return "ReadWriteOncePod";
        case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_SINGLE_WRITER:
                return "MULTI_NODE_SINGLE_WRITER";
        case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_MULTI_WRITER:
                return "SINGLE_NODE_MULTI_WRITER";
        default:
                return "UNKNOWN";
        }
}

static int check_mode(const Csi__V1__VolumeCapability *c, enum error_kind unfit, struct error *e) {
        if (!c->access_mode)
                return error_set(e, ERROR_INVALID, "volume_capability.access_mode is missing");
        switch (c->access_mode->mode) {
        case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_WRITER: /* what kubelet sends for
                                                                                   inline volumes */
        case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_READER_ONLY:
        case CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_READER_ONLY:
                return 0;
        default:
                return error_set(e, unfit,
                                 "access mode %s is not supported: models are read-only, use ReadOnlyMany",
                                 mode_name(c->access_mode->mode));
        }
}

int csi_capability_check(const Csi__V1__VolumeCapability *c, enum error_kind unfit, struct error *e) {
        if (!c)
                return error_set(e, ERROR_INVALID, "volume_capability is missing");
        if (c->access_type_case == CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK)
                return error_set(e, unfit, "a model is a directory of files: use volumeMode: Filesystem");
        if (c->access_type_case != CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT || !c->mount)
                return error_set(e, ERROR_INVALID, "volume_capability.access_type is missing");
        for (size_t i = 0; i < c->mount->n_mount_flags; i++)
                if (!is_harmless(c->mount->mount_flags[i])) /* may be sensitive: not quoted */
                        return error_set(
                            e, ERROR_INVALID,
                            "mount option number %zu is not supported: remove it from mountOptions", i + 1);
        return check_mode(c, unfit, e);
}
