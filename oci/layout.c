/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout: the directory itself is named by whoever made the reference; everything in it is opened below it,
 * without symbolic links, and only if it is a regular file (O_NONBLOCK, so that a pipe that somebody put
 * there cannot hold us up).
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

static int directory_open(const struct oci_reference *r, struct error *e) {
        int fd = open(r->repository, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
                return error_set(e, ERROR_NOT_FOUND,
                                 "no such model %s: there is no directory %s on this node", r->text,
                                 r->repository);
        if (fd < 0)
                return error_errno(e, errno, "cannot open %s", r->repository);
        return fd;
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

int oci_layout_resolve(struct digest *ret, const struct oci_reference *reference, struct error *e) {
        _cleanup_(oci_manifest_freep) struct oci_manifest *index = NULL;
        const struct oci_descriptor *found;
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int dir = -1, blob = -1;
        struct digest digest = reference->digest;
        uint64_t size;
        char name[96];
        size_t len = 0;
        int r;

        dir = directory_open(reference, e);
        if (dir < 0)
                return dir;
        r = version_check(dir, reference, e);
        if (r < 0)
                return r;
        if (!reference->has_digest) {
                r = file_read(&text, &len, dir, "index.json", OCI_MANIFEST_MAX, reference, e);
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
                digest = found->digest;
        }
        blob = file_open(dir, blob_name(name, &digest), &size, reference, e);
        if (blob < 0)
                return blob;
        *ret = digest;
        return 0;
}

int oci_layout_open(const struct oci_reference *reference, const struct digest *digest, uint64_t *ret_size,
                    struct error *e) {
        _cleanup_close_ int dir = directory_open(reference, e);
        char name[96];

        return dir < 0 ? dir : file_open(dir, blob_name(name, digest), ret_size, reference, e);
}

int oci_layout_read(char **ret, size_t *ret_len, const struct oci_reference *reference,
                    const struct digest *digest, size_t max, struct error *e) {
        _cleanup_close_ int dir = directory_open(reference, e);
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
