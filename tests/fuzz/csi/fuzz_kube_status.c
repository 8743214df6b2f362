/* SPDX-License-Identifier: Apache-2.0 */
/* Input: three bytes of an HTTP status, then the body that comes with it. Whatever it is, there is a decision, and a
 * failure has a text. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "csi/kube_verdict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct csi_kube_course c = { .server = "api:443", .account = "/sa", .secret = "secret" };
        struct oci_http_response a = { .status = 0 };
        struct csi_kube_status s;
        struct error e = { 0 };
        int64_t wait = -1;

        if (size < 3)
                return 0;
        for (unsigned i = 0; i < 3; i++)
                a.status = a.status * 10 + data[i] % 10;
        a.body = (struct buf)BUF_INIT(1 << 20);
        if (a.status == 0 || buf_append(&a.body, data + 3, size - 3) < 0) {
                buf_free(&a.body);
                return 0;
        }
        csi_kube_status_read(&s, buf_text(&a.body), a.body.len);
        assert(text_is_utf8(s.message, strlen(s.message)) && s.retry_after_seconds <= 3600);
        csi_kube_course_begin(&c, 60000, 0);
        switch (csi_kube_judge(&wait, &c, &a, 0, NULL, 1, &e)) {
        case CSI_KUBE_DONE:
                assert(a.status >= 200 && a.status < 300);
                break;
        case CSI_KUBE_REFRESH:
                assert(a.status == 401 && c.refreshed);
                break;
        case CSI_KUBE_WAIT:
                assert(wait >= 0 && wait <= 30000);
                break;
        case CSI_KUBE_FAIL:
                assert(e.kind != ERROR_NONE && *e.text && !strstr(e.text, "secret"));
                break;
        }
        buf_free(&a.body);
        return 0;
}
