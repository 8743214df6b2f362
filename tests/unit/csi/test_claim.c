/* SPDX-License-Identifier: Apache-2.0 */
/* What a class and a claim make together, without an API server; the RPC is tests/system/test_controller.py's. */
#include "tests/unit/test.h"

#include "csi/claim.h"

#define UID "6a3f0f5e-0000-4000-8000-000000000001"
#define VOLUME "pvc-" UID
#define MODEL "registry.example.com/models/llama:1"
#define PAIRS(...) \
        (const struct csi_pair[]){ { "csi.storage.k8s.io/pvc/name", "llama" }, \
                                   { "csi.storage.k8s.io/pvc/namespace", "ml" }, \
                                   __VA_ARGS__ }, \
            sizeof((struct csi_pair[]){ { "", "" }, { "", "" }, __VA_ARGS__ }) / sizeof(struct csi_pair)
#define NOTHING_BESIDES \
        { "csi.storage.k8s.io/pv/name", VOLUME }

/* A claim of class "models" with these annotations (JSON). */
static json_t *claim_with(const char *annotations) {
        json_t *claim = NULL;
        struct error e = { 0 };
        char text[4096];
        int n = snprintf(text, sizeof text,
                         "{\"metadata\":{\"name\":\"llama\",\"uid\":\"" UID "\",\"annotations\":%s},"
                         "\"spec\":{\"storageClassName\":\"models\"}}",
                         annotations);

        if (json_parse_with_nuls(&claim, text, (size_t)n, sizeof text, "claim", &e) < 0)
                fail_msg("%s", e.text);
        return claim;
}

static struct csi_class class_of(const struct csi_pair *pairs, size_t n) {
        struct csi_class class;
        struct error e = { 0 };

        if (csi_class_read(&class, pairs, n, &e) < 0)
                fail_msg("%s", e.text);
        return class;
}

static void test_parameters_of_class_and_provisioner_are_told_apart(void **state) {
        struct csi_class c =
            class_of(PAIRS(NOTHING_BESIDES, { "model", MODEL }, { "modelstage.io/allow", "a/**" },
                           { "csi.storage.k8s.io/fstype", "ext4" }));

        (void)state;
        assert_string_equal(c.values.of[CSI_ATTRIBUTE_MODEL], MODEL);
        assert_string_equal(c.values.of[CSI_ATTRIBUTE_ROOT], "");
        assert_string_equal(c.allow, "a/**");
        assert_string_equal(c.claim_name, "llama");
        assert_string_equal(c.claim_namespace, "ml");
        assert_string_equal(c.volume_name, VOLUME);
}

