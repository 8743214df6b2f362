/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Node object as the API server has it, kept by a script that understands the two kinds of patch that are sent.
 * That something is not asked for is shown by the calls before the next thing that is.
 */
#include "tests/unit/csi/kube_world.h"

#include <sys/stat.h>

#include "base/metrics.h"
#include "base/text.h"
#include "csi/node_object.h"

#define PATIENCE_MS 60000
#define TAINT "csi.modelstage.io/agent-not-ready"
#define OURS "{\"key\":\"" TAINT "\",\"effect\":\"NoExecute\"}"
#define OTHER "{\"key\":\"nvidia.com/gpu\",\"effect\":\"NoSchedule\"}"
#define MODELS_MAX 4

struct scene {
        struct kube_world w; /* first: the server's userdata is this */
        struct csi_node_object *node;
        struct settings_warm warm[MODELS_MAX];
        size_t n_warm;
        const struct csi_node_object_times *times;
        char nfd[64];

        /* Guarded by the server's lock. */
        json_t *object; /* the Node */
        char *last;     /* its latest text that was sent */
        int refuse;     /* status of the next answers to a GET, or of a PATCH if @refuse_patch; 0: none */
        bool refuse_patch;
        unsigned refusals; /* how many more */
        unsigned recent;   /* GETs that were content with what is in memory */
        bool meddle;       /* somebody else adds a taint before the next patch */

        pthread_mutex_t lock; /* guards what follows */
        const char *here[MODELS_MAX];
};

/* ---- the API server ---- */

static bool says(const json_t *operation, const char *op) {
        return strcmp(json_string_value(json_object_get(operation, "op")), op) == 0 &&
               strcmp(json_string_value(json_object_get(operation, "path")), "/spec/taints") == 0;
}

/* A JSON patch of a test and a replace of /spec/taints. False: the test does not hold. */
static bool apply_json_patch(json_t *node, const json_t *patch) {
        const json_t *test = json_array_get(patch, 0), *replace = json_array_get(patch, 1);
        json_t *spec = json_object_get(node, "spec");

        assert(json_array_size(patch) == 2 && says(test, "test") && says(replace, "replace"));
        if (!json_equal(json_object_get(spec, "taints"), json_object_get(test, "value")))
                return false;
        json_object_set(spec, "taints", json_object_get(replace, "value"));
        return true;
}

static void apply_merge_patch(json_t *node, json_t *patch) {
        json_t *metadata = json_object_get(node, "metadata"), *labels = json_object_get(metadata, "labels"),
               *value;
        const char *key;

        if (!labels) {
                labels = json_object();
                json_object_set_new(metadata, "labels", labels);
        }
        json_object_foreach (json_object_get(json_object_get(patch, "metadata"), "labels"), key, value) {
                if (json_is_null(value))
                        json_object_del(labels, key);
                else
                        json_object_set(labels, key, value);
        }
}

static void script_node(struct server *server, const struct server_request *q, struct server_answer *a) {
        struct scene *s = server->userdata;
        bool is_patch = strcmp(q->method, "PATCH") == 0;
        bool is_recent = strcmp(q->target, "/api/v1/nodes/node-1?resourceVersion=0") == 0;

        assert(is_recent ? !is_patch : strcmp(q->target, "/api/v1/nodes/node-1") == 0);
        s->recent += is_recent;
        if (s->refuse && s->refusals > 0 && is_patch == s->refuse_patch) {
                s->refusals--;
                server_answer_text(a, s->refuse, "{\"kind\":\"Status\",\"message\":\"not now\"}");
                return;
        }
        if (is_patch) {
                _cleanup_json_ json_t *patch = json_loads(q->body, 0, NULL);
                const char *type = server_header(q, "Content-Type");

                assert(patch && type);
                if (s->meddle) {
                        json_array_append_new(json_object_get(json_object_get(s->object, "spec"), "taints"),
                                              json_loads(OTHER, 0, NULL));
                        s->meddle = false;
                }
                if (strcmp(type, "application/merge-patch+json") == 0) {
                        apply_merge_patch(s->object, patch);
                } else if (!apply_json_patch(s->object, patch)) {
                        server_answer_text(a, 422,
                                           "{\"kind\":\"Status\",\"message\":\"the test does not hold\"}");
                        return;
                }
        }
        free(s->last);
        s->last = json_dumps(s->object, JSON_COMPACT);
        server_answer_text(a, 200, s->last);
}

