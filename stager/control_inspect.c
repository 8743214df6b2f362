/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inspect: a model that is in the cache, from its record and its tree. Never asks a registry: `modelstage
 * inspect --remote` does that without a daemon.
 *
 *   reference, selection -> cache_model_match -> one model
 *      record (JSON)  -> layers, annotations
 *      tree           -> files; headers of safetensors and GGUF files -> tensors_json
 *
 * The answer borrows from all of these, so struct inspection keeps them until it is sent. The list of files
 * is cut where the message would become too large for the client; headers of the others are still read.
 */
#include "stager/control_message.h"

#include <fcntl.h>
#include <jansson.h>
#include <string.h>

#include "stager/tensors.h"

/* A client takes answers of up to 64 MiB. */
#define FILES_BYTES_MAX (32u << 20) /* of names and overhead, in one answer */
#define FILE_OVERHEAD 32            /* bytes of a file beside its name, about */
#define FILES_MAX 100000 /* in one answer; `size` and the file count of `ls` still tell the whole */

struct inspection { /* an answer and all that it points into */
        Modelstage__V1__InspectResponse msg;
        struct cache_file *files; /* paths are borrowed by the messages */
        size_t n_files;
        Modelstage__V1__File *file_messages;
        Modelstage__V1__Layer *layers;
        Modelstage__V1__InspectResponse__AnnotationsEntry *annotations;
        json_t *record; /* layers and annotations point into it */
        char *tensors;  /* JSON text, or NULL */
        char digest[DIGEST_TEXT_SIZE];
};

static void inspection_clear(struct inspection *i) {
        cache_file_list_free(i->files, i->n_files);
        free(i->file_messages);
        free(i->layers);
        free(i->annotations);
        free(i->msg.files);
        free(i->msg.layers);
        free(i->msg.annotations);
        free(i->tensors);
        json_decref(i->record);
}

/* Allocates @n messages and the array of pointers to them that protobuf-c wants; both stay NULL for none. */
static int messages_new(void **ret, void ***ret_pointers, size_t n, size_t size) {
        if (n == 0)
                return 0;
        char *messages = calloc(n, size);
        void **pointers = calloc(n, sizeof *pointers);

        if (!messages || !pointers) {
                free(messages);
                free(pointers);
                return -ENOMEM;
        }
        for (size_t k = 0; k < n; k++)
                pointers[k] = messages + k * size;
        *ret = messages;
        *ret_pointers = pointers;
        return 0;
}

static int fill_files(struct inspection *i, struct error *e) {
        size_t n = 0;

        for (size_t bytes = 0; n < i->n_files && n < FILES_MAX; n++) {
                bytes += strlen(i->files[n].path) + FILE_OVERHEAD;
                if (bytes > FILES_BYTES_MAX)
                        break;
        }

        if (messages_new((void **)&i->file_messages, (void ***)&i->msg.files, n, sizeof *i->file_messages) <
            0)
                return error_errno(e, ENOMEM, "list the files");
        i->msg.n_files = n;
        for (size_t k = 0; k < n; k++) {
                modelstage__v1__file__init(&i->file_messages[k]);
                i->file_messages[k].path = i->files[k].path;
                i->file_messages[k].size = (int64_t)i->files[k].size;
                i->file_messages[k].mode = i->files[k].mode & 07777;
        }
        return 0;
}

static const char *member_text(const json_t *object, const char *key) {
        const char *s = json_string_value(json_object_get(object, key));
        return s ? s : "";
}

static int fill_layers(struct inspection *i, struct error *e) {
        const json_t *list = json_object_get(i->record, "layers");
        size_t n = json_array_size(list);

        if (messages_new((void **)&i->layers, (void ***)&i->msg.layers, n, sizeof *i->layers) < 0)
                return error_errno(e, ENOMEM, "list the layers");
        i->msg.n_layers = n;
        for (size_t k = 0; k < n; k++) {
                const json_t *layer = json_array_get(list, k);
                modelstage__v1__layer__init(&i->layers[k]);
                i->layers[k].digest = (char *)member_text(layer, "digest");
                i->layers[k].media_type = (char *)member_text(layer, "mediaType");
                i->layers[k].size = json_integer_value(json_object_get(layer, "size"));
        }
        return 0;
}

