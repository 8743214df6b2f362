/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A repository is either a layout (a directory that is opened once and read at each request) or a synthetic
 * artifact (its documents in memory, its big blobs computed). Both answer the same two questions: which
 * manifest, which blob.
 */
#include "store.h"

#include "artifact.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define REPOSITORIES_MAX 64
#define DIGESTS_MAX 64
#define DOCUMENT_MAX (8u << 20)

struct repository {
        char *name;
        int dir_fd;                /* of a layout, else -1 */
        struct artifact *artifact; /* else NULL */
};

struct store {
        struct repository repositories[REPOSITORIES_MAX];
        size_t n_repositories;
        const char *digests[DIGESTS_MAX]; /* as on the command line */
        size_t n_digests;
};

struct store *store_new(void) {
        return calloc(1, sizeof(struct store));
}

void store_free(struct store *s) {
        if (!s)
                return;
        for (size_t i = 0; i < s->n_repositories; i++) {
                struct repository *r = &s->repositories[i];

                free(r->name);
                cleanup_close(&r->dir_fd);
                artifact_free(r->artifact);
        }
        free(s);
}

static struct repository *add_repository(struct store *s, const char *spec, const char **ret_rest) {
        const char *equals = strchr(spec, '=');

        if (!equals || equals == spec || s->n_repositories == REPOSITORIES_MAX) {
                fprintf(stderr, "fault-registry: \"%s\" is not NAME=… or there are too many\n", spec);
                return NULL;
        }
        struct repository *r = &s->repositories[s->n_repositories];

        r->name = strndup(spec, (size_t)(equals - spec));
        r->dir_fd = -1;
        if (!r->name)
                return NULL;
        s->n_repositories++;
        *ret_rest = equals + 1;
        return r;
}

bool store_add_layout(struct store *s, const char *spec) {
        const char *dir;
        struct repository *r = add_repository(s, spec, &dir);

        if (!r)
                return false;
        r->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (r->dir_fd < 0)
                fprintf(stderr, "fault-registry: %s: %m\n", dir);
        return r->dir_fd >= 0;
}

bool store_add_digest(struct store *s, const char *spec) {
        if (!strstr(spec, "=sha256:") || s->n_digests == DIGESTS_MAX) {
                fprintf(stderr, "fault-registry: \"%s\" is not NAME/INDEX=sha256:… or there are too many\n",
                        spec);
                return false;
        }
        s->digests[s->n_digests++] = spec;
        return true;
}

/* The known digest of blob @index of @name, or NULL. */
static const char *known_digest(const void *userdata, const char *name, unsigned index) {
        const struct store *s = userdata;
        char prefix[256];
        size_t len = (size_t)snprintf(prefix, sizeof prefix, "%s/%u=", name, index);

        for (size_t i = 0; i < s->n_digests; i++)
                if (len < sizeof prefix && strncmp(s->digests[i], prefix, len) == 0)
                        return s->digests[i] + len;
        return NULL;
}

bool store_add_synthetic(struct store *s, const char *spec) {
        const char *rest;
        struct repository *r = add_repository(s, spec, &rest);

        if (!r)
                return false;
        r->artifact = artifact_new(r->name, rest, known_digest, s);
        if (!r->artifact)
                fprintf(stderr, "fault-registry: \"%s\" is not NAME=raw|repeat|tar:SIZE[:N[:SEED]]\n", spec);
        return r->artifact;
}

static const struct repository *find_repository(const struct store *s, const char *name) {
        for (size_t i = 0; i < s->n_repositories; i++)
                if (strcmp(s->repositories[i].name, name) == 0)
                        return &s->repositories[i];
        return NULL;
}

static bool is_digest(const char *text) {
        return strncmp(text, "sha256:", 7) == 0 && strlen(text) == 71 &&
               strspn(text + 7, "0123456789abcdef") == 64;
}