/* ---- the scene ---- */

static bool is_here(void *userdata, const struct oci_reference *reference) {
        struct scene *s = userdata;

        LOCK_SCOPE(&s->lock);
        for (size_t i = 0; i < MODELS_MAX; i++)
                if (s->here[i] && strcmp(s->here[i], reference->text) == 0)
                        return true;
        return false;
}

static void set_here(struct scene *s, size_t i, const char *reference) {
        {
                LOCK_SCOPE(&s->lock);
                s->here[i] = reference;
        }
        csi_node_object_wake(s->node);
}

static void scene_begin(struct scene *s, const char *labels, const char *taints) {
        char object[1024];

        memset(s, 0, sizeof *s);
        pthread_mutex_init(&s->lock, NULL);
        snprintf(
            object, sizeof object,
            "{\"kind\":\"Node\",\"metadata\":{\"name\":\"node-1\",\"labels\":%s},\"spec\":{\"taints\":%s}}",
            labels, taints);
        s->object = json_loads(object, 0, NULL);
        assert_non_null(s->object);
        kube_world_begin(&s->w, script_node);
        snprintf(s->nfd, sizeof s->nfd, "/tmp/modelstage-nfd-XXXXXX");
        assert_non_null(mkdtemp(s->nfd));
        assert_int_equal(settings_set(s->w.settings, "node.name", "node-1", NULL), 0);
        assert_int_equal(settings_set(s->w.settings, "kubernetes.nfdDir", s->nfd, NULL), 0);
}

static void scene_warm(struct scene *s, const char *model, bool required) {
        s->warm[s->n_warm++] = (struct settings_warm){ .model = (char *)model, .required = required };
}

static void scene_go(struct scene *s, const char *labels) {
        const struct csi_node_object_options o = { .settings = s->w.settings,
                                                   .kube = s->w.kube,
                                                   .is_here = is_here,
                                                   .userdata = s,
                                                   .times = s->times };

        assert_int_equal(settings_set(s->w.settings, "kubernetes.labels", labels, NULL), 0);
        s->w.settings->warm = s->warm;
        s->w.settings->n_warm = s->n_warm;
        assert_int_equal(csi_node_object_start(&s->node, &o, &s->w.e), 0);
}

static void scene_end(struct scene *s) {
        int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        csi_kube_cancel(s->w.kube);
        csi_node_object_stop(s->node);
        csi_node_object_wake(s->node); /* may still come */
        csi_node_object_free(s->node);
        s->w.settings->warm = NULL;
        s->w.settings->n_warm = 0;
        kube_world_end(&s->w);
        assert_int_equal(path_remove_tree(tmp, path_base(s->nfd), NULL), 0);
        close(tmp);
        json_decref(s->object);
        free(s->last);
        pthread_mutex_destroy(&s->lock);
}

static char *shown(struct scene *s, const char *section, const char *member) {
        pthread_mutex_lock(&s->w.server.lock);
        char *text = json_dumps(json_object_get(json_object_get(s->object, section), member),
                                JSON_COMPACT | JSON_SORT_KEYS);
        pthread_mutex_unlock(&s->w.server.lock);
        return text;
}

static void wait_for(struct scene *s, const char *section, const char *member, const char *text) {
        int64_t until = time_monotonic_ms() + PATIENCE_MS;

        for (;;) {
                _cleanup_free_ char *now = shown(s, section, member);

                if (strcmp(now, text) == 0)
                        return;
                if (time_monotonic_ms() > until)
                        fail_msg("%s.%s is %s, not %s", section, member, now, text);
                (void)poll(NULL, 0, 2);
        }
}

static void wait_for_calls(struct scene *s, const char *method, unsigned n) {
        int64_t until = time_monotonic_ms() + PATIENCE_MS;

        while (server_count(&s->w.server, method) < n) {
                assert_true(time_monotonic_ms() < until);
                (void)poll(NULL, 0, 2);
        }
}

static void assert_calls(struct scene *s, unsigned gets, unsigned patches) {
        assert_int_equal(server_count(&s->w.server, "GET"), gets);
        assert_int_equal(server_count(&s->w.server, "PATCH"), patches);
}

