/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_verdict: what an answer of the API server means, and whether to ask again. An engine without I/O:
 * kube.c tells it what came, and does what it says.
 *
 *   begin -> [try] -> judge -> DONE     2xx
 *              ^        |----> REFRESH  then try again: the first 401, or the first certificate that is not
 *              |        |               trusted; token or CA may have been rotated
 *              |        |----> WAIT     then try again: 408, 429, 5xx, lost connections, while there is time
 *              '--------'----> FAIL     all else
 */
#pragma once

#include "oci/http.h"

enum csi_kube_next {
        CSI_KUBE_DONE,
        CSI_KUBE_REFRESH,
        CSI_KUBE_WAIT,
        CSI_KUBE_FAIL,
};

/* One request through all its tries. Plain data. */
struct csi_kube_course {
        const char *server;  /* "10.96.0.1:443", for people */
        const char *account; /* directory of the service account, for people */
        const char *secret;  /* that the try has sent: never quoted; may be NULL */
        int64_t timeout_ms, deadline_ms;
        unsigned tried;
        bool refreshed;
};
void csi_kube_course_begin(struct csi_kube_course *c, int64_t timeout_ms, int64_t now_ms);

/* How long the next try may take: ten seconds, so that a server that is silent leaves time for another. 0:
 * the deadline is over; @e says so. */
int64_t csi_kube_course_try_ms(const struct csi_kube_course *c, int64_t now_ms, struct error *e);

/*
 * @performed and @sent_error: what oci_http_perform() returned for @a. *ret_wait_ms is set for WAIT, @e for
 * FAIL.
 */
enum csi_kube_next csi_kube_judge(int64_t *ret_wait_ms, struct csi_kube_course *c,
                                  const struct oci_http_response *a, int performed,
                                  const struct error *sent_error, int64_t now_ms, struct error *e);

/* The Status object that comes with a refusal; what it does not say is empty. */
struct csi_kube_status {
        char message[401];            /* UTF-8; longer ones are cut */
        unsigned retry_after_seconds; /* 0: nothing said */
};
void csi_kube_status_read(struct csi_kube_status *ret, const char *body, size_t len);
