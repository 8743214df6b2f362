/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GGUF: "GGUF", u32 version, u64 tensors, u64 pairs, the pairs (key, type, value), the tensors (name,
 * dimensions, type, offset). Values that nobody asks for are skipped without being read; vocabularies make up
 * most of a header.
 *
 * Big-endian files exist since version 3, without a mark: read as little-endian their version is 3 << 24,
 * which is refused. Sizes are not compared with the file's: that needs the block layout of each quantisation,
 * and what is told here follows from the shapes alone.
 */
#include "stager/tensors_scan.h"

#include <string.h>

#define COUNT_MAX 1000000u /* tensors or pairs; real models have thousands */
#define KEY_MAX 65535u
#define ARRAY_MAX (1u << 30)
#define DIMS_MAX 4
#define DTYPE_OTHER (TENSORS_DTYPES_MAX - 1)

enum gguf_type {
        GGUF_U8,
        GGUF_I8,
        GGUF_U16,
        GGUF_I16,
        GGUF_U32,
        GGUF_I32,
        GGUF_F32,
        GGUF_BOOL,
        GGUF_STRING,
        GGUF_ARRAY,
        GGUF_U64,
        GGUF_I64,
        GGUF_F64,
        _GGUF_TYPE_MAX,
};
static const uint8_t type_size[_GGUF_TYPE_MAX] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

