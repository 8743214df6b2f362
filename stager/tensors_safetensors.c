/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors: u64 length, then a JSON object {"name": {"dtype", "shape", "data_offsets"}, …, "__metadata__":
 * {…}}.
 *
 * Headers of large models are megabytes of JSON, and a hostile one may be a hundred: so this is a reader of
 * exactly this shape, without a tree. What it accepts is strict JSON except that duplicate names are not
 * found (that would need all names in memory); the sum of all tensors must be the size of the data, which a
 * duplicate breaks.
 */
#include "stager/tensors_scan.h"

#include <string.h>

#define HEADER_MAX 100000000u /* what the format's own reader allows */
#define SHAPE_MAX 64

static const struct {
        const char *name;
        unsigned bits;
} dtypes[] = {
        { "BOOL", 8 },        { "F4", 4 },      { "F6_E2M3", 6 }, { "F6_E3M2", 6 }, { "U8", 8 },
        { "I8", 8 },          { "F8_E5M2", 8 }, { "F8_E4M3", 8 }, { "F8_E8M0", 8 }, { "F8_E4M3FNUZ", 8 },
        { "F8_E5M2FNUZ", 8 }, { "I16", 16 },    { "U16", 16 },    { "F16", 16 },    { "BF16", 16 },
        { "I32", 32 },        { "U32", 32 },    { "F32", 32 },    { "C64", 64 },    { "F64", 64 },
        { "I64", 64 },        { "U64", 64 },
};
#define N_DTYPES (sizeof dtypes / sizeof *dtypes)
#define DTYPE_OTHER (TENSORS_DTYPES_MAX - 1) /* newer than this table */
_Static_assert(N_DTYPES < DTYPE_OTHER, "one place for each type and one for the unknown");

struct tensor {
        unsigned dtype;
        uint64_t elements;
        uint64_t begin, end; /* data_offsets: bytes from the end of the header */
        bool has_dtype, has_shape, has_offsets;
};

const char *safetensors_dtype_name(unsigned dtype) {
        return dtype < N_DTYPES ? dtypes[dtype].name : NULL;
}

static int malformed(const struct scan *s, const char *what, struct error *e) {
        return error_set(e, ERROR_INVALID, "safetensors header: %s at byte %llu", what,
                         (unsigned long long)s->pos);
}

/* The next character that is not white space, left where it is. */
static int next(struct scan *s, struct error *e) {
        int c;

        while ((c = scan_peek(s, e)) == ' ' || c == '\n' || c == '\t' || c == '\r')
                s->pos++;
        return c;
}

static int expect(struct scan *s, int wanted, struct error *e) {
        int c = next(s, e);

        if (c < 0)
                return c;
        if (c != wanted)
                return malformed(s, "something else than JSON of this format", e);
        s->pos++;
        return 0;
}

/* After a member: 1 if another one follows, 0 at @closing. */
static int more(struct scan *s, int closing, struct error *e) {
        int c = next(s, e);

        if (c < 0)
                return c;
        if (c != ',' && c != closing)
                return malformed(s, "a missing comma", e);
        s->pos++;
        return c == ',';
}

/* After an opening bracket: is it closed at once? */
static int is_empty(struct scan *s, int closing, struct error *e) {
        int c = next(s, e);

        if (c != closing)
                return c < 0 ? c : 0;
        s->pos++;
        return 1;
}

static int scan_hex4(struct scan *s, uint32_t *ret, struct error *e) {
        uint32_t v = 0;

        for (int i = 0; i < 4; i++) {
                int c = scan_byte(s, e);
                if (c < 0)
                        return c;
                if (!strchr("0123456789abcdefABCDEF", c) || c == 0)
                        return malformed(s, "a bad \\u escape", e);
                v = v << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
        }
        *ret = v;
        return 0;
}

/* UTF-8 of a character; surrogates that have no partner become U+FFFD. */
static size_t put_utf8(char out[4], uint32_t c) {
        if (c >= 0xd800 && c < 0xe000)
                c = 0xfffd;
        if (c < 0x80) {
                out[0] = (char)c;
                return 1;
        }
        if (c < 0x800) {
                out[0] = (char)(0xc0 | c >> 6);
                out[1] = (char)(0x80 | (c & 0x3f));
                return 2;
        }
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
}

