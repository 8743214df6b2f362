/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout: the directory itself is named by whoever made the reference, below one that the administrator has
 * listed or, if he did it himself, anywhere; everything in it is opened below it, without symbolic links, and
 * only if it is a regular file (O_NONBLOCK, so that a pipe that somebody put there cannot hold us up).
 *
 *   DIR/oci-layout            its version, which has to be 1.x
 *   DIR/index.json            what there is; a tag is the annotation org.opencontainers.image.ref.name
 *   DIR/blobs/sha256/<hex>    manifests, configs and layers alike
 *
 * Small files are read whole and verified; layers are opened here and read by the engine, which verifies
 * them.
 */
#include "oci/layout.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/path.h"
#include "oci/manifest.h"

#define REF_NAME "org.opencontainers.image.ref.name"
#define LAYOUT_FILE_MAX 4096u
#define TAGS_SHOWN 400u /* characters of an error's list of tags */

/* The length of @above, less a slash at its end, if @dir is that directory or below it; else -1. */
static ssize_t length_above(const char *above, const char *dir) {
        size_t len = strlen(above);

        if (len > 0 && above[len - 1] == '/')
                len--;
        return strncmp(dir, above, len) == 0 && (!dir[len] || dir[len] == '/') ? (ssize_t)len : -1;
}

/* The innermost of @listed that @dir is in; NULL: in none. */
static const char *listed_above(const char *dir, char *const *listed) {
        const char *found = NULL;

        for (; listed && *listed; listed++)
                if (length_above(*listed, dir) >= 0 && (!found || strlen(*listed) > strlen(found)))
                        found = *listed;
        return found;
}

bool oci_layout_is_listed(const struct oci_reference *reference, char *const *listed) {
        return listed_above(reference->repository, listed) != NULL;
}

static int directory_failed(const struct oci_reference *r, int errnum, struct error *e) {
        if (errnum == ENOENT || errnum == ENOTDIR)
                return error_set(e, ERROR_NOT_FOUND,
                                 "no such model %s: there is no directory %s on this node", r->text,
                                 r->repository);
        return error_errno(e, errnum, "cannot open %s", r->repository);
}

/* Below @above, without symbolic links. */
static int directory_open_below(const char *above, const struct oci_reference *r, struct error *e) {
        const char *rest = r->repository + length_above(above, r->repository);
        _cleanup_close_ int fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct error failure = { 0 };

        if (fd < 0)
                return directory_failed(r, errno, e);
        int dir = path_open(fd, *rest == '/' ? rest + 1 : rest, O_RDONLY | O_DIRECTORY, 0, &failure);
        if (dir >= 0)
                return dir;
        if (failure.kind == ERROR_NOT_FOUND)
                return directory_failed(r, ENOENT, e);
        dir = error_copy(e, &failure);
        return e ? error_wrap(e, "%s, below %s", r->text, above) : dir;
}

