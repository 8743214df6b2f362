/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record: writes and reads the .json records.
 *
 *   layer   version, digest, form, size, bytes, files, private, origin
 *   model   version, key, reference, digest (the manifest's), format, size, files, private, pinned, created,
 *           expires, layers: [{digest, form, ...}]                         read back
 *           selection, annotations; mediaType, size, packing, codec, path of each layer   for people only
 *
 * A record is ours, but it is read after crashes, by later versions and from disks that lie; so reading is as
 * strict as with a stranger's JSON: what it does not say rightly makes the layer or model that it describes
 * not exist. Unknown members are left alone, so that an older program can start on a newer one's cache; what
 * it could not understand at all has a higher version, and is told apart from what is broken.
 *
 * No disk here and no state: text in, structs out. path_write_file() writes what is printed.
 */
#include "cache/record.h"

#include "base/text.h"

#include <string.h>

#define RECORD_VERSION 1
#define RECORD_LAYERS_MAX 4096 /* far above what a manifest may list */

static const char *const packing_names[] = { [PLAN_RAW] = "raw", [PLAN_TAR] = "tar" };
static const char *const form_names[_CACHE_FORM_MAX] = {
        [CACHE_BLOB] = "blob",
        [CACHE_CONTENT] = "content",
        [CACHE_TREE] = "tree",
};
static const char *const codec_names[] = {
        [PLAN_CODEC_NONE] = "none",
        [PLAN_CODEC_GZIP] = "gzip",
        [PLAN_CODEC_ZSTD] = "zstd",
};

static int out_of_memory(struct error *e) {
        return error_errno(e, ENOMEM, "write a record");
}

static int get_digest(struct digest *ret, const json_t *o, const char *key, struct error *e) {
        const char *text;
        int r = json_get_string(&text, o, key, e);

        if (r < 0)
                return r;
        if (digest_parse(ret, text, strlen(text)) < 0)
                return error_set(e, ERROR_INVALID, "\"%s\" is not a SHA-256 digest", key);
        return 0;
}

static int get_form(enum cache_form *ret, const json_t *o, struct error *e) {
        const char *text;
        int r = json_get_string(&text, o, "form", e);

        if (r < 0)
                return r;
        for (unsigned i = 0; i < _CACHE_FORM_MAX; i++)
                if (strcmp(text, form_names[i]) == 0) {
                        *ret = i;
                        return 0;
                }
        return error_set(e, ERROR_INVALID, "\"form\" is not blob, content or tree");
}

static int get_bool(bool *ret, const json_t *o, const char *key, struct error *e) {
        const json_t *value = json_object_get(o, key);

        if (!json_is_boolean(value))
                return error_set(e, ERROR_INVALID, "\"%s\" is not true or false", key);
        *ret = json_is_true(value);
        return 0;
}

/* Milliseconds since 1970; never negative. */
static int get_time(int64_t *ret, const json_t *o, const char *key, struct error *e) {
        uint64_t value;
        int r = json_get_size(&value, o, key, e);

        if (r < 0)
                return r;
        *ret = (int64_t)value;
        return 0;
}

/* Before anything else is looked at: of a later version nothing can be said to be wrong. */
static int check_version(const json_t *o, struct error *e) {
        uint64_t version;
        int r = json_get_size(&version, o, "version", e);

        if (r < 0)
                return r;
        if (version > RECORD_VERSION)
                return error_set(e, ERROR_UNIMPLEMENTED, "its version %llu is newer than ours, %d",
                                 (unsigned long long)version, RECORD_VERSION);
        if (version != RECORD_VERSION)
                return error_set(e, ERROR_INVALID, "its version is not %d", RECORD_VERSION);
        return 0;
}

static int print(char **ret, const json_t *o, struct error *e) {
        char *text = json_dumps(o, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

        if (!text)
                return out_of_memory(e);
        *ret = text;
        return 0;
}

/* ---- layers ---- */

int cache_record_layer_print(char **ret, const struct cache_layer *l, struct error *e) {
        _cleanup_json_ json_t *o = NULL;
        char digest[DIGEST_TEXT_SIZE], origin[DIGEST_TEXT_SIZE];

        o = json_pack("{s:i, s:s, s:s, s:I, s:I, s:I, s:b, s:s}", "version", RECORD_VERSION, "digest",
                      digest_format(&l->digest, digest), "form", form_names[l->form], "size",
                      (json_int_t)l->size, "bytes", (json_int_t)l->bytes, "files", (json_int_t)l->files,
                      "private", (int)l->is_private, "origin", digest_format(&l->origin, origin));
        return o ? print(ret, o, e) : out_of_memory(e);
}

int cache_record_layer_parse(struct cache_layer *ret, const char *text, size_t len, struct error *e) {
        _cleanup_json_ json_t *o = NULL;
        struct cache_layer l = { 0 };
        int r;

        if ((r = json_parse(&o, text, len, RECORD_MAX, "layer record", e)) < 0 ||
            (r = check_version(o, e)) < 0 || (r = get_digest(&l.digest, o, "digest", e)) < 0 ||
            (r = get_form(&l.form, o, e)) < 0 || (r = json_get_size(&l.size, o, "size", e)) < 0 ||
            (r = json_get_size(&l.bytes, o, "bytes", e)) < 0 ||
            (r = json_get_size(&l.files, o, "files", e)) < 0 ||
            (r = get_bool(&l.is_private, o, "private", e)) < 0 ||
            (r = get_digest(&l.origin, o, "origin", e)) < 0)
                return r;
        *ret = l;
        return 0;
}

/* ---- models: writing ---- */

/* An empty array for NULL. NULL: out of memory, or a text that is not UTF-8. */
static json_t *strings(char *const *list) {
        json_t *array = json_array();

        for (; array && list && *list; list++)
                if (json_array_append_new(array, json_string(*list)) < 0) {
                        json_decref(array);
                        return NULL;
                }
        return array;
}

static json_t *layers_of(const struct model_plan *plan) {
        json_t *array = json_array();

        for (size_t i = 0; array && i < plan->n_blobs; i++) {
                const struct plan_blob *b = &plan->blobs[i];
                char digest[DIGEST_TEXT_SIZE];
                json_t *o = json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:s}", "digest",
                                      digest_format(&b->digest, digest), "mediaType",
                                      b->media_type ? b->media_type : "", "size", (json_int_t)b->size, "form",
                                      form_names[cache_form_of(b)], "packing", packing_names[b->packing],
                                      "codec", codec_names[b->codec], "path", b->path ? b->path : "");

                if (!o || json_array_append_new(array, o) < 0) {
                        json_decref(array);
                        return NULL;
                }
        }
        return array;
}

