/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inspect: from the daemon's cache, or with --remote from the registry's manifest alone. The latter is
 * brought into the form of the daemon's answer, so that both are printed by the same code (inspection.c).
 *
 *   cached    the record, the files of the tree, a summary of the tensors
 *   --remote  the plan: layers, and those files that are blobs or are made of the config; what is in archives
 *             and headers is not known without fetching it
 */
#include <string.h>

#include "base/text.h"
#include "oci/client.h"
#include "tools/modelstage/commands.h"
#include "tools/modelstage/daemon.h"
#include "tools/modelstage/direct.h"
#include "tools/modelstage/inspection.h"

/* ---- from the daemon ---- */

static int inspect_cached(const struct args *a) {
        Modelstage__V1__InspectRequest req = MODELSTAGE__V1__INSPECT_REQUEST__INIT;
        _cleanup_message_ ProtobufCMessage *reply = NULL;
        _cleanup_daemon_ struct daemon d = { 0 };
        Modelstage__V1__Selection selection;
        struct error e = { 0 };
        int r = daemon_check_references(a, 1);

        if (r != 0 || (r = daemon_open(&d, a)) != 0)
                return r;
        req.reference = (char *)a->operands[0];
        req.selection = (Modelstage__V1__Selection *)daemon_selection(&selection, a);
        if (daemon_call(&d, "Inspect", &req.base, &modelstage__v1__inspect_response__descriptor, &reply, &e) <
            0)
                return daemon_fail(&d, &e);
        inspection_print((const void *)reply, a);
        return CLI_DONE;
}

/* ---- from the registry ---- */

struct remote { /* a plan in the form of the daemon's answer; texts are the plan's */
        Modelstage__V1__InspectResponse msg;
        Modelstage__V1__File *files, **file_list;
        Modelstage__V1__Layer *layers, **layer_list;
        Modelstage__V1__InspectResponse__AnnotationsEntry *annotations, **annotation_list;
        char (*digests)[DIGEST_TEXT_SIZE];
        char digest[DIGEST_TEXT_SIZE];
};

static void remote_clear(struct remote *r) {
        free(r->files);
        free(r->file_list);
        free(r->layers);
        free(r->layer_list);
        free(r->annotations);
        free(r->annotation_list);
        free(r->digests);
}

/* @path as pods see it: below @root; NULL if it is not. */
static const char *below(const char *root, const char *path) {
        size_t len = strlen(root);

        if (len == 0)
                return path;
        return strncmp(path, root, len) == 0 && path[len] == '/' ? path + len + 1 : NULL;
}

static const char *root_of(const struct model_plan *plan, const struct oci_selection *selection) {
        if (selection && selection->root)
                return selection->root;
        if (!plan->root_if_present)
                return plan->root ? plan->root : "";
        for (size_t i = 0; i < plan->n_blobs; i++)
                if (plan->blobs[i].packing == PLAN_RAW && below(plan->root, plan->blobs[i].path))
                        return plan->root;
        return ""; /* whether an archive has it is not known without fetching it */
}

/* @path: as pods see it; NULL if they do not. */
static void add_file(struct remote *r, const struct oci_selection *selection, const char *path, uint64_t size,
                     mode_t mode) {
        if (!path || !oci_selection_wants(selection, path))
                return;
        Modelstage__V1__File *f = &r->files[r->msg.n_files];
        modelstage__v1__file__init(f);
        f->path = (char *)path;
        f->size = (int64_t)size;
        f->mode = mode ? mode & 07777 : 0444;
        r->file_list[r->msg.n_files++] = f;
}

static void add_files(struct remote *r, const struct model_plan *plan,
                      const struct oci_selection *selection) {
        const char *root = root_of(plan, selection);
        size_t n = plan->n_files + plan->n_blobs;

        r->files = cli_alloc(n * sizeof *r->files);
        r->file_list = cli_alloc(n * sizeof *r->file_list);
        for (size_t i = 0; i < plan->n_files; i++)
                add_file(r, selection, below(root, plan->files[i].path), plan->files[i].len,
                         plan->files[i].mode);
        for (size_t i = 0; i < plan->n_blobs; i++)
                if (plan->blobs[i].packing == PLAN_RAW)
                        add_file(r, selection, below(root, plan->blobs[i].path), plan->blobs[i].size,
                                 plan->blobs[i].mode);
        r->msg.files = r->file_list;
}

