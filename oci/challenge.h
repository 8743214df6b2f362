/* SPDX-License-Identifier: Apache-2.0 */
/*
 * challenge: what a 401 asks for (RFC 9110 §11.6.1, distribution's Bearer extension).
 *
 * A response may have several WWW-Authenticate headers and a header several challenges; all go into one
 * struct, of each scheme the first. Other schemes than these two are skipped.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>

#define OCI_CHALLENGE_MAX 8192 /* bytes of one header */

struct oci_challenge {
        bool basic, bearer; /* which schemes were offered */
        char *realm;        /* these four are Bearer's; NULL: not there */
        char *service;
        char *scope;
        char *error; /* "invalid_token", "insufficient_scope" */
};

/* Adds the challenges of one header's @value to @c, which starts as { 0 }. ERROR_INVALID: malformed; @c is
 * unchanged then. */
int oci_challenge_add(struct oci_challenge *c, const char *value, struct error *e);
void oci_challenge_done(struct oci_challenge *c); /* frees what is inside; back to empty */
#define _cleanup_challenge_ _cleanup_(oci_challenge_done)