/* What shaped the tree, for people: the key is made of it. */
static json_t *selection_of(const struct model_plan *plan, const struct oci_selection *s) {
        return json_pack("{s:s, s:o, s:o, s:s*}", "root",
                         s && s->root ? s->root
                         : plan->root ? plan->root
                                      : "",
                         "include", strings(s ? s->include : NULL), "exclude", strings(s ? s->exclude : NULL),
                         "platform", s ? s->platform : NULL);
}

int cache_record_model_new(json_t **ret, const struct model_plan *plan,
                           const struct cache_record_facts *facts, struct error *e) {
        json_t *o;
        char key[DIGEST_TEXT_SIZE], manifest[DIGEST_TEXT_SIZE];

        if (plan->n_blobs > RECORD_LAYERS_MAX)
                return error_set(e, ERROR_INVALID, "the model has %zu layers, more than %d", plan->n_blobs,
                                 RECORD_LAYERS_MAX);
        o = json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:I, s:I, s:o, s:o, s:O*}", "version",
                      RECORD_VERSION, "key", digest_format(facts->key, key), "reference",
                      plan->reference->text, "digest", digest_format(&plan->manifest, manifest), "format",
                      plan_format_name(plan->format), "size", (json_int_t)facts->size, "files",
                      (json_int_t)facts->files, "private", (int)facts->is_private, "pinned", 0, "created",
                      (json_int_t)facts->created_ms, "expires", (json_int_t)0, "selection",
                      selection_of(plan, facts->selection), "layers", layers_of(plan), "annotations",
                      plan->annotations);
        if (!o) /* or no memory; but then the next allocation says so */
                return error_set(e, ERROR_INVALID,
                                 "the model cannot be recorded: a name in it is not valid UTF-8");
        *ret = o;
        return 0;
}

static json_t *refs_of(const struct cache_record *rec) {
        json_t *array = json_array();

        for (size_t i = 0; array && i < rec->n_layers; i++) {
                const struct cache_layer_ref *l = &rec->layers[i];
                char digest[DIGEST_TEXT_SIZE];
                json_t *o = json_pack("{s:s, s:s}", "digest", digest_format(&l->digest, digest), "form",
                                      form_names[l->form]);

                if (!o || json_array_append_new(array, o) < 0) {
                        json_decref(array);
                        return NULL;
                }
        }
        return array;
}

