/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kitfile: sections of entries, of which only path and digest matter here.
 *
 *   {"model": {ENTRY, "parts": [ENTRY...]}, "code": [...], "datasets": [...], "docs": [...],
 *    "prompts": [...], "mcpServers": [...]}
 *   ENTRY: {"path": "...", "digest": "sha256:..."}; the digest only since KitOps 0.5
 *
 * Within a section entries keep their order, because without digests the n-th layer of a kind is the n-th
 * entry of it (format_modelkit.c). The document itself is kept: kitfile_yaml.c prints all of it, and the
 * paths are its.
 */
#include "oci/kitfile.h"

#include <string.h>

#include "base/json.h"
#include "oci/manifest.h"

static const struct {
        const char *key;
        enum kit_section section;
} lists[] = {
        { "code", KIT_CODE },      { "datasets", KIT_DATASET }, { "docs", KIT_DOC },
        { "prompts", KIT_PROMPT }, { "mcpServers", KIT_MCP },
};

static int add_entry(struct kitfile *k, enum kit_section section, const json_t *object, struct error *e) {
        struct kit_entry *entry = &k->entries[k->n_entries];
        const char *digest;

        if (!json_is_object(object))
                return error_set(e, ERROR_INVALID, "an entry is not an object");
        if (k->n_entries >= OCI_LAYERS_MAX)
                return error_set(e, ERROR_INVALID, "it has more than %d entries", OCI_LAYERS_MAX);
        int r = json_opt_string(&entry->path, object, "path", ".", e);
        if (r < 0)
                return r;
        r = json_opt_string(&digest, object, "digest", "", e);
        if (r < 0)
                return r;
        entry->section = section;
        entry->has_digest = *digest;
        if (*digest && digest_parse(&entry->digest, digest, strlen(digest)) < 0)
                return error_set(e, ERROR_INVALID, "\"%s\" is not a SHA-256 digest", digest);
        k->has_layer_info |= entry->has_digest;
        k->n_entries++;
        return 0;
}

static int add_list(struct kitfile *k, enum kit_section section, const json_t *parent, const char *key,
                    struct error *e) {
        json_t *list, *item;
        size_t i;

        int r = json_opt_array(&list, parent, key, e);
        if (r < 0)
                return r;
        json_array_foreach (list, i, item) {
                r = add_entry(k, section, item, e);
                if (r < 0)
                        return error_wrap(e, "%s", key);
        }
        return 0;
}

static int read_sections(struct kitfile *k, struct error *e) {
        json_t *model;

        int r = json_opt_object(&model, k->document, "model", e);
        if (r < 0)
                return r;
        if (model) {
                r = add_entry(k, KIT_MODEL, model, e);
                if (r < 0)
                        return error_wrap(e, "model");
                r = add_list(k, KIT_PART, model, "parts", e);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
                r = add_list(k, lists[i].section, k->document, lists[i].key, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

int oci_kitfile_parse(struct kitfile *ret, const char *json, size_t len, struct error *e) {
        _cleanup_kitfile_ struct kitfile k = { 0 };

        int r = json_parse(&k.document, json, len, OCI_MANIFEST_MAX, "Kitfile", e);
        if (r < 0)
                return r;
        /* One more than is allowed, so that the entry too many can be refused in one place. */
        k.entries = calloc(OCI_LAYERS_MAX + 1, sizeof *k.entries);
        if (!k.entries)
                return error_errno(e, ENOMEM, "cannot keep a Kitfile");
        r = read_sections(&k, e);
        if (r < 0)
                return error_wrap(e, "Kitfile");
        *ret = k;
        k = (struct kitfile){ 0 };
        return 0;
}

void oci_kitfile_done(struct kitfile *k) {
        free(k->entries);
        json_decref(k->document);
        *k = (struct kitfile){ 0 };
}

const struct kit_entry *oci_kitfile_entry(const struct kitfile *k, enum kit_section section, size_t n) {
        for (size_t i = 0; i < k->n_entries; i++)
                if (k->entries[i].section == section && n-- == 0)
                        return &k->entries[i];
        return NULL;
}
