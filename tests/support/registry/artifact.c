/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From "raw:SIZE:N:SEED" to blobs, a config and a manifest. The documents are dumped once, with sorted keys,
 * so that their digests are the same on every run.
 */
#include "artifact.h"

#include <stdio.h>
#include <string.h>

#define BLOBS_MAX 20000
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"

struct document {
        char *text;
        char digest[SYNTHETIC_DIGEST_SIZE];
};

struct artifact {
        struct document manifest, config;
        struct synthetic **blobs;
        size_t n_blobs;
};

uint64_t artifact_parse_size(const char *text) {
        static const char *const units[] = { "", "KiB", "MiB", "GiB", "TiB" };
        char *end;
        unsigned long long n = strtoull(text, &end, 10);

        for (unsigned i = 0; i < 5; i++)
                if (end != text && strcmp(end, units[i]) == 0 && n <= UINT64_MAX >> (10 * i))
                        return n << (10 * i);
        return 0;
}

static bool document_dump(struct document *d, const json_t *json) {
        d->text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
        if (d->text)
                synthetic_digest_of(d->text, strlen(d->text), d->digest);
        return d->text;
}

static json_t *descriptor(const char *type, const char *digest, uint64_t size) {
        return json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest", digest, "size", (json_int_t)size);
}

static json_t *layer_list(const struct artifact *a, bool tar) {
        json_t *list = json_array();

        for (size_t i = 0; i < a->n_blobs; i++) {
                const struct synthetic *b = a->blobs[i];
                json_t *d = descriptor(tar ? "application/vnd.oci.image.layer.v1.tar"
                                           : "application/vnd.cncf.model.weight.v1.raw",
                                       b->digest, b->size);

                if (!tar)
                        json_object_set_new(d, "annotations",
                                            json_pack("{s:s}", "org.cncf.model.filepath", b->files[0].path));
                json_array_append_new(list, d);
        }
        return list;
}

static json_t *digest_list(const struct artifact *a) {
        json_t *list = json_array();

        for (size_t i = 0; i < a->n_blobs; i++)
                json_array_append_new(list, json_string(a->blobs[i]->digest));
        return list;
}

static bool make_documents(struct artifact *a, const char *name, bool tar) {
        _cleanup_(json_decrefp) json_t *config =
            tar ? json_pack("{s:s, s:s, s:{}, s:{s:s, s:o}}", "architecture", "amd64", "os", "linux",
                            "config", "rootfs", "type", "layers", "diff_ids", digest_list(a))
                : json_pack("{s:{s:s}, s:{s:s, s:o}, s:{s:s}}", "descriptor", "name", name, "modelfs", "type",
                            "layers", "diffIds", digest_list(a), "config", "format", "safetensors");

        if (!config || !document_dump(&a->config, config))
                return false;
        _cleanup_(json_decrefp) json_t *manifest =
            json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType", MANIFEST_TYPE, "config",
                      descriptor(tar ? "application/vnd.oci.image.config.v1+json"
                                     : "application/vnd.cncf.model.config.v1+json",
                                 a->config.digest, strlen(a->config.text)),
                      "layers", layer_list(a, tar));

        if (!manifest)
                return false;
        if (!tar)
                json_object_set_new(manifest, "artifactType",
                                    json_string("application/vnd.cncf.model.manifest.v1+json"));
        return document_dump(&a->manifest, manifest);
}

static bool make_blobs(struct artifact *a, const char *name, const char *seed, const char *kind, unsigned n,
                       uint64_t size, artifact_known_digest *known, const void *userdata) {
        bool tar = strcmp(kind, "tar") == 0, repeats = strcmp(kind, "repeat") == 0;

        a->n_blobs = tar ? 1 : n;
        a->blobs = calloc(a->n_blobs, sizeof(struct synthetic *));
        for (unsigned i = 0; a->blobs && i < a->n_blobs; i++) {
                const char *digest = known(userdata, name, i);

                a->blobs[i] = tar ? synthetic_new_tar(seed, n, size / n, digest)
                                  : synthetic_new_raw(seed, i, size / n, repeats, digest);
                if (!a->blobs[i])
                        return false;
        }
        return a->blobs;
}

struct artifact *artifact_new(const char *name, const char *spec, artifact_known_digest *known,
                              const void *userdata) {
        _cleanup_free_ char *copy = strdup(spec);
        _cleanup_(artifact_freep) struct artifact *a = calloc(1, sizeof *a);
        char *state = NULL;

        if (!copy || !a)
                return NULL;
        const char *kind = strtok_r(copy, ":", &state), *size_text = strtok_r(NULL, ":", &state);
        const char *n_text = strtok_r(NULL, ":", &state), *seed = strtok_r(NULL, ":", &state);

        if (!kind || !size_text ||
            (strcmp(kind, "raw") != 0 && strcmp(kind, "tar") != 0 && strcmp(kind, "repeat") != 0))
                return NULL;
        bool tar = strcmp(kind, "tar") == 0;
        uint64_t size = artifact_parse_size(size_text), n = n_text ? artifact_parse_size(n_text) : 1;

        if (size == 0 || n == 0 || n > BLOBS_MAX || n > size)
                return NULL;
        if (!make_blobs(a, name, seed ? seed : name, kind, (unsigned)n, size, known, userdata) ||
            !make_documents(a, name, tar))
                return NULL;
        return take_ptr(a);
}

void artifact_free(struct artifact *a) {
        if (!a)
                return;
        for (size_t i = 0; a->blobs && i < a->n_blobs; i++)
                synthetic_free(a->blobs[i]);
        free(a->blobs);
        free(a->manifest.text);
        free(a->config.text);
        free(a);
}

static void open_document(const struct document *d, const char *media_type, struct content *ret) {
        *ret = (struct content){ .fd = -1, .data = d->text, .size = strlen(d->text) };
        snprintf(ret->digest, sizeof ret->digest, "%s", d->digest);
        snprintf(ret->media_type, sizeof ret->media_type, "%s", media_type);
}

bool artifact_open_manifest(const struct artifact *a, const char *reference, struct content *ret) {
        if (strcmp(reference, "latest") != 0 && strcmp(reference, a->manifest.digest) != 0)
                return false;
        open_document(&a->manifest, MANIFEST_TYPE, ret);
        return true;
}

bool artifact_open_blob(const struct artifact *a, const char *digest, struct content *ret) {
        if (strcmp(digest, a->config.digest) == 0) {
                open_document(&a->config, "", ret);
                return true;
        }
        for (size_t i = 0; i < a->n_blobs; i++) {
                const struct synthetic *b = a->blobs[i];

                if (strcmp(digest, b->digest) != 0)
                        continue;
                *ret = (struct content){ .fd = -1, .synthetic = b, .size = b->size };
                snprintf(ret->digest, sizeof ret->digest, "%s", digest);
                return true;
        }
        return false;
}

json_t *artifact_files(const struct artifact *a) {
        json_t *list = json_array();

        for (size_t i = 0; i < a->n_blobs; i++)
                for (size_t k = 0; k < a->blobs[i]->n_files; k++) {
                        const struct synthetic_file *f = &a->blobs[i]->files[k];
                        const char *sha256 = f->digest[0] ? f->digest + 7 : "";

                        json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "path", f->path, "size",
                                                              (json_int_t)f->size, "sha256", sha256));
                }
        return list;
}
