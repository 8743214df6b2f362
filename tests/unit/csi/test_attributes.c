/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test.h"

#include "csi/attributes.h"

#define PAIRS(...) \
        (const struct csi_pair[]){ __VA_ARGS__ }, \
            sizeof((struct csi_pair[]){ __VA_ARGS__ }) / sizeof(struct csi_pair)

static void test_all_keys_are_understood(void **state) {
        _cleanup_(csi_attributes_freep) struct csi_attributes *a = NULL;
        struct error e = { 0 };

        (void)state;
        assert_int_equal(
            csi_attributes_parse(&a,
                                 PAIRS({ "model", "oci://r.example.com/m/llama:1" },
                                       { "pullPolicy", "Never" }, { "root", "weights/" },
                                       { "include", "*.json, *.safetensors" }, { "exclude", "original/**" },
                                       { "platform", "linux/arm64" }, { "csi.storage.k8s.io/pod.name", "p" },
                                       { "storage.kubernetes.io/csiProvisionerIdentity", "x" }),
                                 &e),
            0);
        assert_string_equal(a->reference->host, "r.example.com");
        assert_string_equal(a->reference->tag, "1");
        assert_int_equal(a->policy, STAGE_NEVER);
        assert_string_equal(a->selection->root, "weights");
        assert_string_equal(a->selection->include[1], "*.safetensors");
        assert_null(a->selection->include[2]);
        assert_string_equal(a->selection->exclude[0], "original/**");
        assert_string_equal(a->selection->platform, "linux/arm64");
}

static void test_mistakes_are_named(void **state) {
        static const struct {
                const char *key, *value, *text;
        } cases[] = {
                { "model", "", "attribute model is missing" },
                { "modle", "r/m", "unknown attribute \"modle\"" },
                { "model", "r.example.com/UPPER", "attribute model" },
                { "pullPolicy", "Sometimes", "pullPolicy is \"Sometimes\"" },
                { "root", "../etc", "root" },
                { "platform", "linux", "platform" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct csi_pair pairs[2] = { { "model", "r.example.com/m:1" },
                                             { cases[i].key, cases[i].value } };
                struct csi_attributes *a = NULL;
                struct error e = { 0 };

                assert_int_equal(csi_attributes_parse(&a, pairs, 2, &e), -EINVAL);
                assert_null(a);
                assert_int_equal(e.kind, ERROR_INVALID);
                if (!strstr(e.text, cases[i].text))
                        fail_msg("%s=%s: \"%s\" does not say \"%s\"", cases[i].key, cases[i].value, e.text,
                                 cases[i].text);
        }
}

static void test_secrets_in_every_form(void **state) {
        static const struct {
                const char *key, *value;
        } forms[] = {
                { ".dockerconfigjson",
                  "{\"auths\":{\"r.example.com\":{\"username\":\"u\",\"password\":\"canary\"}}}" },
                { ".dockercfg", "{\"r.example.com\":{\"username\":\"u\",\"password\":\"canary\"}}" },
        };

        (void)state;
        for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
                _cleanup_(oci_keyring_freep) struct oci_keyring *k = NULL;
                struct csi_pair pair = { forms[i].key, forms[i].value };
                struct error e = { 0 };

                assert_int_equal(csi_secrets_parse(&k, &pair, 1, &e), 0);
                assert_string_equal(oci_keyring_find(k, "r.example.com", "m", 0)->password, "canary");
                assert_null(oci_keyring_find(k, "other.example.com", "m", 0));
        }
}

static void test_no_secret_is_no_keyring(void **state) {
        struct oci_keyring *k = (void *)1;

        (void)state;
        assert_int_equal(csi_secrets_parse(&k, NULL, 0, NULL), 0);
        assert_null(k);
}

static void test_a_bad_secret_is_not_quoted(void **state) {
        struct csi_pair broken = { ".dockerconfigjson", "{\"auths\":{\"r\":{\"auth\":\"hunter2!!\"}}" };
        struct csi_pair half = { "password", "hunter2!!" };
        struct csi_pair strange = { "token", "hunter2!!" };
        const struct csi_pair *cases[] = { &broken, &half, &strange };

        (void)state;
        for (size_t i = 0; i < 3; i++) {
                struct oci_keyring *k = NULL;
                struct error e = { 0 };

                assert_int_equal(csi_secrets_parse(&k, cases[i], 1, &e), -EINVAL);
                assert_null(k);
                assert_null(strstr(e.text, "hunter2"));
        }
}

static void test_a_secret_of_no_form_is_told_all_forms(void **state) {
        struct csi_pair strange = { "token", "hunter2!!" };
        struct oci_keyring *k = NULL;
        struct error e = { 0 };

        (void)state;
        assert_int_equal(csi_secrets_parse(&k, &strange, 1, &e), -EINVAL);
        assert_string_equal(
            e.text,
            "the volume's secret has neither .dockerconfigjson nor .dockercfg nor username and password");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_all_keys_are_understood),
                cmocka_unit_test(test_mistakes_are_named),
                cmocka_unit_test(test_secrets_in_every_form),
                cmocka_unit_test(test_no_secret_is_no_keyring),
                cmocka_unit_test(test_a_bad_secret_is_not_quoted),
                cmocka_unit_test(test_a_secret_of_no_form_is_told_all_forms),
        };

        return cmocka_run_group_tests_name("csi/attributes", tests, NULL, NULL);
}
