/* SPDX-License-Identifier: Apache-2.0 */
/*
 * selection: a root and two lists of globs. Everything comes from pod specs and is bounded here, once. Every
 * path of an artifact is matched with every glob, so these are compiled at the start.
 *
 * The key names the tree that comes out of it. It is SHA-256 over these texts, each with its NUL:
 *
 *   "modelstage-tree-1", manifest digest, "root" or "default", root,
 *   "include", globs in order, "", "exclude", globs in order, ""
 *
 * The platform is not in it, because it has already chosen the manifest. Whoever changes the list changes the
 * first text, and every cached model gets another key.
 */
#include "oci/selection.h"

#include <string.h>

#include "base/path.h"

#define GLOBS_MAX 256u
#define GLOB_MAX 1024u
#define GLOBS_BYTES_MAX 16384u /* include and exclude together, as GLOBS_MAX */
#define PLATFORM_MAX 64u

static bool platform_is_valid(const char *s) {
        unsigned parts = 0;

        if (strlen(s) > PLATFORM_MAX)
                return false;
        for (;; s++) {
                size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789._-");
                if (n == 0)
                        return false;
                parts++;
                s += n;
                if (*s != '/')
                        return *s == '\0' && (parts == 2 || parts == 3);
        }
}

static int check_glob(const char *glob, const char *which, struct error *e) {
        if (*glob == '\0')
                return error_set(e, ERROR_INVALID, "%s has an empty glob", which);
        if (strlen(glob) > GLOB_MAX)
                return error_set(e, ERROR_INVALID, "%s has a glob longer than %u bytes", which, GLOB_MAX);
        if (*glob == '/')
                return error_set(e, ERROR_INVALID,
                                 "%s has the glob \"%s\", but paths below the root have no leading slash",
                                 which, glob);
        return 0;
}

static int check_globs(const char *const *include, const char *const *exclude, struct error *e) {
        const char *const *lists[] = { include, exclude };
        size_t n = 0, bytes = 0;

        for (size_t k = 0; k < 2; k++) {
                for (const char *const *glob = lists[k]; glob && *glob; glob++) {
                        int r = check_glob(*glob, k == 0 ? "include" : "exclude", e);
                        if (r < 0)
                                return r;
                        bytes += strlen(*glob);
                        if (++n > GLOBS_MAX)
                                return error_set(e, ERROR_INVALID,
                                                 "include and exclude have more than %u globs", GLOBS_MAX);
                        if (bytes > GLOBS_BYTES_MAX)
                                return error_set(e, ERROR_INVALID,
                                                 "include and exclude have more than %u bytes of globs",
                                                 GLOBS_BYTES_MAX);
                }
        }
        return 0;
}

/* An empty list becomes NULL. What is made stays in *ret and *compiled if it fails. */
static int copy_globs(char ***ret, struct text_pattern ***compiled, const char *const *globs) {
        size_t n = 0;

        while (globs && globs[n])
                n++;
        if (n == 0)
                return 0;
        *ret = calloc(n + 1, sizeof **ret);
        *compiled = calloc(n + 1, sizeof **compiled);
        if (!*ret || !*compiled)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                (*ret)[i] = strdup(globs[i]);
                if (!(*ret)[i] || text_pattern_new(&(*compiled)[i], globs[i]) < 0)
                        return -ENOMEM;
        }
        return 0;
}

int oci_selection_new(struct oci_selection **ret, const char *root, const char *const *include,
                      const char *const *exclude, const char *platform, struct error *e) {
        _cleanup_(oci_selection_freep) struct oci_selection *s = calloc(1, sizeof *s);

        if (!s)
                return error_errno(e, ENOMEM, "cannot keep a selection");
        if (root && path_clean(&s->root, root, e) < 0)
                return error_wrap(e, "root");
        if (platform && !platform_is_valid(platform))
                return error_set(
                    e, ERROR_INVALID,
                    "platform \"%s\" is not of the form os/architecture or os/architecture/variant",
                    platform);
        if (platform && !(s->platform = strdup(platform)))
                return error_errno(e, ENOMEM, "cannot keep a selection");
        int r = check_globs(include, exclude, e);
        if (r < 0)
                return r;
        if (copy_globs(&s->include, &s->including, include) < 0 ||
            copy_globs(&s->exclude, &s->excluding, exclude) < 0)
                return error_errno(e, ENOMEM, "cannot keep a selection");
        *ret = take_ptr(s);
        return 0;
}

int oci_selection_copy(struct oci_selection **ret, const struct oci_selection *s) {
        if (!s) {
                *ret = NULL;
                return 0;
        }
        return oci_selection_new(ret, s->root, (const char *const *)s->include,
                                 (const char *const *)s->exclude, s->platform, NULL);
}

static void patterns_free(struct text_pattern **list) {
        for (size_t i = 0; list && list[i]; i++)
                text_pattern_free(list[i]);
        free(list);
}

void oci_selection_free(struct oci_selection *s) {
        if (!s)
                return;
        free(s->root);
        text_list_free(s->include);
        text_list_free(s->exclude);
        patterns_free(s->including);
        patterns_free(s->excluding);
        free(s->platform);
        free(s);
}

static bool matches_any(struct text_pattern *const *patterns, const char *path) {
        for (; patterns && *patterns; patterns++)
                if (text_pattern_matches(*patterns, path))
                        return true;
        return false;
}

bool oci_selection_wants(const struct oci_selection *s, const char *path) {
        if (!s)
                return true;
        if (s->including && !matches_any(s->including, path))
                return false;
        return !matches_any(s->excluding, path);
}

/* ---- key ---- */

static int compare_text(const void *a, const void *b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* With its NUL, so that no two lists of texts feed the same bytes. */
static int feed(struct digest_stream *d, const char *s) {
        return digest_stream_update(d, s, strlen(s) + 1);
}

static int feed_globs(struct digest_stream *d, const char *name, char *const *globs) {
        const char *sorted[GLOBS_MAX];
        size_t n = 0;

        for (; globs && globs[n] && n < GLOBS_MAX; n++)
                sorted[n] = globs[n];
        if (n > 0)
                qsort(sorted, n, sizeof *sorted, compare_text);
        int r = feed(d, name);
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = feed(d, sorted[i]);
        return r < 0 ? r : feed(d, ""); /* no glob is empty: the end of the list */
}

int oci_selection_key(struct digest *ret, const struct oci_selection *s, const struct digest *manifest) {
        _cleanup_(digest_stream_freep) struct digest_stream *d = NULL;
        char text[DIGEST_TEXT_SIZE];
        bool has_root = s && s->root;

        int r = digest_stream_new(&d);
        if (r < 0)
                return r;
        const char *const head[] = { "modelstage-tree-1", digest_format(manifest, text),
                                     has_root ? "root" : "default", has_root ? s->root : "" };
        for (size_t i = 0; r >= 0 && i < sizeof head / sizeof *head; i++)
                r = feed(d, head[i]);
        if (r >= 0)
                r = feed_globs(d, "include", s ? s->include : NULL);
        if (r >= 0)
                r = feed_globs(d, "exclude", s ? s->exclude : NULL);
        return r < 0 ? r : digest_stream_final(d, ret);
}
