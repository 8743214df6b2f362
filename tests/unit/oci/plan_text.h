/* SPDX-License-Identifier: Apache-2.0 */
/* plan_text: a plan as text, so that a test can say the whole of it in one literal; and plans out of JSON
 * texts. */
#pragma once

#include "oci/format.h"

#include "tests/unit/test.h"

/*
 * "modelcar root=models?", a line "made PATH MODE" a file that is made, and a line a blob: packing[+codec],
 * path, then what is not zero: mode, mtime, size, source, whiteouts. A '?' is "if present".
 */
static inline char *plan_text(const struct model_plan *p) {
        static const char *const codecs[] = { "", "+gzip", "+zstd" };
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        assert_non_null(f);
        fprintf(f, "%s root=%s%s\n", plan_format_name(p->format), p->root, p->root_if_present ? "?" : "");
        for (size_t i = 0; i < p->n_files; i++)
                fprintf(f, "made \"%s\" %04o\n", p->files[i].path, (unsigned)p->files[i].mode);
        for (size_t i = 0; i < p->n_blobs; i++) {
                const struct plan_blob *b = &p->blobs[i];

                fprintf(f, "%s%s \"%s\"", b->packing == PLAN_RAW ? "raw" : "tar", codecs[b->codec], b->path);
                if (b->mode)
                        fprintf(f, " %04o", (unsigned)b->mode);
                if (b->mtime)
                        fprintf(f, " %lld", (long long)b->mtime);
                if (b->size)
                        fprintf(f, " %llu", (unsigned long long)b->size);
                if (b->source)
                        fprintf(f, " @%s", p->sources[b->source]->text);
                fprintf(f, "%s\n", b->whiteouts ? " whiteouts" : "");
        }
        fclose(f);
        assert_non_null(text);
        return text;
}

static inline void artifact_parse(struct oci_artifact *a, const char *manifest, const char *config) {
        struct error e = { 0 };

        if (oci_manifest_parse(&a->manifest, manifest, strlen(manifest), NULL, "manifest", &e) < 0)
                fail_msg("%s: %s", manifest, e.text);
        assert_int_equal(digest_of(&a->digest, manifest, strlen(manifest)), 0);
        if (config) {
                a->config = strdup(config);
                a->config_len = strlen(config);
        }
}

static inline struct oci_reference *reference_of(const char *text) {
        struct oci_reference *r = NULL;
        struct error e = { 0 };

        if (oci_reference_parse(&r, text, &e) < 0)
                fail_msg("%s", e.text);
        return r;
}

/* The plan of a manifest that needs nothing else; NULL: @e says why. */
static inline struct model_plan *plan_of(const char *manifest, const struct oci_selection *selection,
                                         struct error *e) {
        _cleanup_(oci_reference_freep) struct oci_reference *reference = reference_of("r.io/model:v1");
        _cleanup_artifact_ struct oci_artifact artifact = { 0 };
        const struct oci_format_input in = { .reference = reference,
                                             .artifact = &artifact,
                                             .selection = selection };
        struct model_plan *plan = NULL;

        artifact_parse(&artifact, manifest, NULL);
        return oci_format_plan(&plan, &in, e) < 0 ? NULL : plan;
}

static inline void assert_plan(const char *manifest, const struct oci_selection *selection,
                               const char *expected) {
        struct error e = { 0 };
        _cleanup_(model_plan_freep) struct model_plan *plan = plan_of(manifest, selection, &e);

        if (!plan)
                fail_msg("%s: %s", manifest, e.text);
        _cleanup_free_ char *text = plan_text(plan);
        if (strcmp(text, expected) != 0)
                fail_msg("of %s\nthe plan is\n%sinstead of\n%s", manifest, text, expected);
}

static inline void assert_no_plan(const char *manifest, enum error_kind kind, const char *says) {
        struct error e = { 0 };
        struct model_plan *plan = plan_of(manifest, NULL, &e);

        if (plan)
                fail_msg("%s was accepted", manifest);
        if (e.kind != kind || !strstr(e.text, says) || !strstr(e.text, "r.io/model:v1"))
                fail_msg("of %s: \"%s\" is not in \"%s\"", manifest, says, e.text);
}

#define DIGEST_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DIGEST_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define DIGEST_C "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define LAYER(type, digest, more) "{\"mediaType\":\"" type "\",\"digest\":\"" digest "\",\"size\":0" more "}"
#define NOTE(key, value) ",\"annotations\":{\"" key "\":\"" value "\"}"
#define MADE "made \"Kitfile\" 0644\n" /* in the plan of every ModelKit */
#define MANIFEST(config, layers) \
        "{\"schemaVersion\":2,\"config\":" LAYER(config, DIGEST_C, "") ",\"layers\":[" layers "]}"