static int directory_open(const struct oci_reference *r, char *const *listed, struct error *e) {
        const char *above = listed_above(r->repository, listed);

        if (above)
                return directory_open_below(above, r, e);
        int fd = open(r->repository, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? directory_failed(r, errno, e) : fd;
}

/* A regular file below the layout; -ENOENT stays ERROR_NOT_FOUND with a sentence of its own. */
static int file_open(int dir_fd, const char *name, uint64_t *ret_size, const struct oci_reference *r,
                     struct error *e) {
        _cleanup_close_ int fd = -1;
        struct error failure = { 0 };
        struct stat st;

        fd = path_open(dir_fd, name, O_RDONLY | O_NONBLOCK, 0, &failure);
        if (fd == -ENOENT)
                return error_set(e, ERROR_NOT_FOUND, "no such model %s: the layout has no file %s", r->text,
                                 name);
        if (fd < 0) {
                error_copy(e, &failure);
                return e ? error_wrap(e, "%s", r->text) : fd;
        }
        if (fstat(fd, &st) < 0)
                return error_errno(e, errno, "%s: %s", r->text, name);
        if (!S_ISREG(st.st_mode))
                return error_set(e, ERROR_INVALID, "%s: %s is not a regular file", r->text, name);
        *ret_size = (uint64_t)st.st_size;
        return take_fd(fd);
}

static int file_read(char **ret, size_t *ret_len, int dir_fd, const char *name, size_t max,
                     const struct oci_reference *r, struct error *e) {
        _cleanup_close_ int fd = -1;
        _cleanup_free_ char *data = NULL;
        uint64_t size = 0;
        size_t len = 0;

        fd = file_open(dir_fd, name, &size, r, e);
        if (fd < 0)
                return fd;
        if (size > max)
                return error_set(e, ERROR_INVALID, "%s: %s has more than the %zu bytes that are allowed",
                                 r->text, name, max);
        data = malloc((size_t)size + 1);
        if (!data)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        while (len < size) { /* shorter by now: the digest will tell */
                ssize_t n = read(fd, data + len, (size_t)size - len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(e, errno, "%s: cannot read %s", r->text, name);
                if (n == 0)
                        break;
                len += (size_t)n;
        }
        data[len] = '\0';
        *ret = take_ptr(data);
        *ret_len = len;
        return 0;
}

static int version_check(int dir_fd, const struct oci_reference *r, struct error *e) {
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ json_t *doc = NULL;
        const char *version = NULL;
        size_t len = 0;
        int k = file_read(&text, &len, dir_fd, "oci-layout", LAYOUT_FILE_MAX, r, e);

        if (k == 0)
                k = json_parse(&doc, text, len, LAYOUT_FILE_MAX, "oci-layout", e);
        if (k == 0)
                k = json_get_string(&version, doc, "imageLayoutVersion", e);
        if (k == 0 && strncmp(version, "1.", 2) != 0)
                k = error_set(e, ERROR_INVALID, "%s: layout version %.20s is not known", r->text, version);
        return k;
}

static const char *tag_of(const struct oci_descriptor *d) {
        assert(d);
        return oci_annotation(d->annotations, REF_NAME);
}

static int not_found(const struct oci_manifest *index, const struct oci_reference *r, struct error *e) {
        _cleanup_buf_ struct buf tags = BUF_INIT(TAGS_SHOWN);

        for (size_t i = 0; i < index->n_layers; i++) {
                const char *tag = tag_of(&index->layers[i]);

                if (tag && buf_printf(&tags, "%s%s", tags.len ? ", " : "", tag) < 0)
                        break;
        }
        if (!r->tag && !r->has_digest)
                return error_set(e, ERROR_NOT_FOUND, "%s has %zu models: say which, by tag: %s", r->text,
                                 index->n_layers, buf_text(&tags));
        return error_set(e, ERROR_NOT_FOUND, "no such model %s: the layout has %s", r->text,
                         tags.len ? tags.data : "nothing with a tag");
}

/* With the same tag twice the first counts, as skopeo has it. */
static const struct oci_descriptor *entry_find(const struct oci_manifest *index,
                                               const struct oci_reference *r) {
        if (!r->tag)
                return index->n_layers == 1 ? &index->layers[0] : NULL;
        for (size_t i = 0; i < index->n_layers; i++) {
                const char *tag = tag_of(&index->layers[i]);

                if (tag && strcmp(tag, r->tag) == 0)
                        return &index->layers[i];
        }
        return NULL;
}

/* The blob's name below the layout. */
static const char *blob_name(char name[static 96], const struct digest *digest) {
        char hex[DIGEST_HEX_SIZE];

        snprintf(name, 96, "blobs/sha256/%s", digest_hex(digest, hex));
        return name;
}

/* What index.json says of the reference. */
static int index_look_up(struct digest *ret, uint64_t *ret_size, int dir,
                         const struct oci_reference *reference, struct error *e) {
        _cleanup_(oci_manifest_freep) struct oci_manifest *index = NULL;
        const struct oci_descriptor *found;
        _cleanup_free_ char *text = NULL;
        size_t len = 0;
        int r = file_read(&text, &len, dir, "index.json", OCI_MANIFEST_MAX, reference, e);

        if (r == 0)
                r = oci_manifest_parse(&index, text, len, NULL, reference->text, e);
        if (r < 0)
                return r;
        assert(index);
        if (!index->is_index)
                return error_set(e, ERROR_INVALID, "%s: index.json is not an index", reference->text);
        found = entry_find(index, reference);
        if (!found)
                return not_found(index, reference, e);
        *ret = found->digest;
        *ret_size = found->size;
        return 0;
}

int oci_layout_resolve(struct digest *ret, const struct oci_reference *reference, char *const *listed,
                       struct error *e) {
        _cleanup_close_ int dir = -1, blob = -1;
        struct digest digest = reference->digest;
        uint64_t size, expected = 0;
        char name[96];
        int r;

        dir = directory_open(reference, listed, e);
        if (dir < 0)
                return dir;
        r = version_check(dir, reference, e);
        if (r == 0 && !reference->has_digest)
                r = index_look_up(&digest, &expected, dir, reference, e);
        if (r < 0)
                return r;
        blob = file_open(dir, blob_name(name, &digest), &size, reference, e);
        if (blob < 0)
                return blob;
        if (!reference->has_digest && size != expected)
                return error_set(
                    e, ERROR_DATA_LOSS,
                    "%s: its manifest has %llu bytes and index.json says %llu; copy the layout again",
                    reference->text, (unsigned long long)size, (unsigned long long)expected);
        *ret = digest;
        return 0;
}

int oci_layout_open(const struct oci_reference *reference, char *const *listed, const struct digest *digest,
                    uint64_t *ret_size, struct error *e) {
        _cleanup_close_ int dir = directory_open(reference, listed, e);
        char name[96];

        return dir < 0 ? dir : file_open(dir, blob_name(name, digest), ret_size, reference, e);
}

int oci_layout_read(char **ret, size_t *ret_len, const struct oci_reference *reference, char *const *listed,
                    const struct digest *digest, size_t max, struct error *e) {
        _cleanup_close_ int dir = directory_open(reference, listed, e);
        _cleanup_free_ char *data = NULL;
        struct digest found;
        size_t len = 0;
        char name[96];
        int r;

        if (dir < 0)
                return dir;
        r = file_read(&data, &len, dir, blob_name(name, digest), max, reference, e);
        if (r < 0)
                return r;
        if (digest_of(&found, data, len) < 0)
                return error_set(e, ERROR_INTERNAL, "out of memory");
        if (!digest_equal(&found, digest))
                return error_set(e, ERROR_DATA_LOSS,
                                 "%s: the file %s is not what its name says; copy the layout again",
                                 reference->text, name);
        *ret = take_ptr(data);
        *ret_len = len;
        return 0;
}