static const char *const dtypes[] = {
        [0] = "F32",     [1] = "F16",    [2] = "Q4_0",     [3] = "Q4_1",    [6] = "Q5_0",     [7] = "Q5_1",
        [8] = "Q8_0",    [9] = "Q8_1",   [10] = "Q2_K",    [11] = "Q3_K",   [12] = "Q4_K",    [13] = "Q5_K",
        [14] = "Q6_K",   [15] = "Q8_K",  [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S",
        [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S",   [23] = "IQ4_XS", [24] = "I8",      [25] = "I16",
        [26] = "I32",    [27] = "I64",   [28] = "F64",     [29] = "IQ1_M",  [30] = "BF16",    [34] = "TQ1_0",
        [35] = "TQ2_0",  [39] = "MXFP4", [40] = "NVFP4",   [41] = "Q1_0",   [42] = "Q2_0",
};
#define N_DTYPES (sizeof dtypes / sizeof *dtypes)
_Static_assert(N_DTYPES < DTYPE_OTHER, "one place for each type and one for the unknown");

const char *gguf_dtype_name(unsigned dtype) {
        return dtype < N_DTYPES ? dtypes[dtype] : NULL;
}

static int malformed(const struct scan *s, const char *what, struct error *e) {
        return error_set(e, ERROR_INVALID, "GGUF header: %s at byte %llu", what, (unsigned long long)s->pos);
}

/* A string of which at most SCAN_TEXT - 1 bytes are kept; embedded NULs become '?'. */
static int scan_string(struct scan *s, char text[static SCAN_TEXT], uint64_t max, struct error *e) {
        uint64_t len;
        size_t keep;
        int r = scan_le(s, &len, 8, e);

        if (r < 0)
                return r;
        if (len > max)
                return malformed(s, "a string that is too long", e);
        keep = len < SCAN_TEXT - 1 ? len : SCAN_TEXT - 1;
        if ((r = scan_bytes(s, text, keep, e)) < 0)
                return r;
        for (size_t i = 0; i < keep; i++)
                if (text[i] == '\0')
                        text[i] = '?';
        text[keep] = '\0';
        return scan_skip(s, len - keep, e);
}

static int skip_string(struct scan *s, struct error *e) {
        uint64_t len;
        int r = scan_le(s, &len, 8, e);

        return r < 0 ? r : scan_skip(s, len, e);
}

static int skip_array(struct scan *s, struct error *e) {
        uint64_t type, count;
        int r;

        if ((r = scan_le(s, &type, 4, e)) < 0 || (r = scan_le(s, &count, 8, e)) < 0)
                return r;
        if (type >= _GGUF_TYPE_MAX || type == GGUF_ARRAY || count > ARRAY_MAX)
                return malformed(s, "an array of an unknown type or too many elements", e);
        if (type != GGUF_STRING)
                return scan_skip(s, count * type_size[type], e);
        for (uint64_t i = 0; i < count; i++)
                if ((r = skip_string(s, e)) < 0)
                        return r;
        return 0;
}

/* What `inspect` tells; keys of an architecture by their ends. */
static bool is_wanted(const char *key) {
        static const char *const whole[] = {
                "general.architecture",
                "general.name",
                "general.basename",
                "general.size_label",
                "general.file_type",
                "general.license",
                "split.no",
                "split.count",
                "split.tensors.count",
                "general.quantization_version",
        };
        static const char *const ends[] = {
                ".context_length",       ".embedding_length",        ".block_count",
                ".attention.head_count", ".attention.head_count_kv", ".expert_count",
        };
        size_t len = strlen(key);

        for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
                if (strcmp(whole[i], key) == 0)
                        return true;
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
                if (len > strlen(ends[i]) && strcmp(key + len - strlen(ends[i]), ends[i]) == 0)
                        return true;
        return false;
}

/* Integers and booleans; signed ones keep their sign. */
static json_t *json_scalar(enum gguf_type type, uint64_t raw) {
        switch (type) {
        case GGUF_BOOL:
                return json_boolean(raw != 0);
        case GGUF_I8:
                return json_integer((int8_t)raw);
        case GGUF_I16:
                return json_integer((int16_t)raw);
        case GGUF_I32:
                return json_integer((int32_t)raw);
        case GGUF_U8:
        case GGUF_U16:
        case GGUF_U32:
        case GGUF_I64:
                return json_integer((json_int_t)raw);
        case GGUF_U64:
                return raw <= INT64_MAX ? json_integer((json_int_t)raw) : NULL;
        default:
                return NULL; /* floating point: none of the wanted keys has it */
        }
}

/* One key with its value, kept if somebody wants it. */
static int scan_pair(struct tensors_summary *ret, struct scan *s, struct error *e) {
        char key[SCAN_TEXT], text[SCAN_TEXT];
        uint64_t type, raw;
        int r;

        if ((r = scan_string(s, key, KEY_MAX, e)) < 0 || (r = scan_le(s, &type, 4, e)) < 0)
                return r;
        if (type >= _GGUF_TYPE_MAX)
                return malformed(s, "a value of an unknown type", e);
        if (type == GGUF_ARRAY)
                return skip_array(s, e);
        if (type == GGUF_STRING) {
                if ((r = scan_string(s, text, UINT64_MAX, e)) == 0 && is_wanted(key))
                        summary_note(ret, key, json_string(text));
                return r;
        }
        if ((r = scan_le(s, &raw, type_size[type], e)) == 0 && is_wanted(key))
                summary_note(ret, key, json_scalar((enum gguf_type)type, raw));
        return r;
}

/* Its figures; where its data lie is only checked against the file's end. */
static int scan_tensor(struct tensors_summary *ret, struct scan *s, struct error *e) {
        char name[SCAN_TEXT];
        uint64_t n_dims, n, type, offset, elements = 1;
        int r;

        if ((r = scan_string(s, name, KEY_MAX, e)) < 0 || (r = scan_le(s, &n_dims, 4, e)) < 0)
                return r;
        if (n_dims > DIMS_MAX)
                return malformed(s, "a tensor of too many dimensions", e);
        for (uint64_t i = 0; i < n_dims; i++) {
                if ((r = scan_le(s, &n, 8, e)) < 0)
                        return r;
                if (__builtin_mul_overflow(elements, n, &elements))
                        return malformed(s, "a tensor that is too large", e);
        }
        if ((r = scan_le(s, &type, 4, e)) < 0 || (r = scan_le(s, &offset, 8, e)) < 0)
                return r;
        if (offset > s->end)
                return malformed(s, "a tensor that lies outside the file", e);
        return summary_count(ret, type < N_DTYPES && dtypes[type] ? (unsigned)type : DTYPE_OTHER, elements,
                             e);
}

int gguf_scan(struct tensors_summary *ret, struct scan *s, struct error *e) {
        uint64_t version, n_tensors, n_pairs;
        char magic[4];
        int r;

        if ((r = scan_bytes(s, magic, sizeof magic, e)) < 0 || (r = scan_le(s, &version, 4, e)) < 0)
                return r;
        if (memcmp(magic, "GGUF", sizeof magic) != 0)
                return error_set(e, ERROR_INVALID, "GGUF header: the file does not begin with \"GGUF\"");
        if (version != 2 && version != 3)
                return error_set(e, ERROR_INVALID, "GGUF header: version %llu is not known (2 and 3 are)",
                                 (unsigned long long)version);
        if ((r = scan_le(s, &n_tensors, 8, e)) < 0 || (r = scan_le(s, &n_pairs, 8, e)) < 0)
                return r;
        if (n_tensors > COUNT_MAX || n_pairs > COUNT_MAX)
                return malformed(s, "an impossible number of tensors or values", e);
        for (uint64_t i = 0; i < n_pairs; i++)
                if ((r = scan_pair(ret, s, e)) < 0)
                        return r;
        for (uint64_t i = 0; i < n_tensors; i++)
                if ((r = scan_tensor(ret, s, e)) < 0)
                        return r;
        return 0;
}
