/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format_artifact: files pushed by ORAS and the like. A layer's title is its file name; a directory is a tar
 * that says so, whose members begin with the title. Layers without a title are not files (signatures,
 * metadata) and are passed over, unless their type says that they are a tar.
 */
#include <string.h>

#include "base/text.h"
#include "oci/format.h"
#include "oci/plan_builder.h"

#define TITLE "org.opencontainers.image.title"
#define UNPACK "io.deis.oras.content.unpack"

/* ORAS packs directories with gzip whatever it calls them; others tell by the end of the type. */
static enum plan_codec codec_of_directory(const char *type) {
        if (text_ends_with(type, "zstd"))
                return PLAN_CODEC_ZSTD;
        return text_ends_with(type, "tar") ? PLAN_CODEC_NONE : PLAN_CODEC_GZIP;
}

static int add_layer(struct plan_builder *b, const struct oci_descriptor *layer, struct error *e) {
        const char *title = oci_annotation(layer->annotations, TITLE);
        const char *unpack = oci_annotation(layer->annotations, UNPACK);

        if (unpack && strcmp(unpack, "true") == 0)
                return plan_builder_add_tar(b, layer, codec_of_directory(layer->media_type), "", false, e);
        if (title && *title)
                return plan_builder_add_raw(b, layer, PLAN_CODEC_NONE, title, 0, 0, e);
        int codec = oci_format_image_codec(layer->media_type);
        return codec < 0 ? 0 : plan_builder_add_tar(b, layer, (enum plan_codec)codec, "", false, e);
}

int oci_format_artifact(struct plan_builder *b, const struct oci_format_input *in, struct error *e) {
        const struct oci_manifest *m = in->artifact->manifest;

        for (size_t i = 0; i < m->n_layers; i++) {
                int r = add_layer(b, &m->layers[i], e);
                if (r < 0)
                        return error_wrap(e, "layer %zu", i + 1);
        }
        return 0;
}
