/* SPDX-License-Identifier: Apache-2.0 */
/*
 * platform: which entry of an index is for this node.
 *
 *   1. the exact platform, with the variant that is meant where none is written (arm64 is v8, arm is v7)
 *   2. if no variant was asked for: the first of the same os and architecture
 *   3. a sole entry that does not care: an artifact, or an image without a platform
 *
 * Entries that are not manifests at all and BuildKit's attestations do not count.
 */
#include <string.h>
#include <sys/utsname.h>

#include "base/buf.h"
#include "base/text.h"
#include "oci/manifest.h"

#define ARTIFACT_ATTESTATION "attestation-manifest"

struct platform {
        char os[32], architecture[32], variant[32]; /* variant "": any */
};

static const struct {
        const char *machine, *platform;
} nodes[] = {
        { "x86_64", "linux/amd64" },  { "aarch64", "linux/arm64" },   { "armv7l", "linux/arm/v7" },
        { "armv6l", "linux/arm/v6" }, { "i686", "linux/386" },        { "ppc64le", "linux/ppc64le" },
        { "s390x", "linux/s390x" },   { "riscv64", "linux/riscv64" }, { "loongarch64", "linux/loong64" },
};

const char *oci_platform_of_node(void) {
        struct utsname u;

        if (uname(&u) == 0)
                for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
                        if (strcmp(nodes[i].machine, u.machine) == 0)
                                return nodes[i].platform;
        return "linux/unknown";
}

/* The variants that are meant when none is written (containerd's platforms package has the same). */
static const char *normal_variant(const char *architecture, const char *variant) {
        if (strcmp(architecture, "arm64") == 0 && (!*variant || strcmp(variant, "8") == 0))
                return "v8";
        if (strcmp(architecture, "arm") == 0 && (!*variant || strcmp(variant, "7") == 0))
                return "v7";
        if (strcmp(architecture, "amd64") == 0 && strcmp(variant, "v1") == 0)
                return "";
        return variant;
}

static int platform_parse(struct platform *ret, const char *text, struct error *e) {
        struct platform p = { 0 };
        int end = 0;

        int n = sscanf(text, "%31[^/]/%31[^/]%n/%31[^/]%n", p.os, p.architecture, &end, p.variant, &end);
        if (n < 2 || text[end] != '\0')
                return error_set(
                    e, ERROR_INVALID,
                    "platform \"%s\" is not of the form os/architecture or os/architecture/variant", text);
        *ret = p;
        return 0;
}

static bool is_candidate(const struct oci_descriptor *d) {
        static const char *const types[] = { "", OCI_TYPE_MANIFEST, OCI_TYPE_INDEX, DOCKER_TYPE_MANIFEST,
                                             DOCKER_TYPE_LIST };
        const char *role = oci_annotation(d->annotations, "vnd.docker.reference.type");

        if (role && strcmp(role, ARTIFACT_ATTESTATION) == 0)
                return false;
        if (strcmp(d->os, "unknown") == 0 && strcmp(d->architecture, "unknown") == 0)
                return false;
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
                if (strcmp(d->media_type, types[i]) == 0)
                        return true;
        return false;
}

static bool fits(const struct oci_descriptor *d, const struct platform *p, bool exact) {
        return strcmp(d->os, p->os) == 0 && strcmp(d->architecture, p->architecture) == 0 &&
               (!exact || strcmp(normal_variant(d->architecture, d->variant),
                                 normal_variant(p->architecture, p->variant)) == 0);
}

static const struct oci_descriptor *find(const struct oci_manifest *index, const struct platform *p,
                                         bool exact) {
        for (size_t i = 0; i < index->n_layers; i++)
                if (is_candidate(&index->layers[i]) && fits(&index->layers[i], p, exact))
                        return &index->layers[i];
        return NULL;
}

/* The only candidate, if it is one that no platform matters to. */
static const struct oci_descriptor *find_sole(const struct oci_manifest *index) {
        const struct oci_descriptor *sole = NULL;

        for (size_t i = 0; i < index->n_layers; i++) {
                if (!is_candidate(&index->layers[i]))
                        continue;
                if (sole)
                        return NULL;
                sole = &index->layers[i];
        }
        if (!sole)
                return NULL;
        const char *type = *sole->artifact_type ? sole->artifact_type : index->artifact_type;
        bool is_data = *type && strcmp(type, OCI_TYPE_CONFIG) != 0 && strcmp(type, DOCKER_TYPE_CONFIG) != 0;
        return is_data || (!*sole->os && !*sole->architecture) ? sole : NULL;
}

/* "linux/amd64, linux/arm64/v8", shortened where there are many; for people. */
static void list_platforms(struct buf *b, const struct oci_manifest *index) {
        for (size_t i = 0; i < index->n_layers; i++) {
                const struct oci_descriptor *d = &index->layers[i];
                if (!is_candidate(d))
                        continue;
                if (buf_printf(b, "%s%s/%s%s%s", b->len ? ", " : "", *d->os ? d->os : "?",
                               *d->architecture ? d->architecture : "?", *d->variant ? "/" : "",
                               d->variant) < 0)
                        return;
        }
}

int oci_index_choose(const struct oci_descriptor **ret, const struct oci_manifest *index,
                     const char *platform, struct error *e) {
        _cleanup_buf_ struct buf there = BUF_INIT(512);
        const struct oci_descriptor *d = NULL;
        struct platform p = { 0 };

        if (!platform)
                platform = oci_platform_of_node();
        int r = platform_parse(&p, platform, e);
        if (r < 0)
                return r;
        d = find(index, &p, true);
        if (!d && !*p.variant)
                d = find(index, &p, false);
        if (!d)
                d = find_sole(index);
        if (!d) {
                list_platforms(&there, index);
                return error_set(e, ERROR_NOT_FOUND, "the index has nothing for platform %s, it has: %s",
                                 platform, there.len ? buf_text(&there) : "no manifest at all");
        }
        *ret = d;
        return 0;
}
