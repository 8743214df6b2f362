/* SPDX-License-Identifier: Apache-2.0 */
/*
 * direct: what fetch and inspect --remote need to speak to a registry themselves, from the command line
 * instead of a daemon.
 *
 * Credentials: --docker-config, else config.json in $DOCKER_CONFIG or, where that is not set, in ~/.docker,
 * if it is there.
 */
#pragma once

#include "base/settings.h"
#include "oci/client.h"
#include "tools/modelstage/args.h"

struct direct {
        struct oci_reference *reference;
        struct oci_selection *selection; /* NULL: everything */
        struct oci_keyring *keyring;     /* NULL: nobody */
        struct settings *settings;
        bool curl; /* initialised: to be cleaned up */
};
/* Prints what is wrong and returns the exit code, or 0. */
int direct_open(struct direct *ret, const struct args *a);
void direct_close(struct direct *d);
#define _cleanup_direct_ _cleanup_(direct_close)