/* A claim could not be blamed for them. */
static void test_a_classs_own_mistakes_are_found_before_any_claim_is_read(void **state) {
        static const struct csi_pair wrong[] = {
                { "pullPolicy", "Sometimes" },
                { "platform", "linux" },
                { "root", "../x" },
                { "include", "/x" },
                { "model", "r.example.com/UP" },
                { "modelstage.io/alow", "x" },
                { "modelstage.io/allow", "" },
                { "modelstage.io/allow", "r.example.com/**, llama*" },
                { "nmodel", "x" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
                struct csi_class c;
                struct error e = { 0 };

                assert_int_equal(csi_class_read(&c, &wrong[i], 1, &e), -EINVAL);
                assert_int_equal(e.kind, ERROR_INVALID);
                assert_ptr_equal(strstr(e.text, "parameters of the StorageClass: "), e.text);
        }
}

static void test_names_that_are_none_are_refused(void **state) {
        static const char *const keys[] = { "csi.storage.k8s.io/pvc/name", "csi.storage.k8s.io/pvc/namespace",
                                            "csi.storage.k8s.io/pv/name" };

        (void)state;
        for (size_t i = 0; i < 3; i++) {
                struct csi_pair pair = { keys[i], "../secrets/x" };
                struct csi_class c;
                struct error e = { 0 };

                assert_int_equal(csi_class_read(&c, &pair, 1, &e), -EINVAL);
                assert_non_null(strstr(e.text, keys[i]));
        }
}

static void test_what_the_claim_says_joins_what_the_class_says(void **state) {
        struct csi_class c = class_of(PAIRS({ "platform", "linux/arm64" }, { "root", "a" }));
        _cleanup_json_ json_t *claim =
            claim_with("{\"modelstage.io/model\":\"" MODEL "\",\"modelstage.io/root\":\"a\","
                       "\"modelstage.io/pull-policy\":\"Never\",\"modelstage.io/include\":\"\","
                       "\"volume.kubernetes.io/selected-node\":\"n\"}");
        struct csi_attribute_values v;
        struct error e = { 0 };

        (void)state;
        assert_int_equal(csi_claim_read(&v, &c, VOLUME, claim, &e), 0);
        assert_string_equal(v.of[CSI_ATTRIBUTE_MODEL], MODEL);
        assert_string_equal(v.of[CSI_ATTRIBUTE_PLATFORM], "linux/arm64");
        assert_string_equal(v.of[CSI_ATTRIBUTE_ROOT], "a");
        assert_string_equal(v.of[CSI_ATTRIBUTE_PULL_POLICY], "Never");
        assert_string_equal(v.of[CSI_ATTRIBUTE_INCLUDE], "");
}

static void test_a_nul_in_what_others_write_is_theirs(void **state) {
        _cleanup_json_ json_t *claim =
            claim_with("{\"modelstage.io/model\":\"" MODEL "\",\"example.com/note\":\"a\\u0000b\"}");
        struct csi_class c = class_of(PAIRS(NOTHING_BESIDES));
        struct csi_attribute_values v;
        struct error e = { 0 };

        (void)state;
        assert_int_equal(csi_claim_read(&v, &c, VOLUME, claim, &e), 0);
        assert_string_equal(v.of[CSI_ATTRIBUTE_MODEL], MODEL);
}

static void test_claims_at_fault_are_told_whose_and_what(void **state) {
        static const struct {
                const char *annotations;
                enum error_kind kind;
                const char *text;
        } cases[] = {
                { "{}", ERROR_PRECONDITION,
                  "claim ml/llama has no annotation modelstage.io/model, and StorageClass models names no "
                  "model: "
                  "annotate the claim, as in modelstage.io/model=registry.example.com/models/llama:1" },
                { "{\"modelstage.io/model\":\"m\\u0000evil\"}", ERROR_PRECONDITION,
                  "annotation modelstage.io/model of claim ml/llama has a NUL" },
                { "{\"modelstage.io/model\":\"m\",\"modelstage.io/root\":\"\\u0000\"}", ERROR_PRECONDITION,
                  "annotation modelstage.io/root of claim ml/llama has a NUL" },
                { "{\"modelstage.io/model\":\"m\",\"modelstage.io/modle\":\"m\"}", ERROR_PRECONDITION,
                  "claim ml/llama has an unknown annotation \"modelstage.io/modle\": known are "
                  "modelstage.io/model, "
                  "pull-policy, root, include and exclude" },
                { "{\"modelstage.io/model\":\"registry.example.com/m\",\"modelstage.io/platform\":\"linux/"
                  "amd64\"}",
                  ERROR_PRECONDITION,
                  "claim ml/llama has an unknown annotation \"modelstage.io/platform\": known are "
                  "modelstage.io/model, "
                  "pull-policy, root, include and exclude" },
                { "{\"modelstage.io/model\":\"registry.example.com/m\",\"modelstage.io/root\":\"b\"}",
                  ERROR_PRECONDITION,
                  "annotation modelstage.io/root of claim ml/llama says \"b\", but StorageClass models sets "
                  "root to "
                  "\"a\": remove the annotation" },
                { "{\"modelstage.io/model\":\"registry.example.com/m\",\"modelstage.io/"
                  "pull-policy\":\"never\"}",
                  ERROR_PRECONDITION,
                  "annotation modelstage.io/pull-policy of claim ml/llama: attribute pullPolicy is "
                  "\"never\": use "
                  "IfNotPresent, Always or Never" },
                { "{\"modelstage.io/model\":\"docker.io/m\"}", ERROR_DENIED,
                  "claim ml/llama may not ask for docker.io/library/m:latest: StorageClass models allows "
                  "only "
                  "registry.example.com/** (modelstage.io/allow)" },
                { "[]", ERROR_UNAVAILABLE,
                  "what the API server says of claim ml/llama makes no sense: \"annotations\" is not an "
                  "object" },
                { "{\"a\":1}", ERROR_UNAVAILABLE,
                  "what the API server says of claim ml/llama makes no sense: annotation \"a\" is not a "
                  "string" },
        };
        struct csi_class c =
            class_of(PAIRS({ "root", "a" }, { "modelstage.io/allow", "registry.example.com/**" }));

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_json_ json_t *claim = claim_with(cases[i].annotations);
                struct csi_attribute_values v;
                struct error e = { 0 };

                assert_true(csi_claim_read(&v, &c, VOLUME, claim, &e) < 0);
                assert_string_equal(e.text, cases[i].text);
                assert_int_equal(e.kind, cases[i].kind);
        }
}

static void test_a_password_in_an_annotation_is_not_repeated(void **state) {
        _cleanup_json_ json_t *claim =
            claim_with("{\"modelstage.io/model\":\"user:canary@registry.example.com/m\"}");
        struct csi_class c = class_of(PAIRS(NOTHING_BESIDES));
        struct csi_attribute_values v;
        struct error e = { 0 };

        (void)state;
        assert_true(csi_claim_read(&v, &c, VOLUME, claim, &e) < 0);
        assert_null(strstr(e.text, "canary"));
}