static double warm_models(const char *state) {
        return metric_value(METRIC_WARM_MODELS, (const char *[]){ state, NULL });
}

static void wait_for_warm(double here, double missing) {
        int64_t until = time_monotonic_ms() + PATIENCE_MS;

        while (warm_models("here") != here || warm_models("missing") != missing) {
                assert_true(time_monotonic_ms() < until);
                (void)poll(NULL, 0, 2);
        }
}

/* ---- the taint ---- */

static void test_taint_goes_when_registered_and_required_models_are_here(void **state) {
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[" OTHER "," OURS "]");
        scene_warm(&s, "r.example.com/llama:1", true);
        scene_warm(&s, "r.example.com/other:1", false);
        scene_go(&s, "none");
        csi_node_object_registered(s.node);
        wait_for_warm(0, 2);
        assert_calls(&s, 0, 0); /* nothing could be changed yet, so nothing is asked */
        set_here(&s, 0, "r.example.com/llama:1");
        wait_for(&s, "spec", "taints", "[{\"effect\":\"NoSchedule\",\"key\":\"nvidia.com/gpu\"}]");
        set_here(&s, 0, NULL); /* it is not put back, and nobody is asked any more */
        wait_for_warm(0, 2);
        set_here(&s, 0, "r.example.com/llama:1");
        wait_for_warm(1, 1);
        assert_calls(&s, 1, 1);
        scene_end(&s);
}

static void test_taint_stays_until_kubelet_has_registered_the_driver(void **state) {
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[" OURS "]");
        scene_warm(&s, "r.example.com/llama:1", true);
        scene_go(&s, "none");
        set_here(&s, 0, "r.example.com/llama:1");
        wait_for_warm(1, 0);
        assert_calls(&s, 0, 0);
        csi_node_object_registered(s.node);
        wait_for(&s, "spec", "taints", "[]");
        assert_calls(&s, 1, 1);
        scene_end(&s);
}

static void test_node_without_the_taint_is_looked_at_once_for_each_registration(void **state) {
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[" OTHER "]");
        scene_warm(&s, "r.example.com/llama:1", false);
        scene_go(&s, "none");
        csi_node_object_registered(s.node);
        wait_for_calls(&s, "GET", 1);
        set_here(&s, 0, "r.example.com/llama:1");
        wait_for_warm(1, 0); /* it was awake for that */
        assert_calls(&s, 1, 0);
        csi_node_object_registered(s.node);
        wait_for_calls(&s, "GET", 2);
        assert_calls(&s, 2, 0);
        scene_end(&s);
}

/* Others change the taints. */
static void set_taints(struct scene *s, const char *taints) {
        pthread_mutex_lock(&s->w.server.lock);
        json_object_set_new(json_object_get(s->object, "spec"), "taints", json_loads(taints, 0, NULL));
        pthread_mutex_unlock(&s->w.server.lock);
}

#define NONE_BUT_OTHER "[{\"effect\":\"NoSchedule\",\"key\":\"nvidia.com/gpu\"}]"
#define NEVER_MS 3600000

static void test_taint_that_comes_after_the_first_look_goes(void **state) {
        static const struct csi_node_object_times cases[] = {
                { .settles_ms = NEVER_MS,
                  .soon_ms = 20,
                  .later_ms = NEVER_MS,
                  .retry_ms = 20 },                                       /* as Karpenter does it */
                { .settles_ms = 0, .soon_ms = NEVER_MS, .later_ms = 20 }, /* a day later */
        };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct scene s;

                scene_begin(&s, "{}", "[" OTHER "]");
                s.times = &cases[i];
                scene_go(&s, "none");
                csi_node_object_registered(s.node);
                wait_for_calls(&s, "GET", 2);
                set_taints(&s, "[" OTHER "," OURS "]");
                wait_for(&s, "spec", "taints", NONE_BUT_OTHER);
                set_taints(&s, "[" OURS "," OTHER "]"); /* and comes back */
                wait_for(&s, "spec", "taints", NONE_BUT_OTHER);
                assert_int_equal(server_count(&s.w.server, "PATCH"), 2);
                pthread_mutex_lock(&s.w.server.lock);
                assert_true(s.recent >= 2); /* all but the first */
                pthread_mutex_unlock(&s.w.server.lock);
                scene_end(&s);
        }
}

