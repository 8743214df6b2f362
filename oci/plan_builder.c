/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_builder: blobs in the order in which they are added; later ones win. The rules that look at all of
 * them together run in plan_builder_finish(), before the selection, so that an artifact is good or bad for
 * everybody alike.
 *
 *   check_paths          two different files in one place, a file where a directory has to be: ERROR_INVALID;
 *                        the same file twice: one of them
 *   root                 the selection's, if it has one, in place of the format's
 *   leave_out_made       files that are made of the config, if a blob is in their place or nobody wants them
 *   leave_out_unwanted   raw files that the selection does not want; archives stay, their names are not known
 *   sum_up               bytes on the wire
 *
 * With a root that counts only if it is present, a file outside of it stays: whether there is such a root may
 * depend on an archive.
 */
#include "oci/plan_builder.h"

#include <string.h>

#include "base/path.h"
#include "base/text.h"

int plan_builder_init(struct plan_builder *b, const struct oci_reference *reference,
                      const struct digest *manifest, enum plan_format format, struct error *e) {
        _cleanup_(model_plan_freep) struct model_plan *p = calloc(1, sizeof *p);

        if (!p || !(p->root = strdup("")) || oci_reference_copy(&p->reference, reference) < 0)
                return error_errno(e, ENOMEM, "cannot plan %s", reference->text);
        p->manifest = *manifest;
        p->format = format;
        *b = (struct plan_builder){ .plan = p };
        int r = plan_builder_add_source(b, reference, e);
        if (r < 0) {
                b->plan = NULL;
                return r;
        }
        take_ptr(p);
        return 0;
}

void plan_builder_done(struct plan_builder *b) {
        model_plan_free(b->plan);
        b->plan = NULL;
}

int plan_builder_add_source(struct plan_builder *b, const struct oci_reference *reference, struct error *e) {
        struct model_plan *p = b->plan;

        struct oci_reference **grown = reallocarray(p->sources, p->n_sources + 1, sizeof *grown);
        if (!grown)
                return error_errno(e, ENOMEM, "cannot plan %s", reference->text);
        p->sources = grown;
        int r = oci_reference_copy(&p->sources[p->n_sources], reference);
        if (r < 0)
                return error_errno(e, r, "cannot plan %s", reference->text);
        b->source = (unsigned)p->n_sources++;
        return 0;
}

int plan_builder_set_root(struct plan_builder *b, const char *root, bool if_present, struct error *e) {
        char *copy = strdup(root);

        if (!copy)
                return error_errno(e, ENOMEM, "cannot plan %s", b->plan->reference->text);
        free(b->plan->root);
        b->plan->root = copy;
        b->plan->root_if_present = if_present;
        return 0;
}

/* ---- blobs ---- */

static int grow(struct plan_builder *b, struct error *e) {
        struct model_plan *p = b->plan;

        if (p->n_blobs < b->n_allocated)
                return 0;
        if (p->n_blobs >= PLAN_BLOBS_MAX)
                return error_set(e, ERROR_INVALID, "it has more than %d files and layers", PLAN_BLOBS_MAX);
        size_t n = b->n_allocated ? b->n_allocated * 2 : 16;
        struct plan_blob *grown = reallocarray(p->blobs, n, sizeof *grown);
        if (!grown)
                return error_errno(e, ENOMEM, "cannot plan %s", p->reference->text);
        p->blobs = grown;
        b->n_allocated = n;
        return 0;
}

/* Adds what @like says about a blob, with the layer's identity and @path. */
static int add(struct plan_builder *b, const struct oci_descriptor *layer, const struct plan_blob *like,
               const char *path, struct error *e) {
        _cleanup_free_ char *clean = NULL, *type = NULL;

        int r = path_clean(&clean, path, e);
        if (r < 0)
                return error_wrap(e, "path of layer %s", layer->media_type);
        if (like->packing == PLAN_RAW && !*clean)
                return error_set(e, ERROR_INVALID,
                                 "a layer of type %s has the root of the artifact as its file name",
                                 layer->media_type);
        r = grow(b, e);
        if (r < 0)
                return r;
        type = strdup(layer->media_type);
        if (!type)
                return error_errno(e, ENOMEM, "cannot plan %s", b->plan->reference->text);
        struct plan_blob *blob = &b->plan->blobs[b->plan->n_blobs++];
        *blob = *like;
        blob->digest = layer->digest;
        blob->size = layer->size;
        blob->source = b->source;
        blob->path = take_ptr(clean);
        blob->media_type = take_ptr(type);
        return 0;
}