static int scan_escape(struct scan *s, char out[4], struct error *e) {
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        const char *at;
        uint32_t u = 0;
        int c = scan_byte(s, e), r;

        if (c < 0)
                return c;
        if (c == 'u') {
                r = scan_hex4(s, &u, e);
                if (r < 0)
                        return r;
                return (int)put_utf8(out, u ? u : 0xfffd); /* no NUL in our strings */
        }
        at = c ? strchr(from, c) : NULL;
        if (!at)
                return malformed(s, "a bad escape", e);
        out[0] = to[at - from];
        return 1;
}

/* A string; what does not fit into @text is left out (the result is at most SCAN_TEXT - 1 bytes). */
static int scan_string(struct scan *s, char text[static SCAN_TEXT], struct error *e) {
        size_t len = 0;
        int r = expect(s, '"', e);

        if (r < 0)
                return r;
        for (;;) {
                char piece[4];
                int c = scan_byte(s, e), n = 1;
                if (c < 0)
                        return c;
                if (c == '"')
                        break;
                if (c < 0x20)
                        return malformed(s, "a control character", e);
                piece[0] = (char)c;
                if (c == '\\' && (n = scan_escape(s, piece, e)) < 0)
                        return n;
                if (len + (size_t)n < SCAN_TEXT) {
                        memcpy(text + len, piece, (size_t)n);
                        len += (size_t)n;
                }
        }
        text[len] = '\0';
        return 0;
}

/* Digits only: no sign, no fraction, no exponent; shapes and offsets have none. */
static int scan_number(struct scan *s, uint64_t *ret, struct error *e) {
        uint64_t v = 0;
        int c = next(s, e), digits = 0;

        for (; c >= '0' && c <= '9'; c = scan_peek(s, e), digits++) {
                if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (unsigned)(c - '0'), &v))
                        return malformed(s, "a number that is too large", e);
                s->pos++;
        }
        if (c < 0)
                return c;
        if (digits == 0)
                return malformed(s, "something else than a number", e);
        *ret = v;
        return 0;
}

/* The product of the dimensions; an empty shape is one element. */
static int scan_shape(struct scan *s, struct tensor *t, struct error *e) {
        unsigned dims = 0;
        int r = expect(s, '[', e);

        t->elements = 1;
        t->has_shape = true;
        if (r < 0 || (r = is_empty(s, ']', e)) != 0)
                return r < 0 ? r : 0;
        do {
                uint64_t n;
                r = scan_number(s, &n, e);
                if (r < 0)
                        return r;
                if (++dims > SHAPE_MAX || __builtin_mul_overflow(t->elements, n, &t->elements))
                        return malformed(s, "a shape that is too large", e);
        } while ((r = more(s, ']', e)) > 0);
        return r;
}

static int scan_offsets(struct scan *s, struct tensor *t, struct error *e) {
        int r;

        t->has_offsets = true;
        if ((r = expect(s, '[', e)) < 0 || (r = scan_number(s, &t->begin, e)) < 0 ||
            (r = expect(s, ',', e)) < 0 || (r = scan_number(s, &t->end, e)) < 0)
                return r;
        return expect(s, ']', e);
}

static int scan_dtype(struct scan *s, struct tensor *t, struct error *e) {
        char text[SCAN_TEXT];
        int r = scan_string(s, text, e);

        if (r < 0)
                return r;
        t->has_dtype = true;
        for (t->dtype = 0; t->dtype < N_DTYPES; t->dtype++)
                if (strcmp(dtypes[t->dtype].name, text) == 0)
                        return 0;
        t->dtype = DTYPE_OTHER;
        return 0;
}

