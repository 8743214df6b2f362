/* SPDX-License-Identifier: Apache-2.0 */
/* The names of digests; how they are computed is sha256.h's. */
#include "base/digest.h"

#include "base/sha256.h"

#include <errno.h>
#include <string.h>

#define PREFIX "sha256:"
#define PREFIX_LEN (sizeof PREFIX - 1)
#define HEX_LEN (DIGEST_HEX_SIZE - 1)

struct digest_stream {
        struct sha256 state;
};

/* Lower case only: one content has one name, which is also the name of a directory. */
static int hex_value(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_hex(struct digest *ret, const char *hex) {
        struct digest d;

        for (size_t i = 0; i < sizeof d.bytes; i++) {
                int hi = hex_value(hex[2 * i]), lo = hex_value(hex[2 * i + 1]);
                if (hi < 0 || lo < 0)
                        return -EINVAL;
                d.bytes[i] = (uint8_t)(hi << 4 | lo);
        }
        *ret = d;
        return 0;
}

/* "algorithm:encoded" by the grammar of the image-spec, of whatever algorithm. */
static bool looks_like_digest(const char *text, size_t len) {
        const char *colon = memchr(text, ':', len);
        size_t name = colon ? (size_t)(colon - text) : 0;

        if (name == 0 || name + 1 >= len || strchr("+._-", text[0]) || strchr("+._-", colon[-1]))
                return false;
        for (size_t i = 0; i < len; i++) {
                char c = text[i];
                bool lower = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
                bool upper = i > name && ((c >= 'A' && c <= 'Z') || c == '=');

                if (i != name && !lower && !upper && !(c && strchr(i < name ? "+._-" : "_-", c)))
                        return false;
        }
        return true;
}

/*
 * -EOPNOTSUPP is told from -EINVAL because the two are different sentences to a user: a sha512 reference is
 * right but not for us, a shortened sha256 is a mistake.
 */
int digest_parse(struct digest *ret, const char *text, size_t len) {
        if (len >= PREFIX_LEN && memcmp(text, PREFIX, PREFIX_LEN) == 0)
                return len == PREFIX_LEN + HEX_LEN ? parse_hex(ret, text + PREFIX_LEN) : -EINVAL;
        return looks_like_digest(text, len) ? -EOPNOTSUPP : -EINVAL;
}

int digest_parse_hex(struct digest *ret, const char *hex) {
        return strlen(hex) == HEX_LEN ? parse_hex(ret, hex) : -EINVAL;
}

const char *digest_hex(const struct digest *d, char hex[static DIGEST_HEX_SIZE]) {
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < sizeof d->bytes; i++) {
                hex[2 * i] = digits[d->bytes[i] >> 4];
                hex[2 * i + 1] = digits[d->bytes[i] & 15];
        }
        hex[HEX_LEN] = '\0';
        return hex;
}

const char *digest_format(const struct digest *d, char text[static DIGEST_TEXT_SIZE]) {
        memcpy(text, PREFIX, PREFIX_LEN);
        digest_hex(d, text + PREFIX_LEN);
        return text;
}

bool digest_equal(const struct digest *a, const struct digest *b) {
        return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

int digest_of(struct digest *ret, const void *data, size_t len) {
        struct sha256 s;

        sha256_init(&s);
        sha256_update(&s, data, len);
        sha256_final(&s, ret);
        return 0;
}

int digest_stream_new(struct digest_stream **ret) {
        struct digest_stream *s = malloc(sizeof *s);

        if (!s)
                return -ENOMEM;
        sha256_init(&s->state);
        *ret = s;
        return 0;
}

int digest_stream_update(struct digest_stream *s, const void *data, size_t len) {
        sha256_update(&s->state, data, len);
        return 0;
}

int digest_stream_final(struct digest_stream *s, struct digest *ret) {
        sha256_final(&s->state, ret);
        return 0;
}

void digest_stream_free(struct digest_stream *s) {
        free(s);
}