static void add_layers(struct remote *r, const struct model_plan *plan) {
        r->layers = cli_alloc(plan->n_blobs * sizeof *r->layers);
        r->layer_list = cli_alloc(plan->n_blobs * sizeof *r->layer_list);
        r->digests = cli_alloc(plan->n_blobs * sizeof *r->digests);
        for (size_t i = 0; i < plan->n_blobs; i++) {
                const struct plan_blob *b = &plan->blobs[i];
                modelstage__v1__layer__init(&r->layers[i]);
                r->layers[i].digest = (char *)digest_format(&b->digest, r->digests[i]);
                r->layers[i].media_type = b->media_type ? b->media_type : (char *)"";
                r->layers[i].size = (int64_t)b->size;
                r->layer_list[i] = &r->layers[i];
        }
        r->msg.layers = r->layer_list;
        r->msg.n_layers = plan->n_blobs;
}

static void add_annotations(struct remote *r, const struct model_plan *plan) {
        size_t n = json_object_size(plan->annotations), i = 0;
        const char *key;
        json_t *value;

        r->annotations = cli_alloc(n * sizeof *r->annotations);
        r->annotation_list = cli_alloc(n * sizeof *r->annotation_list);
        json_object_foreach (plan->annotations, key, value) {
                modelstage__v1__inspect_response__annotations_entry__init(&r->annotations[i]);
                r->annotations[i].key = (char *)key;
                r->annotations[i].value = (char *)(json_is_string(value) ? json_string_value(value) : "");
                r->annotation_list[i] = &r->annotations[i];
                i++;
        }
        r->msg.annotations = r->annotation_list;
        r->msg.n_annotations = n;
}

static void print_plan(const struct model_plan *plan, const struct direct *d, const struct args *a) {
        _cleanup_(remote_clear) struct remote r = { 0 };

        modelstage__v1__inspect_response__init(&r.msg);
        r.msg.reference = d->reference->text;
        r.msg.digest = (char *)digest_format(&plan->manifest, r.digest);
        r.msg.format = (char *)plan_format_name(plan->format);
        r.msg.size = (int64_t)plan->size;
        add_files(&r, plan, d->selection);
        add_layers(&r, plan);
        add_annotations(&r, plan);
        inspection_print(&r.msg, a);
}

static int inspect_remote(const struct args *a) {
        _cleanup_direct_ struct direct d = { 0 };
        _cleanup_(oci_client_freep) struct oci_client *client = NULL;
        _cleanup_(model_plan_freep) struct model_plan *plan = NULL;
        struct oci_request request = { 0 };
        struct error e = { 0 };
        struct digest digest;
        bool is_private;
        int r = direct_open(&d, a);

        if (r != 0)
                return r;
        request.reference = d.reference;
        request.keyring = d.keyring;
        request.selection = d.selection;
        if (oci_client_new(&client, d.settings, &e) < 0 ||
            oci_resolve(&digest, &is_private, client, &request, &e) < 0 ||
            oci_plan(&plan, client, &request, &digest, &e) < 0)
                return cli_fail(&e);
        print_plan(plan, &d, a);
        return CLI_DONE;
}

int cmd_inspect(const struct args *a) {
        if (args_has(a, ARG_BIT(REMOTE)))
                return inspect_remote(a);
        if (args_has(a, ARG_BIT(CONFIG) | ARG_BIT(PLAIN_HTTP) | ARG_BIT(CA_FILE) | ARG_BIT(DOCKER_CONFIG)))
                return cli_usage("inspect",
                                 "--config, --plain-http, --ca-file and --docker-config go with --remote");
        return inspect_cached(a);
}