static void test_node_that_karpenter_has_not_registered_is_looked_at_soon(void **state) {
        static const struct csi_node_object_times times = { .soon_ms = 20, .later_ms = NEVER_MS };
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[{\"key\":\"karpenter.sh/unregistered\",\"effect\":\"NoExecute\"}]");
        s.times = &times;
        scene_go(&s, "none");
        csi_node_object_registered(s.node);
        wait_for_calls(&s, "GET", 2);
        set_taints(&s, "[" OTHER "," OURS "]");
        wait_for(&s, "spec", "taints", NONE_BUT_OTHER);
        scene_end(&s);
}

static void test_node_is_not_looked_at_while_a_required_model_is_missing(void **state) {
        static const struct csi_node_object_times times = { .settles_ms = NEVER_MS, .soon_ms = 20 };
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[" OURS "]");
        s.times = &times;
        scene_warm(&s, "r.example.com/llama:1", true);
        scene_warm(&s, "r.example.com/qwen:2", false);
        s.here[0] = "r.example.com/llama:1";
        scene_go(&s, "none");
        csi_node_object_registered(s.node);
        wait_for(&s, "spec", "taints", "[]");
        set_here(&s, 0, NULL);
        wait_for_warm(0, 2);
        unsigned gets = server_count(&s.w.server, "GET");
        set_taints(&s, "[" OURS "]");
        csi_node_object_registered(s.node);
        set_here(&s, 1, "r.example.com/qwen:2");
        wait_for_warm(1, 1); /* it was awake for that */
        assert_calls(&s, gets, 1);
        set_here(&s, 0, "r.example.com/llama:1");
        wait_for(&s, "spec", "taints", "[]");
        scene_end(&s);
}

static void test_taint_that_somebody_else_adds_meanwhile_stays(void **state) {
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[" OURS "]");
        s.meddle = true;
        scene_go(&s, "none");
        csi_node_object_registered(s.node);
        wait_for(&s, "spec", "taints", "[{\"effect\":\"NoSchedule\",\"key\":\"nvidia.com/gpu\"}]");
        assert_calls(&s, 2, 2);
        scene_end(&s);
}

static void test_taint_goes_after_conflicts_and_refusals(void **state) {
        static const struct {
                int status;
                bool patch;
                unsigned n;
        } cases[] = { { 409, true, 3 }, { 403, false, 1 }, { 404, false, 1 }, { 409, true, 6 } };

        (void)state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct scene s;

                scene_begin(&s, "{}", "[" OURS "]");
                s.refuse = cases[i].status;
                s.refuse_patch = cases[i].patch;
                s.refusals = cases[i].n;
                scene_go(&s, "none");
                csi_node_object_registered(s.node);
                wait_for(&s, "spec", "taints", "[]");
                assert_calls(&s, 1 + cases[i].n, 1 + (cases[i].patch ? cases[i].n : 0));
                scene_end(&s);
        }
}

static void test_empty_key_means_no_taint_is_looked_for(void **state) {
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[" OURS "]");
        assert_int_equal(settings_set(s.w.settings, "kubernetes.startupTaint", "", NULL), 0);
        scene_warm(&s, "r.example.com/llama:1", false);
        scene_go(&s, "node");
        csi_node_object_registered(s.node);
        set_here(&s, 0, "r.example.com/llama:1");
        wait_for(&s, "metadata", "labels", "{\"modelstage.io/warm-llama-1\":\"true\"}");
        wait_for(&s, "spec", "taints", "[{\"effect\":\"NoExecute\",\"key\":\"" TAINT "\"}]");
        scene_end(&s);
}

/* ---- labels ---- */