int cache_record_model_again(json_t **ret, const struct cache_record *rec, struct error *e) {
        const struct cache_model *m = &rec->model;
        char key[DIGEST_TEXT_SIZE], manifest[DIGEST_TEXT_SIZE];
        json_t *o =
            json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:b, s:I, s:I, s:o}", "version",
                      RECORD_VERSION, "key", digest_format(&m->key, key), "reference", m->reference, "digest",
                      digest_format(&m->manifest, manifest), "format", plan_format_name(m->format), "size",
                      (json_int_t)m->size, "files", (json_int_t)m->files, "private", (int)m->is_private,
                      "pinned", (int)m->pinned, "created", (json_int_t)m->created_ms, "expires",
                      (json_int_t)m->expires_ms, "layers", refs_of(rec));

        if (!o)
                return out_of_memory(e);
        *ret = o;
        return 0;
}

int cache_record_model_pin(json_t *record, bool pin, int64_t expires_ms, struct error *e) {
        if (json_object_set_new(record, "pinned", json_boolean(pin)) < 0 ||
            json_object_set_new(record, "expires", json_integer(expires_ms > 0 ? expires_ms : 0)) < 0)
                return out_of_memory(e);
        return 0;
}

int cache_record_model_print(char **ret, const json_t *record, struct error *e) {
        return print(ret, record, e);
}

/* ---- models: reading ---- */

void cache_record_free(struct cache_record *r) {
        if (!r)
                return;
        free(r->model.reference);
        free(r->layers);
        free(r);
}

static int parse_layers(struct cache_record *rec, const json_t *o, struct error *e) {
        json_t *array, *item;
        size_t i;
        int r = json_opt_array(&array, o, "layers", e);

        if (r < 0)
                return r;
        if (!array || json_array_size(array) == 0 || json_array_size(array) > RECORD_LAYERS_MAX)
                return error_set(e, ERROR_INVALID, "\"layers\" is missing, empty or too long");
        rec->layers = calloc(json_array_size(array), sizeof *rec->layers);
        if (!rec->layers)
                return error_errno(e, ENOMEM, "read a record");
        json_array_foreach (array, i, item) {
                if ((r = get_digest(&rec->layers[i].digest, item, "digest", e)) < 0 ||
                    (r = get_form(&rec->layers[i].form, item, e)) < 0)
                        return r;
                rec->n_layers++;
        }
        return 0;
}

static int parse_names(struct cache_model *m, const json_t *o, struct error *e) {
        const char *reference, *format;
        int r;

        if ((r = get_digest(&m->key, o, "key", e)) < 0 ||
            (r = get_digest(&m->manifest, o, "digest", e)) < 0 ||
            (r = json_get_string(&reference, o, "reference", e)) < 0 ||
            (r = json_get_string(&format, o, "format", e)) < 0)
                return r;
        r = plan_format_parse(format);
        if (r < 0)
                return error_set(e, ERROR_INVALID, "\"format\" is unknown");
        m->format = (enum plan_format)r;
        m->reference = strdup(reference);
        return m->reference ? 0 : error_errno(e, ENOMEM, "read a record");
}

static int parse_facts(struct cache_model *m, const json_t *o, struct error *e) {
        int r;

        if ((r = json_get_size(&m->size, o, "size", e)) < 0 ||
            (r = json_get_size(&m->files, o, "files", e)) < 0 ||
            (r = get_bool(&m->is_private, o, "private", e)) < 0 ||
            (r = get_bool(&m->pinned, o, "pinned", e)) < 0 ||
            (r = get_time(&m->created_ms, o, "created", e)) < 0 ||
            (r = get_time(&m->expires_ms, o, "expires", e)) < 0)
                return r;
        m->last_used_ms = m->created_ms;
        return 0;
}

int cache_record_model_parse(struct cache_record **ret, json_t **ret_json, const char *text, size_t len,
                             struct error *e) {
        _cleanup_(cache_record_freep) struct cache_record *rec = NULL;
        _cleanup_json_ json_t *o = NULL;
        int r;

        rec = calloc(1, sizeof *rec);
        if (!rec)
                return error_errno(e, ENOMEM, "read a record");
        if ((r = json_parse(&o, text, len, RECORD_MAX, "model record", e)) < 0 ||
            (r = check_version(o, e)) < 0 || (r = parse_names(&rec->model, o, e)) < 0 ||
            (r = parse_facts(&rec->model, o, e)) < 0 || (r = parse_layers(rec, o, e)) < 0)
                return r;
        *ret = take_ptr(rec);
        if (ret_json)
                *ret_json = take_ptr(o);
        return 0;
}