int plan_builder_add_raw(struct plan_builder *b, const struct oci_descriptor *layer, enum plan_codec codec,
                         const char *path, mode_t mode, int64_t mtime, struct error *e) {
        const struct plan_blob like = { .packing = PLAN_RAW, .codec = codec, .mode = mode, .mtime = mtime };

        return add(b, layer, &like, path, e);
}

int plan_builder_add_tar(struct plan_builder *b, const struct oci_descriptor *layer, enum plan_codec codec,
                         const char *directory, bool whiteouts, struct error *e) {
        const struct plan_blob like = { .packing = PLAN_TAR, .codec = codec, .whiteouts = whiteouts };

        return add(b, layer, &like, directory, e);
}

int plan_builder_add_made(struct plan_builder *b, const char *path, char *data, size_t len, mode_t mode,
                          struct error *e) {
        _cleanup_free_ char *clean = NULL, *owned = data;
        struct model_plan *p = b->plan;

        int r = path_clean(&clean, path, e);
        if (r < 0)
                return r;
        struct plan_file *grown = reallocarray(p->files, p->n_files + 1, sizeof *grown);
        if (!grown)
                return error_errno(e, ENOMEM, "cannot plan %s", p->reference->text);
        p->files = grown;
        p->files[p->n_files++] =
            (struct plan_file){ .path = take_ptr(clean), .data = take_ptr(owned), .len = len, .mode = mode };
        return 0;
}

/* ---- the whole ---- */

/* '/' before all other characters: a directory is followed by all that is in it. */
static int compare_paths(const char *a, const char *b) {
        while (*a && *a == *b) {
                a++;
                b++;
        }
        int x = *a == '/' ? 1 : (unsigned char)*a + (*a ? 1 : 0),
            y = *b == '/' ? 1 : (unsigned char)*b + (*b ? 1 : 0);
        return x - y;
}

/* Of one path the files come before the archives, and equal ones in the order of the artifact. */
static int compare_blobs(const void *pa, const void *pb) {
        const struct plan_blob *a = *(const struct plan_blob *const *)pa,
                               *b = *(const struct plan_blob *const *)pb;

        int c = compare_paths(a->path, b->path);
        if (c == 0)
                c = (int)a->packing - (int)b->packing;
        return c ? c : (a > b) - (a < b);
}

static bool is_below(const char *path, const char *directory) {
        size_t n = strlen(directory);

        return strncmp(path, directory, n) == 0 && path[n] == '/';
}

/* @file is the last file before @next in the order above. */
static int check_pair(const struct plan_blob *file, const struct plan_blob *next, struct error *e) {
        char one[DIGEST_TEXT_SIZE], other[DIGEST_TEXT_SIZE];
        bool same = strcmp(file->path, next->path) == 0;

        if (same && next->packing == PLAN_RAW && !digest_equal(&file->digest, &next->digest))
                return error_set(e, ERROR_INVALID, "two different layers are both \"%s\": %s and %s",
                                 file->path, digest_format(&file->digest, one),
                                 digest_format(&next->digest, other));
        if ((same && next->packing == PLAN_TAR) || is_below(next->path, file->path))
                return error_set(e, ERROR_INVALID, "\"%s\" is a file, but \"%s\" needs it to be a directory",
                                 file->path, next->path);
        return 0;
}

/* Marks a file that is there twice, by taking its path away. */
static void drop_path(struct plan_blob *blob) {
        free(blob->path);
        blob->path = NULL;
}

