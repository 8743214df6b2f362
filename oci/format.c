/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format: which format a manifest is of, and the one way through all of them.
 *
 *   1. an artifactType or a config type of the table          ModelPack, ModelKit, Docker's models
 *   2. a layer of Ollama's                                    known, but not served
 *   3. the config of a container image                        an image, maybe a modelcar
 *   4. anything else                                          an artifact of files (ORAS)
 *
 *   oci_format_plan: plan_builder_init -> the format's function adds blobs -> plan_builder_finish
 *
 * The order of the tests is from the most particular to the most general; only types are looked at, because a
 * manifest cannot lie about what it is made of.
 */
#include "oci/format.h"

#include <string.h>

#include "base/text.h"
#include "oci/file_metadata.h"
#include "oci/plan_builder.h"

static const struct {
        const char *type; /* artifactType of the manifest, or mediaType of its config */
        enum plan_format format;
} known[] = {
        { "application/vnd.cncf.model.manifest.v1+json", PLAN_MODELPACK },
        { "application/vnd.cncf.model.config.v1+json", PLAN_MODELPACK },
        { "application/vnd.cnai.model.manifest.v1+json", PLAN_MODELPACK },
        { "application/vnd.cnai.model.config.v1+json", PLAN_MODELPACK },
        { "application/vnd.kitops.modelkit.manifest.v1+json", PLAN_MODELKIT },
        { "application/vnd.kitops.modelkit.config.v1+json", PLAN_MODELKIT },
        { "application/vnd.jozu.model.config.v1+json", PLAN_MODELKIT },
        { "application/vnd.docker.ai.model.config.v0.1+json", PLAN_DOCKER_MODEL },
        { "application/vnd.docker.ai.model.config.v0.2+json", PLAN_DOCKER_MODEL },
};

static bool is_image_config(const char *type) {
        return strcmp(type, OCI_TYPE_CONFIG) == 0 || strcmp(type, DOCKER_TYPE_CONFIG) == 0;
}

enum plan_format oci_format_of(const struct oci_manifest *m) {
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
                if (strcmp(m->artifact_type, known[i].type) == 0 ||
                    strcmp(m->config.media_type, known[i].type) == 0)
                        return known[i].format;
        for (size_t i = 0; i < m->n_layers; i++)
                if (text_starts_with(m->layers[i].media_type, "application/vnd.ollama.image."))
                        return PLAN_OLLAMA;
        return is_image_config(m->config.media_type) ? PLAN_MODELCAR : PLAN_ARTIFACT;
}

/* Only a Kitfile says what the layers beside it are; the other formats say it in the manifest. */
bool oci_format_needs_config(const struct oci_manifest *m) {
        return oci_format_of(m) == PLAN_MODELKIT;
}

void oci_artifact_done(struct oci_artifact *a) {
        oci_manifest_free(a->manifest);
        free(a->config);
        *a = (struct oci_artifact){ 0 };
}

int oci_format_codec(const char *packing, const char *kind) {
        if (!text_starts_with(packing, kind))
                return -EINVAL;
        packing += strlen(kind);
        if (*packing == '\0')
                return PLAN_CODEC_NONE;
        if (strcmp(packing, "+gzip") == 0)
                return PLAN_CODEC_GZIP;
        return strcmp(packing, "+zstd") == 0 ? PLAN_CODEC_ZSTD : -EINVAL;
}

int oci_format_add_file(struct plan_builder *b, const struct oci_descriptor *layer, enum plan_codec codec,
                        const char *name, struct error *e) {
        _cleanup_metadata_ struct oci_file_metadata m = { 0 };
        const char *path = oci_file_path(layer->annotations);

        int r = oci_file_metadata_read(&m, layer->annotations, e);
        if (r < 0)
                return r;
        if (m.is_directory)
                return 0;
        return plan_builder_add_raw(b, layer, codec, path ? path : name, m.mode, m.mtime, e);
}

static int plan_layers(struct plan_builder *b, const struct oci_format_input *in, struct error *e) {
        switch (b->plan->format) {
        case PLAN_MODELCAR:
                return oci_format_image(b, in, e);
        case PLAN_MODELKIT:
                return oci_format_modelkit(b, in, e);
        case PLAN_MODELPACK:
                return oci_format_modelpack(b, in, e);
        case PLAN_DOCKER_MODEL:
                return oci_format_docker(b, in, e);
        case PLAN_ARTIFACT:
                return oci_format_artifact(b, in, e);
        default:
                return error_set(e, ERROR_UNIMPLEMENTED, "%s models cannot be served by this version",
                                 plan_format_name(b->plan->format));
        }
}

int oci_format_plan(struct model_plan **ret, const struct oci_format_input *in, struct error *e) {
        const struct oci_manifest *m = in->artifact->manifest;
        _cleanup_builder_ struct plan_builder b = { 0 };

        int r = plan_builder_init(&b, in->reference, &in->artifact->digest, oci_format_of(m), e);
        if (r < 0)
                return r;
        b.plan->annotations = json_incref(m->annotations);
        r = plan_layers(&b, in, e);
        if (r >= 0)
                r = plan_builder_finish(ret, &b, in->selection, e);
        return r < 0 ? error_wrap(e, "%s", in->reference->text) : 0;
}
