/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan: what is to be fetched and where it goes. Here the formats end: above, there are only packings and
 * codecs. Plain data, immutable once made.
 */
#pragma once

#include "base/digest.h"
#include "base/error.h"
#include "oci/reference.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum plan_format {
        PLAN_MODELCAR,
        PLAN_MODELKIT,
        PLAN_MODELPACK,
        PLAN_DOCKER_MODEL,
        PLAN_OLLAMA,
        PLAN_ARTIFACT,
        _PLAN_FORMAT_MAX
};
enum plan_packing { PLAN_RAW, PLAN_TAR };
enum plan_codec { PLAN_CODEC_NONE, PLAN_CODEC_GZIP, PLAN_CODEC_ZSTD };

struct plan_blob {
        struct digest digest; /* of the bytes on the wire */
        uint64_t size;        /* on the wire, exact */
        enum plan_packing packing;
        enum plan_codec codec;
        char *path;       /* raw: the file's clean path in the artifact; tar: the directory below which its
                           * members go, "" for the root */
        mode_t mode;      /* raw: permission bits; 0: unknown */
        int64_t mtime;    /* raw: seconds since 1970; 0: unknown */
        char *media_type; /* for people only */
        unsigned source;  /* which of plan->sources has it */
        bool whiteouts;   /* tar: OCI whiteouts and opaque directories mean something */
};

/* The same bytes, unpacked in the same way: one transfer is enough for both. */
bool plan_blob_is_same(const struct plan_blob *a, const struct plan_blob *b);

/* A file that no blob holds, made from the manifest's config. */
struct plan_file {
        char *path; /* clean, in the artifact */
        char *data;
        size_t len;
        mode_t mode; /* permission bits */
};

struct model_plan {
        struct oci_reference *reference;
        struct digest manifest; /* of the platform's manifest, not of an index */
        enum plan_format format;
        char *root;                     /* default root: clean relative path, "" the whole */
        bool root_if_present;           /* then only if the artifact has it, else the whole */
        struct oci_reference **sources; /* repositories that blobs come from; [0] is the reference's */
        size_t n_sources;
        struct plan_blob *blobs; /* later ones win */
        size_t n_blobs;
        struct plan_file *files; /* below all blobs: theirs win */
        size_t n_files;
        json_t *annotations; /* of the manifest: object of strings, or NULL */
        uint64_t size;       /* sum of the blobs' */
};

const char *plan_format_name(enum plan_format f); /* "modelcar", as in `modelstage ls` */
int plan_format_parse(const char *name);          /* or -EINVAL */
void model_plan_free(struct model_plan *p);
DEFINE_CLEANUP(struct model_plan *, model_plan_free);