static void test_labels_follow_the_cache_and_the_list(void **state) {
        static const struct settings_warm other = { .model = (char *)"r.example.com/qwen:2" };
        struct scene s;

        (void)state;
        scene_begin(&s, "{\"modelstage.io/warm-gone-1\":\"true\",\"team\":\"a\"}", "[]");
        scene_warm(&s, "r.example.com/llama:1", false);
        scene_warm(&s, "r.example.com/qwen:2", false);
        scene_go(&s, "node");
        wait_for(&s, "metadata", "labels", "{\"team\":\"a\"}");
        set_here(&s, 0, "r.example.com/llama:1");
        wait_for(&s, "metadata", "labels", "{\"modelstage.io/warm-llama-1\":\"true\",\"team\":\"a\"}");
        set_here(&s, 1, "r.example.com/qwen:2");
        wait_for(&s, "metadata", "labels",
                 "{\"modelstage.io/warm-llama-1\":\"true\",\"modelstage.io/"
                 "warm-qwen-2\":\"true\",\"team\":\"a\"}");
        assert_int_equal(csi_node_object_set_warm(s.node, &other, 1), 0);
        wait_for(&s, "metadata", "labels", "{\"modelstage.io/warm-qwen-2\":\"true\",\"team\":\"a\"}");
        set_here(&s, 1, NULL); /* modelstage rm */
        wait_for(&s, "metadata", "labels", "{\"team\":\"a\"}");
        assert_calls(&s, 5, 5);
        scene_end(&s);
}

static void test_labels_that_are_right_are_not_sent_again(void **state) {
        struct scene s;

        (void)state;
        scene_begin(&s, "{\"modelstage.io/warm-llama-1\":\"true\"}", "[" OURS "]");
        scene_warm(&s, "r.example.com/llama:1", true);
        s.here[0] = "r.example.com/llama:1";
        scene_go(&s, "node");
        wait_for_calls(&s, "GET", 1);
        csi_node_object_registered(s.node);
        wait_for(&s, "spec", "taints", "[]");
        csi_node_object_registered(s.node);
        wait_for_calls(&s, "GET", 3);
        assert_calls(&s, 3, 1);
        scene_end(&s);
}

/* ---- NFD ---- */

static void wait_for_file(const struct scene *s, const char *text) {
        int64_t until = time_monotonic_ms() + PATIENCE_MS;
        char path[128];

        snprintf(path, sizeof path, "%s/modelstage", s->nfd);
        for (;;) {
                _cleanup_free_ char *now = NULL;
                size_t len = 0;
                int r = path_read_absolute(&now, &len, path, 4096, NULL);

                if (text ? r == 0 && strcmp(now, text) == 0 : r == -ENOENT)
                        return;
                if (time_monotonic_ms() > until)
                        fail_msg("%s: %s", path, now ? now : "missing");
                (void)poll(NULL, 0, 2);
        }
}

#define HEAD "# made by modelstaged: the models of its warm list that are here\n"

static void test_nfd_gets_a_file_and_the_api_server_is_not_asked(void **state) {
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[]");
        scene_warm(&s, "r.example.com/llama:1", false);
        scene_warm(&s, "r.example.com/qwen:2", false);
        scene_go(&s, "nfd");
        set_here(&s, 0, "r.example.com/llama:1");
        wait_for_file(&s, HEAD "modelstage.io/warm-llama-1=true\n");
        set_here(&s, 1, "r.example.com/qwen:2");
        wait_for_file(&s, HEAD "modelstage.io/warm-llama-1=true\nmodelstage.io/warm-qwen-2=true\n");
        set_here(&s, 0, NULL);
        wait_for_file(&s, HEAD "modelstage.io/warm-qwen-2=true\n");
        set_here(&s, 1, NULL);
        wait_for_file(&s, NULL);
        assert_calls(&s, 0, 0);
        scene_end(&s);
}

static void test_a_file_that_another_setting_has_left_goes(void **state) {
        struct scene s;
        char path[128];

        (void)state;
        scene_begin(&s, "{}", "[]");
        snprintf(path, sizeof path, "%s/modelstage", s.nfd);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        close(fd);
        snprintf(path, sizeof path, "%s/another", s.nfd);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        close(fd);
        scene_go(&s, "none");
        wait_for_file(&s, NULL);
        assert_int_equal(access(path, F_OK), 0);
        scene_end(&s);
}

static void test_a_missing_nfd_directory_is_tried_again(void **state) {
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[]");
        scene_warm(&s, "r.example.com/llama:1", false);
        s.here[0] = "r.example.com/llama:1";
        assert_int_equal(rmdir(s.nfd), 0);
        scene_go(&s, "nfd");
        wait_for_warm(1, 0);
        assert_int_equal(mkdir(s.nfd, 0755), 0);
        wait_for_file(&s, HEAD "modelstage.io/warm-llama-1=true\n");
        scene_end(&s);
}

