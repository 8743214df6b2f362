/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format_modelkit: KitOps. The config is the Kitfile, whose entries say what the layers are:
 *
 *   layer info in the Kitfile (KitOps 0.5 and later): an entry names its layer by digest; a tar's members are
 *       paths from the root of the kit; a raw layer is the file that the entry or the annotation names.
 *   none: the n-th layer of a kind belongs to the n-th entry of that kind; members are relative to the
 *       directory that the entry lies in.
 *
 * A kit whose model is another kit (model.path is a reference) takes model and parts from there, and so on
 * up. The walk goes to the oldest kit first, so that a kit's own files come after those that it builds on.
 *
 * The Kitfile itself is in no layer: as `kit unpack` does, we make it from the config, of the kit that was
 * asked for alone.
 */
#include <string.h>

#include "base/path.h"
#include "base/text.h"
#include "oci/file_metadata.h"
#include "oci/format.h"
#include "oci/kitfile.h"
#include "oci/kitfile_yaml.h"
#include "oci/plan_builder.h"

#define ANCESTORS_MAX 10u

static const char *const prefixes[] = { "application/vnd.kitops.modelkit.", "application/vnd.jozu.model." };

static const char *const section_types[_KIT_SECTION_MAX] = {
        [KIT_MODEL] = "model.v1.",     [KIT_PART] = "modelpart.v1.", [KIT_CODE] = "code.v1.",
        [KIT_DATASET] = "dataset.v1.", [KIT_DOC] = "docs.v1.",
};

struct walk {
        struct plan_builder *builder;
        const struct oci_format_input *in;
        struct digest chain[ANCESTORS_MAX + 1]; /* the kits on the way here */
};

struct layer_type {
        enum kit_section section; /* _KIT_SECTION_MAX: one that we have no name for */
        bool is_tar;
        enum plan_codec codec;
};

static int parse_type(struct layer_type *ret, const char *media_type, struct error *e) {
        const char *kind = NULL, *packing = NULL;
        struct layer_type t = { .section = _KIT_SECTION_MAX };

        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
                if (text_starts_with(media_type, prefixes[i]))
                        kind = media_type + strlen(prefixes[i]);
        if (kind)
                packing = strstr(kind, ".v1.");
        int codec = packing ? oci_format_codec(packing + strlen(".v1."), "tar") : -EINVAL;
        t.is_tar = codec >= 0;
        if (packing && codec < 0)
                codec = oci_format_codec(packing + strlen(".v1."), "raw");
        if (codec < 0)
                return error_set(e, ERROR_INVALID, "type \"%s\" is not one of a ModelKit's layer",
                                 media_type);
        t.codec = (enum plan_codec)codec;
        for (enum kit_section s = 0; s < _KIT_SECTION_MAX; s++)
                if (section_types[s] && text_starts_with(kind, section_types[s]))
                        t.section = s;
        *ret = t;
        return 0;
}

static bool is_model_side(enum kit_section s) {
        return s == KIT_MODEL || s == KIT_PART;
}

/* ---- layers ---- */

/* The directory that a clean path lies in. */
static void cut_last_part(char *path) {
        char *slash = strrchr(path, '/');

        *(slash ? slash : path) = '\0';
}

static int add_tar(struct walk *w, const struct oci_descriptor *layer, const struct layer_type *t,
                   const struct kit_entry *entry, struct error *e) {
        _cleanup_free_ char *directory = NULL;

        if (!entry || entry->has_digest)
                return plan_builder_add_tar(w->builder, layer, t->codec, "", false, e);
        int r = path_clean(&directory, entry->path, e);
        if (r < 0)
                return r;
        cut_last_part(directory);
        return plan_builder_add_tar(w->builder, layer, t->codec, directory, false, e);
}

/* A file that is in a kit twice is one layer with two entries: it goes to each of their paths. */
static int add_raw(struct walk *w, const struct kitfile *k, const struct oci_descriptor *layer,
                   const struct layer_type *t, const struct kit_entry *entry, struct error *e) {
        struct oci_descriptor bare = *layer;
        const char *path = oci_file_path(layer->annotations);

        if (!path && !entry)
                return error_set(e, ERROR_INVALID,
                                 "neither the Kitfile nor an annotation says which file it is");
        int r = oci_format_add_file(w->builder, layer, t->codec, path ? path : entry->path, e);
        bare.annotations = NULL;
        for (size_t i = 0; r >= 0 && i < k->n_entries; i++) {
                const struct kit_entry *other = &k->entries[i];
                if (other != entry && other->has_digest && digest_equal(&other->digest, &layer->digest))
                        r = oci_format_add_file(w->builder, &bare, t->codec, other->path, e);
        }
        return r;
}

/* NULL: the Kitfile does not know the layer, which is then as its annotations say. */
static const struct kit_entry *entry_of(const struct kitfile *k, const struct oci_descriptor *layer,
                                        const struct layer_type *t, size_t number) {
        if (!k->has_layer_info)
                return oci_kitfile_entry(k, t->section, number);
        for (size_t i = 0; i < k->n_entries; i++)
                if (k->entries[i].has_digest && digest_equal(&k->entries[i].digest, &layer->digest))
                        return &k->entries[i];
        return NULL;
}

