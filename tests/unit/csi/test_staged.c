/* SPDX-License-Identifier: Apache-2.0 */
/* What a pod's event says, whose pod it is, and who is remembered as waiting. */
#include "tests/unit/test.h"

#include "csi/pod.h"
#include "csi/staged.h"

#define GIB ((uint64_t)1 << 30)

static void test_the_event_tells_bytes_seconds_and_rate(void **state) {
        static const struct {
                struct csi_staged staged;
                const char *text;
        } cases[] = {
                { { .reference = "r.example.com/llama:1",
                    .bytes = 15 * GIB,
                    .received = 15 * GIB + 1000,
                    .staged_ms = 30000,
                    .waited_ms = 30000 },
                  "r.example.com/llama:1 is mounted: 15.0 GiB staged in 30.0s, 512 MiB/s" },
                { { .reference = "r/m:1", .bytes = 15 * GIB, .received = 5 * GIB, .staged_ms = 10000 },
                  "r/m:1 is mounted: 15.0 GiB staged in 10.0s, 512 MiB/s, 5.0 GiB of it fetched" },
                { { .reference = "r/m:1",
                    .bytes = GIB,
                    .received = GIB,
                    .staged_ms = 4000,
                    .waited_ms = 1500,
                    .joined = true },
                  "r/m:1 is mounted: 1.0 GiB staged in 4.0s, 256 MiB/s; other volumes had asked for it "
                  "before, "
                  "this one waited 1.5s" },
                { { .reference = "oci-layout:/m", .bytes = GIB, .staged_ms = 2000 },
                  "oci-layout:/m is mounted: 1.0 GiB staged in 2.0s, 512 MiB/s" },
                { { .reference = "r/m:1", .bytes = 0, .staged_ms = 0 },
                  "r/m:1 is mounted: 0 B staged in 0ms" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char text[CSI_STAGED_TEXT];

                csi_staged_describe(&cases[i].staged, text);
                assert_string_equal(text, cases[i].text);
        }
}

static void test_the_longest_reference_fits(void **state) {
        char reference[5000], text[CSI_STAGED_TEXT];
        struct csi_staged s = { .reference = reference,
                                .bytes = UINT64_MAX,
                                .received = UINT64_MAX / 2,
                                .staged_ms = INT64_MAX,
                                .waited_ms = INT64_MAX,
                                .joined = true };

        (void)state;
        memset(reference, 'r', sizeof reference - 1);
        reference[sizeof reference - 1] = '\0';
        csi_staged_describe(&s, text);
        assert_non_null(strstr(text, "rrr is mounted: 16.0 EiB staged in "));
        assert_non_null(strstr(text, "this one waited "));
        assert_true(strlen(text) < 1024); /* Kubernetes takes no longer one */
}

static void test_who_waits_is_remembered_once_and_from_the_start(void **state) {
        struct csi_waits *w = NULL;

        (void)state;
        assert_int_equal(csi_waits_new(&w, NULL), 0);
        assert_int_equal(csi_waits_take(w, "v", "/t"), 0);
        csi_waits_add(w, "v", "/t", 100);
        csi_waits_add(w, "v", "/t", 200);
        csi_waits_add(w, "v", "/other", 300); /* one volume, two pods */
        csi_waits_add(w, "v/t", "", 400);
        assert_int_equal(csi_waits_take(w, "v", "/t"), 100);
        assert_int_equal(csi_waits_take(w, "v", "/t"), 0);
        assert_int_equal(csi_waits_take(w, "v", "/other"), 300);
        assert_int_equal(csi_waits_take(w, "v/t", ""), 400);
        csi_waits_free(w);
}

static void test_the_oldest_is_forgotten_when_too_many_wait(void **state) {
        struct csi_waits *w = NULL;
        char volume[32];

        (void)state;
        assert_int_equal(csi_waits_new(&w, NULL), 0);
        for (int i = 1; i <= 300; i++) {
                snprintf(volume, sizeof volume, "v%d", i);
                csi_waits_add(w, volume, "/t", i);
        }
        for (int i = 1; i <= 300; i++) {
                snprintf(volume, sizeof volume, "v%d", i);
                assert_int_equal(csi_waits_take(w, volume, "/t"), i <= 300 - 256 ? 0 : i);
        }
        csi_waits_free(w);
}

/* ---- whose pod ---- */

#define UID "8b1d9a5e-0c3f-4f9a-9a55-0123456789ab"

static void test_a_pod_is_read_from_the_context(void **state) {
        const struct csi_pair context[] = { { "model", "r/m:1" },
                                            { "csi.storage.k8s.io/pod.uid", UID },
                                            { "csi.storage.k8s.io/pod.name", "llama-0.a" },
                                            { "csi.storage.k8s.io/pod.namespace", "team-a" } };
        struct csi_pod pod;

        (void)state;
        assert_true(csi_pod_read(&pod, context, 4));
        assert_string_equal(pod.name, "llama-0.a");
        assert_string_equal(pod.namespace, "team-a");
        assert_string_equal(pod.uid, UID);
        for (size_t i = 1; i < 4; i++)
                assert_false(csi_pod_read(&pod, context, i));
}

static void test_a_pod_that_cannot_be_is_none(void **state) {
        static char long_name[300], long_namespace[65], long_uid[80];
        const struct {
                const char *name, *namespace, *uid;
        } cases[] = {
                { "", "ns", UID },
                { "Pod", "ns", UID },
                { "a/../b", "ns", UID },
                { "a\n", "ns", UID },
                { long_name, "ns", UID },
                { "pod", "", UID },
                { "pod", "a.b", UID },
                { "pod", "../x", UID },
                { "pod", "ns?x=1", UID },
                { "pod", "ns", "" },
                { "pod", "ns", "a b" },
                { "pod", "ns", long_uid },
                { "pod", long_namespace, UID },
                { "pod", "ns", "\"" },
        };

        (void)state;
        memset(long_name, 'a', sizeof long_name - 1);
        memset(long_namespace, 'a', sizeof long_namespace - 1);
        memset(long_uid, 'a', sizeof long_uid - 1);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                const struct csi_pair context[] = {
                        { "csi.storage.k8s.io/pod.uid", cases[i].uid },
                        { "csi.storage.k8s.io/pod.name", cases[i].name },
                        { "csi.storage.k8s.io/pod.namespace", cases[i].namespace },
                };
                struct csi_pod pod = { .name = "as before" };

                assert_false(csi_pod_read(&pod, context, 3));
                assert_string_equal(pod.name, "as before");
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_event_tells_bytes_seconds_and_rate),
                cmocka_unit_test(test_the_longest_reference_fits),
                cmocka_unit_test(test_who_waits_is_remembered_once_and_from_the_start),
                cmocka_unit_test(test_the_oldest_is_forgotten_when_too_many_wait),
                cmocka_unit_test(test_a_pod_is_read_from_the_context),
                cmocka_unit_test(test_a_pod_that_cannot_be_is_none),
        };

        return cmocka_run_group_tests_name("csi/staged", tests, NULL, NULL);
}