/* ---- one thing fails ---- */

static const struct csi_node_object_times not_again = { NEVER_MS, NEVER_MS, NEVER_MS, NEVER_MS };

static void test_a_missing_nfd_directory_does_not_hold_back_the_taint(void **state) {
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[" OURS "]");
        s.times = &not_again;
        scene_warm(&s, "r.example.com/llama:1", false);
        scene_warm(&s, "r.example.com/qwen:2", false);
        scene_warm(&s, "r.example.com/qwen:3", false);
        s.here[0] = "r.example.com/llama:1";
        assert_int_equal(rmdir(s.nfd), 0);
        scene_go(&s, "nfd");
        wait_for_warm(1, 2); /* what comes now is for the next look */
        csi_node_object_registered(s.node);
        wait_for(&s, "spec", "taints", "[]");
        assert_int_equal(mkdir(s.nfd, 0755), 0); /* to be removed */
        scene_end(&s);
}

static void test_a_registration_does_not_wait_for_a_label_that_was_refused(void **state) {
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[" OURS "]");
        s.times = &not_again;
        s.refuse = 403;
        s.refusals = 1;
        scene_go(&s, "node");
        wait_for_calls(&s, "GET", 1);
        csi_node_object_registered(s.node);
        wait_for(&s, "spec", "taints", "[]");
        scene_end(&s);
}

static void test_the_last_required_model_does_not_wait_for_a_label_that_was_refused(void **state) {
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[" OURS "]");
        s.times = &not_again;
        s.refuse = 403;
        s.refusals = 1;
        scene_warm(&s, "r.example.com/llama:1", true);
        scene_go(&s, "node");
        csi_node_object_registered(s.node);
        wait_for_calls(&s, "GET", 1);
        set_here(&s, 0, "r.example.com/llama:1");
        wait_for(&s, "spec", "taints", "[]");
        scene_end(&s);
}

/* ---- names ---- */

static void test_a_node_that_cannot_be_is_not_asked_for(void **state) {
        struct scene s;

        (void)state;
        scene_begin(&s, "{}", "[" OURS "]");
        assert_int_equal(settings_set(s.w.settings, "node.name", "../secrets", NULL), 0);
        scene_warm(&s, "r.example.com/llama:1", false);
        scene_warm(&s, "NOT A REFERENCE", true);
        scene_go(&s, "node");
        csi_node_object_registered(s.node);
        set_here(&s, 0, "r.example.com/llama:1");
        wait_for_warm(1, 1);
        assert_calls(&s, 0, 0);
        scene_end(&s);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_taint_goes_when_registered_and_required_models_are_here),
                cmocka_unit_test(test_taint_stays_until_kubelet_has_registered_the_driver),
                cmocka_unit_test(test_node_without_the_taint_is_looked_at_once_for_each_registration),
                cmocka_unit_test(test_taint_that_comes_after_the_first_look_goes),
                cmocka_unit_test(test_node_that_karpenter_has_not_registered_is_looked_at_soon),
                cmocka_unit_test(test_node_is_not_looked_at_while_a_required_model_is_missing),
                cmocka_unit_test(test_taint_that_somebody_else_adds_meanwhile_stays),
                cmocka_unit_test(test_taint_goes_after_conflicts_and_refusals),
                cmocka_unit_test(test_empty_key_means_no_taint_is_looked_for),
                cmocka_unit_test(test_labels_follow_the_cache_and_the_list),
                cmocka_unit_test(test_labels_that_are_right_are_not_sent_again),
                cmocka_unit_test(test_nfd_gets_a_file_and_the_api_server_is_not_asked),
                cmocka_unit_test(test_a_file_that_another_setting_has_left_goes),
                cmocka_unit_test(test_a_missing_nfd_directory_is_tried_again),
                cmocka_unit_test(test_a_missing_nfd_directory_does_not_hold_back_the_taint),
                cmocka_unit_test(test_a_registration_does_not_wait_for_a_label_that_was_refused),
                cmocka_unit_test(test_the_last_required_model_does_not_wait_for_a_label_that_was_refused),
                cmocka_unit_test(test_a_node_that_cannot_be_is_not_asked_for),
        };

        return cmocka_run_group_tests_name("csi/node_object", tests, NULL, NULL);
}