static int add_layers(struct walk *w, const struct oci_manifest *m, const struct kitfile *k, bool model_only,
                      struct error *e) {
        size_t seen[_KIT_SECTION_MAX + 1] = { 0 };

        for (size_t i = 0; i < m->n_layers; i++) {
                const struct oci_descriptor *layer = &m->layers[i];
                struct layer_type t = { .section = _KIT_SECTION_MAX };
                int r = parse_type(&t, layer->media_type, e);
                if (r < 0)
                        return error_wrap(e, "layer %zu", i + 1);
                const struct kit_entry *entry = entry_of(k, layer, &t, seen[t.section]++);
                if (model_only && !is_model_side(t.section))
                        continue;
                r = t.is_tar ? add_tar(w, layer, &t, entry, e) : add_raw(w, k, layer, &t, entry, e);
                if (r < 0)
                        return error_wrap(e, "layer %zu", i + 1);
        }
        return 0;
}

/* What the Kitfile names has to be there. */
static int check_complete(const struct oci_manifest *m, const struct kitfile *k, struct error *e) {
        for (size_t i = 0; i < k->n_entries; i++) {
                const struct kit_entry *entry = &k->entries[i];
                bool found = !entry->has_digest;
                for (size_t j = 0; !found && j < m->n_layers; j++)
                        found = digest_equal(&m->layers[j].digest, &entry->digest);
                if (!found)
                        return error_set(e, ERROR_INVALID,
                                         "the Kitfile names \"%s\", but the manifest does not have its layer",
                                         entry->path);
        }
        return 0;
}

/* ---- kits that are built on others ---- */

static bool has_model_layer(const struct oci_manifest *m) {
        struct layer_type t = { .section = _KIT_SECTION_MAX };

        for (size_t i = 0; i < m->n_layers; i++)
                if (parse_type(&t, m->layers[i].media_type, NULL) >= 0 && t.section == KIT_MODEL)
                        return true;
        return false;
}

/*
 * The reference in place of a model's path, or NULL. Names without a host mean a kit in the local storage of
 * whoever packed it; they must not become names on Docker Hub, and a layout would be a directory of this
 * node.
 */
static int parent_of(struct oci_reference **ret, const struct oci_manifest *m, const struct kitfile *k,
                     struct error *e) {
        const struct kit_entry *model = oci_kitfile_entry(k, KIT_MODEL, 0);
        _cleanup_(oci_reference_freep) struct oci_reference *r = NULL;

        *ret = NULL;
        if (!model || model->has_digest || !strpbrk(model->path, ":@") || has_model_layer(m))
                return 0;
        int n = oci_reference_parse(&r, model->path, e);
        if (n < 0)
                return error_wrap(e, "path of the model");
        if (r->is_layout || strncasecmp(model->path, r->host, strlen(r->host)) != 0)
                return error_set(
                    e, ERROR_INVALID,
                    "its model is the kit \"%s\", which does not name the registry to get it from",
                    model->path);
        *ret = take_ptr(r);
        return 0;
}

static int walk_kit(struct walk *w, const struct oci_artifact *a, unsigned depth, struct error *e);

/* Parents come first: what is added later wins. */
static int walk_parent(struct walk *w, const struct oci_reference *reference, unsigned depth,
                       struct error *e) {
        _cleanup_artifact_ struct oci_artifact parent = { 0 };

        if (depth > ANCESTORS_MAX)
                return error_set(e, ERROR_INVALID, "it builds on more than %u kits, one on the other",
                                 ANCESTORS_MAX);
        if (!w->in->fetch)
                return error_set(e, ERROR_UNIMPLEMENTED, "it builds on %s, which cannot be fetched here",
                                 reference->text);
        int r = w->in->fetch(w->in->userdata, reference, &parent, e);
        if (r < 0)
                return r;
        if (oci_format_of(parent.manifest) != PLAN_MODELKIT || !parent.config)
                return error_set(e, ERROR_INVALID, "it is not a ModelKit");
        for (unsigned i = 0; i < depth; i++)
                if (digest_equal(&w->chain[i], &parent.digest))
                        return error_set(e, ERROR_INVALID, "it builds on itself");
        r = plan_builder_add_source(w->builder, reference, e);
        return r < 0 ? r : walk_kit(w, &parent, depth, e);
}

static int add_kitfile(struct walk *w, const struct kitfile *k, struct error *e) {
        char *text;
        size_t len;

        int r = oci_kitfile_yaml(&text, &len, k->document, e);
        if (r < 0)
                return error_wrap(e, "Kitfile");
        return plan_builder_add_made(w->builder, "Kitfile", text, len, 0644, e);
}

/* @depth: 0 for the kit that was asked for. The builder's source is this kit's. */
static int walk_kit(struct walk *w, const struct oci_artifact *a, unsigned depth, struct error *e) {
        _cleanup_(oci_reference_freep) struct oci_reference *parent = NULL;
        _cleanup_kitfile_ struct kitfile k = { 0 };
        unsigned source = w->builder->source;

        int r = oci_kitfile_parse(&k, a->config, a->config_len, e);
        if (r < 0)
                return r;
        r = check_complete(a->manifest, &k, e);
        if (r < 0)
                return r;
        r = parent_of(&parent, a->manifest, &k, e);
        if (r < 0)
                return r;
        if (depth == 0 && (r = add_kitfile(w, &k, e)) < 0)
                return r;
        w->chain[depth] = a->digest;
        if (parent && walk_parent(w, parent, depth + 1, e) < 0)
                return error_wrap(e, "parent kit %s", parent->text);
        w->builder->source = source;
        return add_layers(w, a->manifest, &k, depth > 0, e);
}

int oci_format_modelkit(struct plan_builder *b, const struct oci_format_input *in, struct error *e) {
        struct walk w = { .builder = b, .in = in };

        if (!in->artifact->config)
                return error_set(e, ERROR_INVALID, "its config, which has to be a Kitfile, is empty");
        return walk_kit(&w, in->artifact, 0, e);
}
