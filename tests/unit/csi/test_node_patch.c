/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of the API server, character for character: a patch that is too broad breaks a node. */
#include "tests/unit/test.h"

#include "csi/node_patch.h"

#define KEY "csi.modelstage.io/agent-not-ready"
#define OURS(effect) "{\"effect\":\"" effect "\",\"key\":\"" KEY "\"}"
#define OTHER \
        "{\"effect\":\"NoSchedule\",\"key\":\"nvidia.com/" \
        "gpu\",\"timeAdded\":\"2026-01-01T00:00:00Z\",\"value\":\"x\"}"

static json_t *parse(const char *text) {
        json_t *ret = NULL;
        struct error e = { 0 };

        if (json_parse(&ret, text, strlen(text), 1 << 16, "test", &e) < 0)
                fail_msg("%s: %s", text, e.text);
        return ret;
}

static void assert_json(const json_t *value, const char *text) {
        char *printed = value ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

        assert_string_equal(printed ? printed : "nothing", text);
        free(printed);
}

static void test_taints_with_our_key_go_and_others_stay(void **state) {
        static const struct {
                const char *taints, *rest; /* NULL: there is nothing to do */
        } cases[] = {
                { "[" OURS("NoExecute") "]", "[]" },
                { "[" OURS("NoSchedule") "," OURS("NoExecute") "]", "[]" },
                { "[" OTHER "," OURS("NoExecute") "," OURS("PreferNoSchedule") "]", "[" OTHER "]" },
                { "[{\"effect\":\"NoExecute\",\"key\":\"" KEY "\",\"value\":\"1\"}," OTHER "]",
                  "[" OTHER "]" },
                { "[" OTHER "]", NULL },
                { "[{\"effect\":\"NoExecute\",\"key\":\"" KEY "2\"},{\"key\":7},{},8,null]", NULL },
                { "[]", NULL },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_json_ json_t *node = NULL;
                _cleanup_json_ json_t *patch = NULL;
                char text[2048], expected[4096] = "nothing";

                snprintf(text, sizeof text, "{\"spec\":{\"taints\":%s},\"metadata\":{}}", cases[i].taints);
                node = parse(text);
                assert_int_equal(csi_node_taint_patch(&patch, node, KEY, NULL), 0);
                if (cases[i].rest)
                        snprintf(expected, sizeof expected,
                                 "[{\"op\":\"test\",\"path\":\"/spec/taints\",\"value\":%s},"
                                 "{\"op\":\"replace\",\"path\":\"/spec/taints\",\"value\":%s}]",
                                 cases[i].taints, cases[i].rest);
                assert_json(patch, expected);
        }
}

static void test_our_labels_become_those_that_are_wanted(void **state) {
        static const struct {
                const char *labels, *wanted[3], *changes; /* NULL: there is nothing to do */
        } cases[] = {
                { "{}", { "warm-a" }, "{\"modelstage.io/warm-a\":\"true\"}" },
                { "{\"modelstage.io/warm-a\":\"true\"}", { "warm-a" }, NULL },
                { "{\"modelstage.io/warm-a\":\"true\"}", { NULL }, "{\"modelstage.io/warm-a\":null}" },
                { "{\"modelstage.io/warm-a\":\"false\"}",
                  { "warm-a" },
                  "{\"modelstage.io/warm-a\":\"true\"}" },
                { "{\"modelstage.io/warm-a\":1}", { "warm-a" }, "{\"modelstage.io/warm-a\":\"true\"}" },
                { "{\"modelstage.io/warm-a\":\"true\",\"modelstage.io/warm-b\":\"true\"}",
                  { "warm-b", "warm-c" },
                  "{\"modelstage.io/warm-a\":null,\"modelstage.io/warm-c\":\"true\"}" },
                /* Nobody else's are touched. */
                { "{\"modelstage.io/pool\":\"x\",\"modelstage.io/warmth\":\"y\",\"warm-a\":\"true\","
                  "\"x.modelstage.io/warm-a\":\"true\",\"kubernetes.io/hostname\":\"n\"}",
                  { NULL },
                  NULL },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_json_ json_t *node = NULL;
                _cleanup_json_ json_t *patch = NULL;
                struct csi_labels wanted = { .n = 0 };
                char text[1024], expected[1024] = "nothing";

                for (; wanted.n < 3 && cases[i].wanted[wanted.n]; wanted.n++)
                        snprintf(wanted.list[wanted.n].name, CSI_LABEL_SIZE, "%s", cases[i].wanted[wanted.n]);
                snprintf(text, sizeof text, "{\"metadata\":{\"labels\":%s}}", cases[i].labels);
                node = parse(text);
                assert_int_equal(csi_node_label_patch(&patch, node, &wanted, NULL), 0);
                if (cases[i].changes)
                        snprintf(expected, sizeof expected, "{\"metadata\":{\"labels\":%s}}",
                                 cases[i].changes);
                assert_json(patch, expected);
        }
}

