/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format_docker: Docker Model Runner's artifacts. Files carry their path in an annotation (config v0.2); in
 * older ones the layer's type gives the name that Docker itself unpacks it to, numbered where there may be
 * several.
 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "oci/file_metadata.h"
#include "oci/format.h"
#include "oci/plan_builder.h"

#define PREFIX "application/vnd.docker.ai."

static const struct file_type {
        const char *type; /* after the prefix */
        const char *stem, *suffix;
        bool numbered; /* several make one model */
} file_types[] = {
        { "gguf.v3", "model", ".gguf", true },
        { "safetensors", "model", ".safetensors", true },
        { "gguf.v3.lora", "adapter", ".gguf", false },
        { "gguf.v3.mmproj", "model", ".mmproj", false },
        { "mmproj", "model", ".mmproj", false },
        { "dduf", "model", ".dduf", false },
        { "chat.template.jinja", "template", ".jinja", false },
        { "license", "LICENSE", "", false },
};

static bool is_type(const struct oci_descriptor *layer, const char *type) {
        return text_starts_with(layer->media_type, PREFIX) &&
               strcmp(layer->media_type + strlen(PREFIX), type) == 0;
}

static const struct file_type *type_of(const struct oci_descriptor *layer) {
        for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
                if (is_type(layer, file_types[i].type))
                        return &file_types[i];
        return NULL;
}

/* How many layers of @type there are before the @end-th. */
static size_t count(const struct oci_manifest *m, const char *type, size_t end) {
        size_t n = 0;

        for (size_t i = 0; i < end; i++)
                n += is_type(&m->layers[i], type);
        return n;
}

static int add_layer(struct plan_builder *b, const struct oci_manifest *m, size_t i, struct error *e) {
        const struct oci_descriptor *layer = &m->layers[i];
        const struct file_type *type = type_of(layer);
        char name[64] = "";

        if (is_type(layer, "vllm.config.tar") || is_type(layer, "dir.tar"))
                return plan_builder_add_tar(b, layer, PLAN_CODEC_NONE, "", false, e);
        if (type) {
                size_t all = type->numbered ? count(m, type->type, m->n_layers) : 1;
                if (all > 1)
                        snprintf(name, sizeof name, "%s-%05zu-of-%05zu%s", type->stem,
                                 count(m, type->type, i) + 1, all, type->suffix);
                else
                        snprintf(name, sizeof name, "%s%s", type->stem, type->suffix);
        } else if (!oci_file_path(layer->annotations)) {
                return 0; /* nobody can know its name; Docker passes it over too */
        }
        return oci_format_add_file(b, layer, PLAN_CODEC_NONE, name, e);
}

int oci_format_docker(struct plan_builder *b, const struct oci_format_input *in, struct error *e) {
        const struct oci_manifest *m = in->artifact->manifest;

        for (size_t i = 0; i < m->n_layers; i++) {
                int r = add_layer(b, m, i, e);
                if (r < 0)
                        return error_wrap(e, "layer %zu", i + 1);
        }
        return 0;
}