static bool open_layout_blob(const struct repository *r, const char *digest, struct content *ret) {
        char path[128];
        struct stat st;

        if (!is_digest(digest))
                return false;
        snprintf(path, sizeof path, "blobs/sha256/%s", digest + 7);
        int fd = openat(r->dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

        if (fd < 0 || fstat(fd, &st) < 0) {
                cleanup_close(&fd);
                return false;
        }
        *ret = (struct content){ .fd = fd, .size = (uint64_t)st.st_size };
        snprintf(ret->digest, sizeof ret->digest, "%s", digest);
        return true;
}

static bool open_blob(const struct repository *r, const char *digest, struct content *ret) {
        return r->artifact ? artifact_open_blob(r->artifact, digest, ret) : open_layout_blob(r, digest, ret);
}

bool store_open_blob(const struct store *s, const char *repository, const char *digest, struct content *ret) {
        const struct repository *r = find_repository(s, repository);

        return r && open_blob(r, digest, ret);
}

bool store_find_blob(const struct store *s, const char *digest, struct content *ret) {
        for (size_t i = 0; i < s->n_repositories; i++)
                if (open_blob(&s->repositories[i], digest, ret))
                        return true;
        return false;
}

static json_t *load_document(int dir_fd, const char *path) {
        _cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > DOCUMENT_MAX)
                return NULL;
        return json_loadfd(fd, 0, NULL);
}

static const char *tag_of(const json_t *descriptor) {
        const json_t *annotations = json_object_get(descriptor, "annotations");

        return json_string_value(json_object_get(annotations, "org.opencontainers.image.ref.name"));
}

/* The media type that a manifest names itself, else the one that its members speak for. */
static void read_media_type(const struct repository *r, struct content *c) {
        char path[128];

        snprintf(path, sizeof path, "blobs/sha256/%s", c->digest + 7);
        _cleanup_(json_decrefp) json_t *doc = load_document(r->dir_fd, path);
        const char *type = json_string_value(json_object_get(doc, "mediaType"));

        if (!type)
                type = json_object_get(doc, "manifests") ? "application/vnd.oci.image.index.v1+json"
                                                         : "application/vnd.oci.image.manifest.v1+json";
        snprintf(c->media_type, sizeof c->media_type, "%s", type);
}

static bool open_layout_manifest(const struct repository *r, const char *reference, struct content *ret) {
        _cleanup_(json_decrefp) json_t *index = load_document(r->dir_fd, "index.json");
        const char *digest = is_digest(reference) ? reference : NULL;
        json_t *descriptor;
        size_t i;

        json_array_foreach (json_object_get(index, "manifests"), i, descriptor) {
                const char *tag = tag_of(descriptor);

                if (!digest && tag && strcmp(tag, reference) == 0)
                        digest = json_string_value(json_object_get(descriptor, "digest"));
        }
        if (!digest || !open_layout_blob(r, digest, ret))
                return false;
        read_media_type(r, ret);
        return true;
}

bool store_open_manifest(const struct store *s, const char *repository, const char *reference,
                         struct content *ret) {
        const struct repository *r = find_repository(s, repository);

        if (!r)
                return false;
        return r->artifact ? artifact_open_manifest(r->artifact, reference, ret)
                           : open_layout_manifest(r, reference, ret);
}

json_t *store_tags(const struct store *s, const char *repository) {
        const struct repository *r = find_repository(s, repository);
        json_t *list = r ? json_array() : NULL, *descriptor;
        size_t i;

        if (!list || r->artifact) {
                if (list)
                        json_array_append_new(list, json_string("latest"));
                return list;
        }
        _cleanup_(json_decrefp) json_t *index = load_document(r->dir_fd, "index.json");

        json_array_foreach (json_object_get(index, "manifests"), i, descriptor)
                if (tag_of(descriptor))
                        json_array_append_new(list, json_string(tag_of(descriptor)));
        return list;
}

json_t *store_files(const struct store *s, const char *repository) {
        const struct repository *r = find_repository(s, repository);

        return r && r->artifact ? artifact_files(r->artifact) : NULL;
}
