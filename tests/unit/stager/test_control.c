/* SPDX-License-Identifier: Apache-2.0 */
/* The control service on a real socket, over a real cache and engine; models come from an OCI layout on disk.
 */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"
#include "base/rpc_client.h"
#include "proto/modelstage.pb-c.h"
#include "stager/control.h"

#define CALL_MS 60000 /* a hang is a failure, not a hang */

struct fixture {
        char root[32], reference[80];
        char manifest[DIGEST_TEXT_SIZE]; /* of the layout */
        int manifest_size;
        int root_fd;
        struct settings *settings;
        struct control control;
        struct rpc_server *server;
        struct rpc_client *client;
};

/* ---- a layout with one ModelPack: a safetensors file of one tensor, and a text ---- */

static const char config[] =
    "{\"descriptor\":{},\"modelfs\":{\"type\":\"layers\",\"diffIds\":[]},\"config\":{}}";

static void put_file(int dir_fd, const char *path, const void *data, size_t len) {
        struct error e = { 0 };

        if (path_write_file(dir_fd, path, data, len, 0644, &e) < 0)
                fail_msg("%s", e.text);
}

static void put_blob(const struct fixture *f, const void *data, size_t len,
                     char digest[static DIGEST_TEXT_SIZE]) {
        char path[128];
        struct digest d;

        assert_int_equal(digest_of(&d, data, len), 0);
        digest_format(&d, digest);
        snprintf(path, sizeof path, "layout/blobs/sha256/%s", digest + sizeof "sha256:" - 1);
        put_file(f->root_fd, path, data, len);
}

/* The layout's only one, from now on. */
static void give_tag(const struct fixture *f, const char *tag) {
        char index[512];
        int n = snprintf(index, sizeof index,
                         "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/"
                         "vnd.oci.image.manifest.v1+json\",\"digest\":\"%s\",\"size\":%d,"
                         "\"annotations\":{\"org.opencontainers.image.ref.name\":\"%s\"}}]}",
                         f->manifest, f->manifest_size, tag);

        put_file(f->root_fd, "layout/index.json", index, (size_t)n);
}

static void make_layout(struct fixture *f) {
        static const char header[] = "{\"w\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]}}";
        char weights[8 + sizeof header - 1 + 12] = { sizeof header - 1 }; /* the length, little-endian */
        char d_config[DIGEST_TEXT_SIZE], d_weights[DIGEST_TEXT_SIZE], d_text[DIGEST_TEXT_SIZE];
        char manifest[2048];
        struct error e = { 0 };
        int fd;

        fd = path_make_dirs(f->root_fd, "layout/blobs/sha256", 0755, false, &e);
        assert_true(fd >= 0);
        close(fd);
        memcpy(weights + 8, header, sizeof header - 1);
        put_blob(f, config, sizeof config - 1, d_config);
        put_blob(f, weights, sizeof weights, d_weights);
        put_blob(f, "hello", 5, d_text);
        int n = snprintf(
            manifest, sizeof manifest,
            "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
            "\"artifactType\":\"application/vnd.cncf.model.manifest.v1+json\",\"config\":{\"mediaType\":"
            "\"application/vnd.cncf.model.config.v1+json\",\"digest\":\"%s\",\"size\":%zu},\"layers\":["
            "{\"mediaType\":\"application/vnd.cncf.model.weight.v1.raw\",\"digest\":\"%s\",\"size\":%zu,"
            "\"annotations\":{\"org.cncf.model.filepath\":\"model.safetensors\"}},"
            "{\"mediaType\":\"application/vnd.cncf.model.doc.v1.raw\",\"digest\":\"%s\",\"size\":5,"
            "\"annotations\":{\"org.cncf.model.filepath\":\"docs/"
            "README.md\"}}],\"annotations\":{\"who\":\"test\"}}",
            d_config, sizeof config - 1, d_weights, sizeof weights, d_text);
        put_blob(f, manifest, (size_t)n, f->manifest);
        f->manifest_size = n;
        give_tag(f, "v1");
        put_file(f->root_fd, "layout/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", 30);
        snprintf(f->reference, sizeof f->reference, "oci-layout:%s/layout:v1", f->root);
}

/* ---- a daemon around it ---- */