/* Type, shape and place have to say the same size, unless the type is newer than our table. */
static int check_tensor(const struct scan *s, const struct tensor *t, uint64_t data_size, struct error *e) {
        uint64_t bits;

        if (!t->has_dtype || !t->has_shape || !t->has_offsets)
                return malformed(s, "a tensor without dtype, shape or data_offsets", e);
        if (t->begin > t->end || t->end > data_size)
                return malformed(s, "a tensor that lies outside the file", e);
        if (t->dtype == DTYPE_OTHER)
                return 0;
        if (__builtin_mul_overflow(t->elements, dtypes[t->dtype].bits, &bits) || bits % 8 != 0 ||
            bits / 8 != t->end - t->begin)
                return malformed(s, "a tensor whose size does not follow from its shape", e);
        return 0;
}

static int scan_tensor(struct scan *s, struct tensor *t, struct error *e) {
        char key[SCAN_TEXT];
        int r = expect(s, '{', e);

        if (r < 0 || (r = is_empty(s, '}', e)) != 0)
                return r < 0 ? r : 0;
        do {
                if ((r = scan_string(s, key, e)) < 0 || (r = expect(s, ':', e)) < 0)
                        return r;
                if (strcmp(key, "dtype") == 0 && !t->has_dtype)
                        r = scan_dtype(s, t, e);
                else if (strcmp(key, "shape") == 0 && !t->has_shape)
                        r = scan_shape(s, t, e);
                else if (strcmp(key, "data_offsets") == 0 && !t->has_offsets)
                        r = scan_offsets(s, t, e);
                else
                        r = malformed(s, "a member that a tensor does not have", e);
        } while (r >= 0 && (r = more(s, '}', e)) > 0);
        return r;
}

static int scan_metadata(struct tensors_summary *ret, struct scan *s, struct error *e) {
        char key[SCAN_TEXT], value[SCAN_TEXT];
        int r = expect(s, '{', e);

        if (r < 0 || (r = is_empty(s, '}', e)) != 0)
                return r < 0 ? r : 0;
        do {
                if ((r = scan_string(s, key, e)) < 0 || (r = expect(s, ':', e)) < 0 ||
                    (r = scan_string(s, value, e)) < 0)
                        return r;
                summary_note(ret, key, json_string(value));
        } while ((r = more(s, '}', e)) > 0);
        return r;
}

/* One tensor, or the metadata. */
static int scan_member(struct tensors_summary *ret, struct scan *s, uint64_t data_size, uint64_t *sum,
                       struct error *e) {
        struct tensor t = { 0 };
        char name[SCAN_TEXT];
        int r;

        if ((r = scan_string(s, name, e)) < 0 || (r = expect(s, ':', e)) < 0)
                return r;
        if (strcmp(name, "__metadata__") == 0)
                return scan_metadata(ret, s, e);
        if ((r = scan_tensor(s, &t, e)) < 0 || (r = check_tensor(s, &t, data_size, e)) < 0)
                return r;
        if (__builtin_add_overflow(*sum, t.end - t.begin, sum))
                return malformed(s, "more data than a file can have", e);
        return summary_count(ret, t.dtype, t.elements, e);
}

int safetensors_scan(struct tensors_summary *ret, struct scan *s, struct error *e) {
        uint64_t len, data_size, sum = 0;
        int r = scan_le(s, &len, 8, e);

        if (r < 0)
                return r;
        if (len > HEADER_MAX || len > s->end - s->pos)
                return error_set(e, ERROR_INVALID,
                                 "safetensors header: its length of %llu bytes is impossible",
                                 (unsigned long long)len);
        data_size = s->end - s->pos - len;
        s->end = s->pos + len;
        if ((r = expect(s, '{', e)) < 0 || (r = is_empty(s, '}', e)) < 0)
                return r;
        if (r == 0) {
                do
                        r = scan_member(ret, s, data_size, &sum, e);
                while (r >= 0 && (r = more(s, '}', e)) > 0);
                if (r < 0)
                        return r;
        }
        if (sum != data_size)
                return error_set(e, ERROR_INVALID,
                                 "safetensors header: its tensors have %llu bytes, the file %llu",
                                 (unsigned long long)sum, (unsigned long long)data_size);
        return 0;
}