static int fill_annotations(struct inspection *i, struct error *e) {
        json_t *object = json_object_get(i->record, "annotations");
        size_t n = json_object_size(object), k = 0;
        const char *key;
        json_t *value;

        if (messages_new((void **)&i->annotations, (void ***)&i->msg.annotations, n, sizeof *i->annotations) <
            0)
                return error_errno(e, ENOMEM, "list the annotations");
        i->msg.n_annotations = n;
        json_object_foreach (object, key, value) {
                modelstage__v1__inspect_response__annotations_entry__init(&i->annotations[k]);
                i->annotations[k].key = (char *)key;
                i->annotations[k].value = (char *)(json_is_string(value) ? json_string_value(value) : "");
                k++;
        }
        return 0;
}

static int fill_tensors(struct inspection *i, const struct rpc_call *call, const char *tree,
                        struct error *e) {
        _cleanup_(tensors_report_freep) struct tensors_report *report = NULL;
        _cleanup_close_ int fd = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (fd < 0)
                return error_errno(e, errno, "open the model's tree");
        if ((r = tensors_report_new(&report, e)) < 0)
                return r;
        for (size_t k = 0; k < i->n_files; k++) {
                if (rpc_call_cancelled(call))
                        return error_set(e, ERROR_CANCELLED, "the client left");
                if ((r = tensors_report_add(report, fd, i->files[k].path, e)) < 0)
                        return r;
        }
        if ((r = tensors_report_json(report, &i->tensors, e)) < 0)
                return r;
        if (i->tensors)
                i->msg.tensors_json = i->tensors;
        return 0;
}

/* Of the models that the reference has here, the one that this selection made. */
static const struct cache_model *choose(struct cache_model *const *models, size_t n,
                                        const struct oci_selection *selection) {
        for (size_t k = 0; k < n; k++) {
                struct digest key;
                if (oci_selection_key(&key, selection, &models[k]->manifest) == 0 &&
                    digest_equal(&key, &models[k]->key))
                        return models[k];
        }
        return NULL;
}

static int inspect(struct inspection *i, struct control *c, const struct rpc_call *call,
                   const struct cache_model *m, struct error *e) {
        int r;

        modelstage__v1__inspect_response__init(&i->msg);
        if ((r = cache_model_record(c->cache, &m->key, &i->record, e)) < 0 ||
            (r = cache_model_files(c->cache, &m->key, &i->files, &i->n_files, e)) < 0)
                return r;
        i->msg.reference = m->reference;
        i->msg.digest = (char *)digest_format(&m->manifest, i->digest);
        i->msg.format = (char *)plan_format_name(m->format);
        i->msg.size = (int64_t)m->size;
        if ((r = fill_files(i, e)) < 0 || (r = fill_layers(i, e)) < 0 || (r = fill_annotations(i, e)) < 0)
                return r;
        return fill_tensors(i, call, m->path, e);
}

int control_inspect(struct rpc_call *call, const ProtobufCMessage *m, void *userdata, struct error *e) {
        const Modelstage__V1__InspectRequest *req = (const void *)m;
        _cleanup_(oci_reference_freep) struct oci_reference *reference = NULL;
        _cleanup_(oci_selection_freep) struct oci_selection *selection = NULL;
        _cleanup_(inspection_clear) struct inspection i = { 0 };
        const struct cache_model *model;
        struct control *c = userdata;
        struct cache_model **models = NULL;
        size_t n = 0;
        int r;

        if ((r = oci_reference_parse(&reference, req->reference, e)) < 0 ||
            (r = control_selection_parse(&selection, req->selection, e)) < 0 ||
            (r = cache_model_match(c->cache, reference->text, &models, &n, e)) < 0)
                return r;
        model = choose(models, n, selection);
        if (!model && !selection)
                model = models[0];
        if (!model)
                r = error_set(e, ERROR_NOT_FOUND,
                              "%s is here, but not with this selection; see modelstage ls", reference->text);
        else if ((r = inspect(&i, c, call, model, e)) == 0)
                r = rpc_call_reply(call, &i.msg.base, e);
        cache_model_list_free(models, n);
        return r;
}
