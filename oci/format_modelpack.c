/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format_modelpack: CNCF ModelPack, and the CNAI names that it had before (model-spec 0.0.6 and older). A
 * layer's type is PREFIX CATEGORY ".v1." PACKING. A raw layer is a file whose path is in an annotation; a
 * tar's members bring their own paths from the root, and the annotation is only for people.
 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "oci/file_metadata.h"
#include "oci/format.h"
#include "oci/plan_builder.h"

static const char *const prefixes[] = { "application/vnd.cncf.model.", "application/vnd.cnai.model." };

/* The last part of the media type, or NULL if it is not a layer of a ModelPack. */
static const char *packing_of(const char *media_type) {
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
                if (!text_starts_with(media_type, prefixes[i]))
                        continue;
                const char *version = strstr(media_type + strlen(prefixes[i]), ".v1.");
                if (version && version[4])
                        return version + 4;
        }
        return NULL;
}

/* The path of a raw layer that has none: the name in its metadata, else its digest. Modctl names every file.
 */
static int add_raw(struct plan_builder *b, const struct oci_descriptor *layer, struct error *e) {
        char fallback[sizeof "sha256-" + DIGEST_HEX_SIZE], hex[DIGEST_HEX_SIZE];
        _cleanup_metadata_ struct oci_file_metadata m = { 0 };

        int r = oci_file_metadata_read(&m, layer->annotations, e);
        if (r < 0)
                return r;
        snprintf(fallback, sizeof fallback, "sha256-%s", digest_hex(&layer->digest, hex));
        return oci_format_add_file(b, layer, PLAN_CODEC_NONE, m.name ? m.name : fallback, e);
}

static int add_layer(struct plan_builder *b, const struct oci_descriptor *layer, struct error *e) {
        const char *packing = packing_of(layer->media_type);

        int codec = packing ? oci_format_codec(packing, "tar") : -EINVAL;
        if (codec >= 0)
                return plan_builder_add_tar(b, layer, (enum plan_codec)codec, "", false, e);
        /* Older tools wrote the kind of the file in place of "raw" ("gguf"); what has a '+' is packed in a
         * way that we do not know. */
        if (!packing || strchr(packing, '+') || text_starts_with(packing, "tar"))
                return error_set(e, ERROR_INVALID, "type \"%s\" is not one of a ModelPack's layer",
                                 layer->media_type);
        return add_raw(b, layer, e);
}

int oci_format_modelpack(struct plan_builder *b, const struct oci_format_input *in, struct error *e) {
        const struct oci_manifest *m = in->artifact->manifest;

        for (size_t i = 0; i < m->n_layers; i++) {
                int r = add_layer(b, &m->layers[i], e);
                if (r < 0)
                        return error_wrap(e, "layer %zu", i + 1);
        }
        return 0;
}
