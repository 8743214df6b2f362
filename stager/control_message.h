/* SPDX-License-Identifier: Apache-2.0 */
/* control_message: between the messages of modelstage.proto and the stager's types; only control*.c include
 * it. */
#pragma once

#include "proto/modelstage.pb-c.h"
#include "stager/control.h"

/* What a client asks to be staged. Owns its parts, which @stage points to; stager_stage() copies them. */
struct control_request {
        struct oci_reference *reference;
        struct oci_selection *selection;
        struct oci_keyring *keyring;
        struct stage_request stage;
};
/* *ret is NULL if the message has no selection. ERROR_INVALID. */
int control_selection_parse(struct oci_selection **ret, const Modelstage__V1__Selection *s, struct error *e);
/* @docker_config: a config.json; "": none. ERROR_INVALID. */
int control_request_parse(struct control_request *ret, const char *reference,
                          const Modelstage__V1__Selection *s, Modelstage__V1__PullPolicy policy,
                          const char *docker_config, struct error *e);
void control_request_clear(struct control_request *r);

/* A job as a message; borrows from the snapshot, owns what it had to format. */
struct control_job {
        Modelstage__V1__Job msg;
        char digest[DIGEST_TEXT_SIZE];
        struct control_blob *blobs;
        Modelstage__V1__BlobProgress **list;
};
/* @ret must not move afterwards. -ENOMEM. */
int control_job_fill(struct control_job *ret, const struct stage_progress *p);
void control_job_clear(struct control_job *j);
void control_host_fill(Modelstage__V1__Host *ret, const struct host_profile *p); /* borrows from it */

/* The handlers; userdata is a struct control. They run on the server's workers, many at once. */
rpc_handler control_warm, control_status, control_list, control_inspect, control_mount, control_unmount,
    control_remove, control_pin, control_disk_free, control_version;
