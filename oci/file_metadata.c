/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file_metadata: JSON inside an annotation. Writers disagree about the type flag (a byte of tar's header, or
 * zero), so both forms are read; permission bits are decimal, as the number that they are.
 */
#include "oci/file_metadata.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "oci/manifest.h"
#include "oci/time_text.h"

#define METADATA_MAX (64u * 1024)

/* The first is current; the others are what the CNAI versions before it wrote. */
static const char *const path_keys[] = { "org.cncf.model.filepath", "org.cnai.model.filepath" };
static const char *const metadata_keys[] = {
        "org.cncf.model.file.metadata+json",
        "org.cnai.model.file.metadata+json",
        "org.cnai.model.file.metadata",
};

static const char *first_of(const json_t *annotations, const char *const *keys, size_t n) {
        for (size_t i = 0; i < n; i++) {
                const char *value = oci_annotation(annotations, keys[i]);
                if (value && *value)
                        return value;
        }
        return NULL;
}

const char *oci_file_path(const json_t *annotations) {
        return first_of(annotations, path_keys, sizeof path_keys / sizeof *path_keys);
}

/* Tar's flags, or Go's zero for a regular file. */
static int read_type(bool *ret_directory, const json_t *document, struct error *e) {
        uint64_t flag;

        int r = json_opt_size(&flag, document, "typeflag", 0, e);
        if (r < 0)
                return r;
        if (flag != 0 && flag != '0' && flag != 5 && flag != '5')
                return error_set(e, ERROR_INVALID, "type %llu is neither a regular file nor a directory",
                                 (unsigned long long)flag);
        *ret_directory = flag == 5 || flag == '5';
        return 0;
}

static int read_document(struct oci_file_metadata *m, const json_t *document, struct error *e) {
        const char *mtime, *name;
        uint64_t mode;

        int r = read_type(&m->is_directory, document, e);
        if (r < 0)
                return r;
        r = json_opt_size(&mode, document, "mode", 0, e);
        if (r < 0)
                return r;
        m->mode = (mode_t)(mode & 0777);
        r = json_opt_string(&mtime, document, "mtime", NULL, e);
        if (r < 0)
                return r;
        if (mtime && *mtime && oci_time_parse(&m->mtime, mtime) < 0)
                return error_set(e, ERROR_INVALID, "mtime \"%s\" is not a time of RFC 3339", mtime);
        r = json_opt_string(&name, document, "name", NULL, e);
        if (r < 0)
                return r;
        if (name && *name && !(m->name = strdup(name)))
                return error_errno(e, ENOMEM, "cannot keep a file's metadata");
        return 0;
}

int oci_file_metadata_read(struct oci_file_metadata *ret, const json_t *annotations, struct error *e) {
        const char *text = first_of(annotations, metadata_keys, sizeof metadata_keys / sizeof *metadata_keys);
        _cleanup_metadata_ struct oci_file_metadata m = { 0 };
        _cleanup_json_ json_t *document = NULL;

        if (text) {
                int r = json_parse(&document, text, strlen(text), METADATA_MAX, "file metadata", e);
                if (r < 0)
                        return r;
                r = read_document(&m, document, e);
                if (r < 0)
                        return error_wrap(e, "file metadata");
        }
        *ret = m;
        m.name = NULL;
        return 0;
}

void oci_file_metadata_done(struct oci_file_metadata *m) {
        free(m->name);
        m->name = NULL;
}