static void test_a_node_without_taints_or_labels_is_one(void **state) {
        _cleanup_json_ json_t *node = parse("{\"metadata\":{\"name\":\"n\"}}");
        struct csi_labels none = { .n = 0 };
        json_t *patch = (json_t *)1;

        (void)state;
        assert_int_equal(csi_node_taint_patch(&patch, node, KEY, NULL), 0);
        assert_null(patch);
        patch = (json_t *)1;
        assert_int_equal(csi_node_label_patch(&patch, node, &none, NULL), 0);
        assert_null(patch);
}

static void test_what_is_no_node_is_refused(void **state) {
        static const char *const taints[] = { "{\"spec\":[]}", "{\"spec\":{\"taints\":{}}}",
                                              "{\"spec\":null}" };
        static const char *const labels[] = { "{}", "{\"metadata\":7}", "{\"metadata\":{\"labels\":[]}}" };
        struct csi_labels none = { .n = 0 };
        json_t *patch = (json_t *)1;

        (void)state;
        for (size_t i = 0; i < 3; i++) {
                _cleanup_json_ json_t *a = parse(taints[i]);
                _cleanup_json_ json_t *b = parse(labels[i]);
                struct error e = { 0 };

                assert_int_equal(csi_node_taint_patch(&patch, a, KEY, &e), -EINVAL);
                assert_int_equal(csi_node_label_patch(&patch, b, &none, &e), -EINVAL);
                assert_non_null(strstr(e.text, "the Node: "));
                assert_ptr_equal(patch, (json_t *)1);
        }
}

static void test_a_node_is_joining_until_karpenter_takes_its_taint_away(void **state) {
        static const struct {
                const char *node;
                bool is_joining;
        } cases[] = {
                { "{\"spec\":{\"taints\":[" OTHER ",{\"key\":\"karpenter.sh/unregistered\"}]}}", true },
                { "{\"metadata\":{\"labels\":{\"karpenter.sh/unregistered\":\"\"}}}", true },
                { "{\"spec\":{\"taints\":[" OTHER "]},\"metadata\":{\"labels\":{\"a\":\"b\"}}}", false },
                { "{\"spec\":{\"taints\":[7,{\"key\":7}]},\"metadata\":[]}", false },
                { "{}", false },
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                _cleanup_json_ json_t *node = parse(cases[i].node);

                assert_int_equal(csi_node_is_joining(node), cases[i].is_joining);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_taints_with_our_key_go_and_others_stay),
                cmocka_unit_test(test_our_labels_become_those_that_are_wanted),
                cmocka_unit_test(test_a_node_without_taints_or_labels_is_one),
                cmocka_unit_test(test_what_is_no_node_is_refused),
                cmocka_unit_test(test_a_node_is_joining_until_karpenter_takes_its_taint_away),
        };

        return cmocka_run_group_tests_name("csi/node_patch", tests, NULL, NULL);
}
