/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format_image: a container image, of which pods see /models (a modelcar) or, where it has none, everything.
 * Layers are change sets: they are applied in order, and whiteouts take away what lower layers brought.
 */
#include <string.h>

#include "oci/format.h"
#include "oci/plan_builder.h"

#define MODELCAR_ROOT "models"

static const struct {
        const char *type;
        enum plan_codec codec;
} layer_types[] = {
        { "application/vnd.oci.image.layer.v1.tar", PLAN_CODEC_NONE },
        { "application/vnd.oci.image.layer.v1.tar+gzip", PLAN_CODEC_GZIP },
        { "application/vnd.oci.image.layer.v1.tar+zstd", PLAN_CODEC_ZSTD },
        { "application/vnd.docker.image.rootfs.diff.tar", PLAN_CODEC_NONE },
        { "application/vnd.docker.image.rootfs.diff.tar.gzip", PLAN_CODEC_GZIP },
        { "application/vnd.docker.image.rootfs.diff.tar.zstd", PLAN_CODEC_ZSTD },
};

int oci_format_image_codec(const char *media_type) {
        for (size_t i = 0; i < sizeof layer_types / sizeof *layer_types; i++)
                if (strcmp(media_type, layer_types[i].type) == 0)
                        return (int)layer_types[i].codec;
        return -EINVAL;
}

/* Says what is the matter with a layer that is no plain change set. */
static int refuse(const struct oci_descriptor *layer, size_t number, struct error *e) {
        const char *type = layer->media_type, *why = "is not a layer of a container image";

        if (strstr(type, "nondistributable") || strstr(type, ".foreign."))
                why = "is not in the registry (a foreign layer)";
        else if (strstr(type, "+encrypted"))
                why = "is encrypted";
        return error_set(e, ERROR_INVALID, "layer %zu of type \"%s\" %s", number, type, why);
}

int oci_format_image(struct plan_builder *b, const struct oci_format_input *in, struct error *e) {
        const struct oci_manifest *m = in->artifact->manifest;

        int r = plan_builder_set_root(b, MODELCAR_ROOT, true, e);
        for (size_t i = 0; r >= 0 && i < m->n_layers; i++) {
                int codec = oci_format_image_codec(m->layers[i].media_type);
                if (codec < 0)
                        return refuse(&m->layers[i], i + 1, e);
                r = plan_builder_add_tar(b, &m->layers[i], (enum plan_codec)codec, "", true, e);
        }
        return r;
}