static void must(int r, const struct error *e) {
        if (r < 0)
                fail_msg("%s", e->text);
}

static void start(struct fixture *f) {
        char path[64];
        struct error e = { 0 };

        must(settings_new(&f->settings, &e), &e);
        snprintf(path, sizeof path, "%s/cache", f->root);
        must(settings_set(f->settings, "cache.root", path, &e), &e);
        must(settings_set(f->settings, "cache.minFree", "0", &e), &e);
        must(settings_set(f->settings, "engine.memory", "16MiB", &e), &e);
        must(cache_open(&f->control.cache, f->settings, &e), &e);
        must(oci_client_new(&f->control.client, f->settings, &e), &e);
        must(stager_new(&f->control.stager, f->settings, f->control.cache, f->control.client, &e), &e);
        f->control.settings = f->settings;
        snprintf(path, sizeof path, "%s/control.sock", f->root);
        struct rpc_service service = { control_methods, &f->control };
        struct rpc_server_options options = { .socket_path = path, .services = &service, .n_services = 1 };
        must(rpc_server_new(&f->server, &options, &e), &e);
        must(rpc_server_start(f->server, &e), &e);
        must(rpc_client_new(&f->client, path, &e), &e);
}

static int set_up(void **state) {
        struct fixture *f = calloc(1, sizeof *f);

        strcpy(f->root, "/tmp/test_control.XXXXXX");
        assert_non_null(mkdtemp(f->root));
        f->root_fd = open(f->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        make_layout(f);
        start(f);
        *state = f;
        return 0;
}

static int tear_down(void **state) {
        struct fixture *f = *state;
        struct error e = { 0 };

        rpc_client_free(f->client);
        control_stop(&f->control);
        rpc_server_free(f->server);
        stager_free(f->control.stager);
        oci_client_free(f->control.client);
        cache_close(f->control.cache);
        settings_free(f->settings);
        close(f->root_fd);
        int tmp_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(path_remove_tree(tmp_fd, path_base(f->root), &e), 0);
        close(tmp_fd);
        free(f);
        return 0;
}

static int call(struct fixture *f, const char *method, const ProtobufCMessage *req,
                const ProtobufCMessageDescriptor *type, void *ret, struct error *e) {
        char path[64];

        snprintf(path, sizeof path, "/modelstage.v1.Control/%s", method);
        return rpc_client_call(f->client, path, req, type, CALL_MS, ret, e);
}

static int keep_last(const ProtobufCMessage *m, void *userdata, struct error *e) {
        const Modelstage__V1__WarmProgress *p = (const void *)m;
        char *result = userdata;

        (void)e;
        if (*p->result)
                snprintf(result, 16, "%s", p->result);
        return 0;
}

static int warm(struct fixture *f, Modelstage__V1__WarmRequest *req, char result[static 16],
                struct error *e) {
        *result = '\0';
        return rpc_client_stream(f->client, "/modelstage.v1.Control/Warm", &req->base,
                                 &modelstage__v1__warm_progress__descriptor, CALL_MS, keep_last, result, e);
}

static void warm_layout(struct fixture *f, const char *expected) {
        Modelstage__V1__WarmRequest req = MODELSTAGE__V1__WARM_REQUEST__INIT;
        struct error e = { 0 };
        char result[16];

        req.reference = f->reference;
        must(warm(f, &req, result, &e), &e);
        assert_string_equal(result, expected);
}

static Modelstage__V1__ListResponse *list(struct fixture *f) {
        Modelstage__V1__ListRequest req = MODELSTAGE__V1__LIST_REQUEST__INIT;
        Modelstage__V1__ListResponse *reply = NULL;
        struct error e = { 0 };

        must(call(f, "List", &req.base, &modelstage__v1__list_response__descriptor, &reply, &e), &e);
        return reply;
}

static void free_message(void *m) {
        protobuf_c_message_free_unpacked(m, NULL);
}

/* ---- tests ---- */

static void test_an_empty_request_is_an_error_or_an_answer_for_every_method(void **state) {
        struct fixture *f = *state;

        for (const struct rpc_method *m = control_methods; m->path; m++) {
                _Alignas(16) char request[512];
                struct error e = { 0 };
                char result[16];
                assert_in_range(m->request->sizeof_message, 1, sizeof request);
                protobuf_c_message_init(m->request, request);
                if (m->streams) {
                        (void)rpc_client_stream(f->client, m->path, (void *)request,
                                                &modelstage__v1__warm_progress__descriptor, CALL_MS,
                                                keep_last, result, &e);
                        continue;
                }
                ProtobufCMessage *reply = NULL;
                if (rpc_client_call(f->client, m->path, (void *)request,
                                    &modelstage__v1__list_request__descriptor, CALL_MS, &reply, &e) < 0)
                        assert_in_range(e.kind, ERROR_INVALID, ERROR_NOT_FOUND);
                free_message(reply);
        }
}

static void test_a_warmed_model_is_listed_and_is_a_hit_the_second_time(void **state) {
        struct fixture *f = *state;

        warm_layout(f, "miss");
        warm_layout(f, "hit");
        Modelstage__V1__ListResponse *l = list(f);
        assert_int_equal(l->n_models, 1);
        assert_string_equal(l->models[0]->reference, f->reference);
        assert_string_equal(l->models[0]->state, "ready");
        assert_string_equal(l->models[0]->format, "modelpack");
        assert_int_equal(l->models[0]->files, 2);
        assert_int_equal(l->models[0]->hits, 1);
        assert_false(l->models[0]->pinned);
        free_message(l);
}

static void test_inspect_tells_files_layers_annotations_and_tensors(void **state) {
        struct fixture *f = *state;
        Modelstage__V1__InspectRequest req = MODELSTAGE__V1__INSPECT_REQUEST__INIT;
        Modelstage__V1__InspectResponse *i = NULL;
        struct error e = { 0 };

        req.reference = f->reference;
        assert_true(call(f, "Inspect", &req.base, &modelstage__v1__inspect_response__descriptor, &i, &e) < 0);
        assert_int_equal(e.kind, ERROR_NOT_FOUND);
        warm_layout(f, "miss");
        must(call(f, "Inspect", &req.base, &modelstage__v1__inspect_response__descriptor, &i, &e), &e);
        assert_int_equal(i->n_files, 2);
        assert_string_equal(i->files[0]->path, "docs/README.md");
        assert_int_equal(i->files[0]->size, 5);
        assert_int_equal(i->n_layers, 2);
        assert_string_equal(i->layers[1]->media_type, "application/vnd.cncf.model.doc.v1.raw");
        assert_int_equal(i->n_annotations, 1);
        assert_string_equal(i->annotations[0]->value, "test");
        assert_non_null(strstr(i->tensors_json, "\"dtypes\":{\"BF16\":{\"tensors\":1,\"parameters\":6}}"));
        free_message(i);
}

static void test_a_selection_is_a_model_of_its_own(void **state) {
        struct fixture *f = *state;
        Modelstage__V1__WarmRequest warm_req = MODELSTAGE__V1__WARM_REQUEST__INIT;
        Modelstage__V1__InspectRequest req = MODELSTAGE__V1__INSPECT_REQUEST__INIT;
        Modelstage__V1__Selection selection = MODELSTAGE__V1__SELECTION__INIT;
        Modelstage__V1__InspectResponse *i = NULL;
        char *include[] = { (char *)"*.safetensors" }, result[16];
        struct error e = { 0 };

        selection.include = include;
        selection.n_include = 1;
        warm_req.reference = req.reference = f->reference;
        warm_req.selection = req.selection = &selection;
        must(warm(f, &warm_req, result, &e), &e);
        must(call(f, "Inspect", &req.base, &modelstage__v1__inspect_response__descriptor, &i, &e), &e);
        assert_int_equal(i->n_files, 1);
        assert_string_equal(i->files[0]->path, "model.safetensors");
        free_message(i);
        include[0] = (char *)"*.gguf";
        assert_true(call(f, "Inspect", &req.base, &modelstage__v1__inspect_response__descriptor, &i, &e) < 0);
        assert_int_equal(e.kind, ERROR_NOT_FOUND);
}

static void test_warm_pins_and_unpin_and_remove_undo_it(void **state) {
        struct fixture *f = *state;
        Modelstage__V1__WarmRequest req = MODELSTAGE__V1__WARM_REQUEST__INIT;
        Modelstage__V1__PinRequest unpin = MODELSTAGE__V1__PIN_REQUEST__INIT;
        Modelstage__V1__RemoveRequest rm = MODELSTAGE__V1__REMOVE_REQUEST__INIT;
        Modelstage__V1__RemoveResponse *removed = NULL;
        ProtobufCMessage *reply = NULL;
        struct error e = { 0 };
        char result[16];

        req.reference = unpin.reference = f->reference;
        req.pin = true;
        must(warm(f, &req, result, &e), &e);
        Modelstage__V1__ListResponse *l = list(f);
        assert_true(l->models[0]->pinned);
        must(call(f, "Pin", &unpin.base, &modelstage__v1__pin_response__descriptor, &reply, &e), &e);
        free_message(reply);
        Modelstage__V1__ListResponse *after = list(f);
        assert_false(after->models[0]->pinned);
        free_message(after);
        rm.reference = l->models[0]->digest;
        must(call(f, "Remove", &rm.base, &modelstage__v1__remove_response__descriptor, &removed, &e), &e);
        assert_string_equal(removed->digest, l->models[0]->digest);
        assert_true(removed->freed > 0);
        free_message(removed);
        free_message(l);
        l = list(f);
        assert_int_equal(l->n_models, 0);
        free_message(l);
}

static void test_a_model_that_does_not_exist_is_not_found_and_listed_as_failed(void **state) {
        struct fixture *f = *state;
        Modelstage__V1__WarmRequest req = MODELSTAGE__V1__WARM_REQUEST__INIT;
        char reference[96], result[16];
        struct error e = { 0 };

        snprintf(reference, sizeof reference, "oci-layout:%s/layout:nope", f->root);
        req.reference = reference;
        assert_true(warm(f, &req, result, &e) < 0);
        assert_int_equal(e.kind, ERROR_NOT_FOUND);
        assert_string_equal(result, "");
        Modelstage__V1__ListResponse *l = list(f);
        assert_int_equal(l->n_models, 1);
        assert_string_equal(l->models[0]->state, "failed");
        assert_string_equal(l->models[0]->error, e.text);
        free_message(l);
}

static int warm_tag(struct fixture *f, const char *tag, Modelstage__V1__PullPolicy policy) {
        Modelstage__V1__WarmRequest req = MODELSTAGE__V1__WARM_REQUEST__INIT;
        char reference[96], result[16];
        struct error e = { 0 };

        snprintf(reference, sizeof reference, "oci-layout:%s/layout:%s", f->root, tag);
        req.reference = reference;
        req.pull_policy = policy;
        return warm(f, &req, result, &e);
}

static void check_list(struct fixture *f, size_t n, const char *state) {
        Modelstage__V1__ListResponse *l = list(f);

        assert_int_equal(l->n_models, n);
        for (size_t i = 0; i < n; i++)
                assert_string_equal(l->models[i]->state, state);
        free_message(l);
}

static void test_a_reference_that_fails_again_and_again_is_one_row_until_it_works(void **state) {
        struct fixture *f = *state;

        for (int i = 0; i < 3; i++) {
                assert_true(warm_tag(f, "late", MODELSTAGE__V1__PULL_POLICY__IF_NOT_PRESENT) < 0);
                assert_true(warm_tag(f, "late", MODELSTAGE__V1__PULL_POLICY__ALWAYS) < 0);
                assert_true(warm_tag(f, "other", MODELSTAGE__V1__PULL_POLICY__ALWAYS) < 0);
        }
        check_list(f, 2, "failed");
        give_tag(f, "late");
        assert_int_equal(warm_tag(f, "late", MODELSTAGE__V1__PULL_POLICY__ALWAYS), 0);
        Modelstage__V1__ListResponse *l = list(f);
        assert_int_equal(l->n_models, 2);
        assert_string_equal(l->models[0]->state, "ready");
        assert_non_null(strstr(l->models[1]->reference, ":other"));
        free_message(l);
}

static void test_bad_requests_are_invalid(void **state) {
        struct fixture *f = *state;
        Modelstage__V1__WarmRequest req = MODELSTAGE__V1__WARM_REQUEST__INIT;
        Modelstage__V1__MountRequest mount = MODELSTAGE__V1__MOUNT_REQUEST__INIT;
        ProtobufCMessage *reply = NULL;
        struct error e = { 0 };
        char result[16];

        req.reference = f->reference;
        req.pull_policy = (Modelstage__V1__PullPolicy)99;
        assert_true(warm(f, &req, result, &e) < 0);
        assert_int_equal(e.kind, ERROR_INVALID);
        req.pull_policy = MODELSTAGE__V1__PULL_POLICY__DEFAULT;
        req.docker_config = (char *)"{\"auths\": \"canary-secret\"}";
        assert_true(warm(f, &req, result, &e) < 0);
        assert_int_equal(e.kind, ERROR_INVALID);
        assert_null(strstr(e.text, "canary"));
        req.docker_config = (char *)"";
        req.ttl_seconds = -1;
        assert_true(warm(f, &req, result, &e) < 0);
        assert_int_equal(e.kind, ERROR_INVALID);
        mount.reference = f->reference;
        mount.target = (char *)"relative/path";
        assert_true(call(f, "Mount", &mount.base, &modelstage__v1__mount_response__descriptor, &reply, &e) <
                    0);
        assert_int_equal(e.kind, ERROR_INVALID);
}

struct watching {
        unsigned seen, wanted;
};

static int count_updates(const ProtobufCMessage *m, void *userdata, struct error *e) {
        struct watching *w = userdata;

        (void)m;
        return ++w->seen == w->wanted ? error_set(e, ERROR_CANCELLED, "seen enough") : 0;
}

static void test_watching_goes_on_until_the_client_leaves(void **state) {
        struct fixture *f = *state;
        Modelstage__V1__StatusRequest req = MODELSTAGE__V1__STATUS_REQUEST__INIT;
        struct watching w = { .wanted = 3 };
        struct error e = { 0 };

        req.watch = true;
        req.interval_ms = 1;
        assert_true(rpc_client_stream(f->client, "/modelstage.v1.Control/Status", &req.base,
                                      &modelstage__v1__status_response__descriptor, CALL_MS, count_updates,
                                      &w, &e) < 0);
        assert_int_equal(w.seen, 3);
        req.watch = false;
        w = (struct watching){ 0 };
        must(rpc_client_stream(f->client, "/modelstage.v1.Control/Status", &req.base,
                               &modelstage__v1__status_response__descriptor, CALL_MS, count_updates, &w, &e),
             &e);
        assert_int_equal(w.seen, 1);
}

static void test_disk_space_and_version_are_told(void **state) {
        struct fixture *f = *state;
        Modelstage__V1__DiskFreeRequest df = MODELSTAGE__V1__DISK_FREE_REQUEST__INIT;
        Modelstage__V1__VersionRequest version = MODELSTAGE__V1__VERSION_REQUEST__INIT;
        Modelstage__V1__DiskFreeResponse *space = NULL;
        Modelstage__V1__VersionResponse *v = NULL;
        struct error e = { 0 };

        warm_layout(f, "miss");
        must(call(f, "DiskFree", &df.base, &modelstage__v1__disk_free_response__descriptor, &space, &e), &e);
        assert_int_equal(space->models, 1);
        assert_int_equal(space->layers, 2);
        assert_true(space->capacity > 0 && space->used > 0 && space->free > 0);
        free_message(space);
        must(call(f, "Version", &version.base, &modelstage__v1__version_response__descriptor, &v, &e), &e);
        assert_string_equal(v->version, MODELSTAGE_VERSION);
        assert_true(strcmp(v->io, "uring") == 0 || strcmp(v->io, "posix") == 0);
        free_message(v);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_an_empty_request_is_an_error_or_an_answer_for_every_method),
                TEST(test_a_warmed_model_is_listed_and_is_a_hit_the_second_time),
                TEST(test_inspect_tells_files_layers_annotations_and_tensors),
                TEST(test_a_selection_is_a_model_of_its_own),
                TEST(test_warm_pins_and_unpin_and_remove_undo_it),
                TEST(test_a_model_that_does_not_exist_is_not_found_and_listed_as_failed),
                TEST(test_a_reference_that_fails_again_and_again_is_one_row_until_it_works),
                TEST(test_bad_requests_are_invalid),
                TEST(test_watching_goes_on_until_the_client_leaves),
                TEST(test_disk_space_and_version_are_told),
        };

        signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
