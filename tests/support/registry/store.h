/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: what the registry has: OCI image layouts on disk and synthetic artifacts.
 *
 * Filled by main() before the first connection; after that only read. A layout's index.json is read anew for
 * every request, so a test moves a tag by replacing that file.
 */
#pragma once

#include "synthetic.h"

#include <jansson.h>

struct content {                           /* of a blob or a manifest; exactly one of the three is there */
        const char *data;                  /* borrowed from the store */
        const struct synthetic *synthetic; /* borrowed from the store */
        int fd;                            /* owned; -1 if it is one of the others */
        uint64_t size;
        char digest[SYNTHETIC_DIGEST_SIZE];
        char media_type[128]; /* of a manifest; empty for a blob */
};
#define CONTENT_INIT \
        { .fd = -1 }

static inline void content_close(struct content *c) {
        cleanup_close(&c->fd);
}

struct store;
struct store *store_new(void);
void store_free(struct store *s);
DEFINE_CLEANUP(struct store *, store_free);

/* "NAME=DIR" and "NAME=raw|tar:SIZE[:N[:SEED]]": false and a line on stderr if that is wrong. A synthetic
 * artifact has the tag "latest". SIZE is of all files together. */
bool store_add_layout(struct store *s, const char *spec);
bool store_add_synthetic(struct store *s, const char *spec);
/* "NAME/INDEX=sha256:…": the digest of a blob that store_add_synthetic() adds later, so that it need not be
 * computed. */
bool store_add_digest(struct store *s, const char *spec);

/* False: no such repository, tag or digest. @reference is a tag or a digest. */
bool store_open_manifest(const struct store *s, const char *repository, const char *reference,
                         struct content *ret);
bool store_open_blob(const struct store *s, const char *repository, const char *digest, struct content *ret);
/* The blob wherever it is: for the storage listener, which knows no repositories. */
bool store_find_blob(const struct store *s, const char *digest, struct content *ret);
json_t *store_tags(const struct store *s,
                   const char *repository); /* a list, or NULL if there is no such repository */
json_t *store_files(const struct store *s,
                    const char *repository); /* [{path,size,sha256}] of a synthetic artifact */