static void test_a_volumes_uid_is_its_claims(void **state) {
        static const struct {
                const char *volume;
                bool is_its;
        } cases[] = {
                { VOLUME, true },
                { UID, true },
                { "models-" UID, true },
                { "pvc-6a3f0f5e-0000-4000-8000-000000000002", false },
                { "pvc-1", true },                                    /* no UID in it */
                { "pvc-6A3F0F5E-0000-4000-8000-000000000002", true }, /* nor here */
                { "pvc-6a3f0f5e0000-4000-8000-0000000000002-", true },
        };
        _cleanup_json_ json_t *claim = claim_with("{\"modelstage.io/model\":\"" MODEL "\"}");
        struct csi_class c = class_of(PAIRS(NOTHING_BESIDES));

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct csi_attribute_values v;
                struct error e = { 0 };
                int r = csi_claim_read(&v, &c, cases[i].volume, claim, &e);

                assert_int_equal(e.kind, cases[i].is_its ? ERROR_NONE : ERROR_NOT_FOUND);
                assert_int_equal(r == 0, cases[i].is_its);
        }
}

#define CSI(attributes) \
        "{\"metadata\":{\"name\":\"v\"},\"spec\":{\"csi\":{\"driver\":\"d\",\"volumeHandle\":" \
        "\"h\"," attributes "}}}"

static void test_a_volume_that_exists_is_the_same_or_another(void **state) {
        static const struct {
                const char *volume;
                enum error_kind kind;
        } cases[] = {
                { CSI("\"volumeAttributes\":{\"model\":\"" MODEL "\",\"root\":\"a\"}"), ERROR_NONE },
                { CSI("\"volumeAttributes\":{\"root\":\"a\",\"model\":\"" MODEL
                      "\",\"storage.kubernetes.io/csiProvisionerIdentity\":\"x\"}"),
                  ERROR_NONE },
                { CSI("\"volumeAttributes\":{\"model\":\"" MODEL "\"}"), ERROR_EXISTS },
                { CSI("\"volumeAttributes\":{\"model\":\"" MODEL "\",\"root\":\"a\",\"exclude\":\"b\"}"),
                  ERROR_EXISTS },
                { CSI("\"readOnly\":false"), ERROR_EXISTS },
                { "{\"metadata\":{\"name\":\"v\"},\"spec\":{\"nfs\":{}}}", ERROR_EXISTS },
                { "{\"metadata\":{\"name\":\"v\"},\"spec\":{\"csi\":{\"driver\":\"d\",\"volumeHandle\":\"i\"}"
                  "}}",
                  ERROR_EXISTS },
                { "{\"metadata\":{\"name\":\"v\"},\"spec\":{\"csi\":{\"driver\":\"e\",\"volumeHandle\":\"h\"}"
                  "}}",
                  ERROR_EXISTS },
                { CSI("\"volumeAttributes\":{\"model\":1}"), ERROR_UNAVAILABLE },
                { CSI("\"volumeAttributes\":[]"), ERROR_UNAVAILABLE },
                { "{\"metadata\":{\"name\":\"v\"},\"spec\":{\"csi\":{\"driver\":\"d\"}}}",
                  ERROR_UNAVAILABLE },
                { "{\"metadata\":{\"name\":\"v\"}}", ERROR_UNAVAILABLE },
                { "{}", ERROR_UNAVAILABLE },
        };
        const struct csi_attribute_values values =
            class_of(PAIRS({ "model", MODEL }, { "root", "a" })).values;

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_json_ json_t *volume = NULL;
                struct error e = { 0 };

                assert_int_equal(
                    json_parse(&volume, cases[i].volume, strlen(cases[i].volume), 4096, "volume", &e), 0);
                int r = csi_claim_check_volume(volume, "d", "h", &values, &e);
                if (e.kind != cases[i].kind)
                        fail_msg("%s: kind %d, \"%s\"", cases[i].volume, (int)e.kind, e.text);
                assert_int_equal(r == 0, cases[i].kind == ERROR_NONE);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parameters_of_class_and_provisioner_are_told_apart),
                cmocka_unit_test(test_a_classs_own_mistakes_are_found_before_any_claim_is_read),
                cmocka_unit_test(test_names_that_are_none_are_refused),
                cmocka_unit_test(test_what_the_claim_says_joins_what_the_class_says),
                cmocka_unit_test(test_a_nul_in_what_others_write_is_theirs),
                cmocka_unit_test(test_claims_at_fault_are_told_whose_and_what),
                cmocka_unit_test(test_a_password_in_an_annotation_is_not_repeated),
                cmocka_unit_test(test_a_volumes_uid_is_its_claims),
                cmocka_unit_test(test_a_volume_that_exists_is_the_same_or_another),
        };

        return cmocka_run_group_tests_name("csi/claim", tests, NULL, NULL);
}