static int check_paths(struct model_plan *p, struct error *e) {
        struct plan_blob *file = NULL;

        if (p->n_blobs == 0)
                return 0;
        _cleanup_free_ struct plan_blob **sorted = calloc(p->n_blobs, sizeof *sorted);
        if (!sorted)
                return error_errno(e, ENOMEM, "cannot plan %s", p->reference->text);
        for (size_t i = 0; i < p->n_blobs; i++)
                sorted[i] = &p->blobs[i];
        qsort(sorted, p->n_blobs, sizeof *sorted, compare_blobs);
        for (size_t i = 0; i < p->n_blobs; i++) {
                int r = file ? check_pair(file, sorted[i], e) : 0;
                if (r < 0)
                        return r;
                if (sorted[i]->packing != PLAN_RAW)
                        continue;
                if (file && strcmp(file->path, sorted[i]->path) == 0)
                        drop_path(sorted[i]);
                else
                        file = sorted[i];
        }
        return 0;
}

/* Whether pods would see the file @path. */
static bool is_file_wanted(const struct model_plan *p, const char *path, const struct oci_selection *s) {
        if (*p->root) {
                if (!is_below(path, p->root))
                        return p->root_if_present;
                path += strlen(p->root) + 1;
        }
        return oci_selection_wants(s, path);
}

/* Of an archive nobody knows before it is unpacked. */
static bool is_wanted(const struct model_plan *p, const struct plan_blob *blob,
                      const struct oci_selection *s) {
        return blob->path && (blob->packing != PLAN_RAW || is_file_wanted(p, blob->path, s));
}

/* Whether a blob has something else in the place of a file that is made; those of archives show later. */
static bool is_replaced(const struct model_plan *p, const struct plan_file *file) {
        for (size_t i = 0; i < p->n_blobs; i++) {
                const struct plan_blob *blob = &p->blobs[i];

                if (blob->path && blob->packing == PLAN_RAW &&
                    (strcmp(blob->path, file->path) == 0 || is_below(blob->path, file->path) ||
                     is_below(file->path, blob->path)))
                        return true;
        }
        return false;
}

static void leave_out_made(struct model_plan *p, const struct oci_selection *s) {
        size_t kept = 0;

        for (size_t i = 0; i < p->n_files; i++) {
                if (!is_replaced(p, &p->files[i]) && is_file_wanted(p, p->files[i].path, s)) {
                        p->files[kept++] = p->files[i];
                } else {
                        free(p->files[i].path);
                        free(p->files[i].data);
                }
        }
        p->n_files = kept;
}

static void leave_out_unwanted(struct model_plan *p, const struct oci_selection *s) {
        size_t kept = 0;

        for (size_t i = 0; i < p->n_blobs; i++) {
                if (is_wanted(p, &p->blobs[i], s)) {
                        p->blobs[kept++] = p->blobs[i];
                } else {
                        free(p->blobs[i].path);
                        free(p->blobs[i].media_type);
                }
        }
        p->n_blobs = kept;
}

static int sum_up(struct model_plan *p, struct error *e) {
        p->size = 0;
        for (size_t i = 0; i < p->n_blobs; i++) {
                if (p->blobs[i].size > INT64_MAX - p->size)
                        return error_set(e, ERROR_INVALID,
                                         "the sizes of its layers add up to more than any disk has");
                p->size += p->blobs[i].size;
        }
        return 0;
}

int plan_builder_finish(struct model_plan **ret, struct plan_builder *b,
                        const struct oci_selection *selection, struct error *e) {
        struct model_plan *p = b->plan;

        if (p->n_blobs == 0)
                return error_set(e, ERROR_INVALID, "it has no layers that are files of a model");
        int r = check_paths(p, e);
        if (r < 0)
                return r;
        if (selection && selection->root) {
                r = plan_builder_set_root(b, selection->root, false, e);
                if (r < 0)
                        return r;
        }
        leave_out_made(p, selection);
        leave_out_unwanted(p, selection);
        if (p->n_blobs == 0)
                return error_set(e, ERROR_INVALID, "root, include and exclude leave no file of its layers");
        r = sum_up(p, e);
        if (r < 0)
                return r;
        *ret = take_ptr(b->plan);
        return 0;
}
