/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A blob is a row of files: in a raw blob there is one and nothing else; in a tar each has a header block
 * before it and padding after it, and two empty blocks are the end. A read finds its first file by a binary
 * search over the files' offsets and goes on from there, so nothing is kept per block.
 */
#include "synthetic.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define BLOCK 512u
#define HASH_CHUNK (256u << 10)

DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free);
DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free);

static void format_digest(const uint8_t *hash, char ret[static SYNTHETIC_DIGEST_SIZE]) {
        size_t n = (size_t)snprintf(ret, SYNTHETIC_DIGEST_SIZE, "sha256:");

        for (unsigned i = 0; i < 32; i++)
                n += (size_t)snprintf(ret + n, SYNTHETIC_DIGEST_SIZE - n, "%02x", hash[i]);
}

void synthetic_digest_of(const void *data, size_t len, char ret[static SYNTHETIC_DIGEST_SIZE]) {
        uint8_t hash[EVP_MAX_MD_SIZE] = { 0 };

        EVP_Digest(data, len, hash, NULL, EVP_sha256(), NULL);
        format_digest(hash, ret);
}

/* The key stream of @key from @offset on: the counter of CTR mode is the number of the 16-byte block. */
static bool read_stream(const uint8_t key[static 16], uint64_t offset, uint8_t *buf, size_t len) {
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
        uint8_t iv[16] = { 0 }, skip[16] = { 0 };
        uint64_t block = offset / 16;
        int n;

        if (!c)
                return false;
        for (unsigned i = 0; i < 8; i++)
                iv[15 - i] = (uint8_t)(block >> (8 * i));
        memset(buf, 0, len);
        return EVP_EncryptInit_ex(c, EVP_aes_128_ctr(), NULL, key, iv) == 1 &&
               EVP_EncryptUpdate(c, skip, &n, skip, (int)(offset % 16)) == 1 &&
               EVP_EncryptUpdate(c, buf, &n, buf, (int)len) == 1;
}

/* Octal as tar wants it; what does not fit is base-256 with the top bit set, as GNU tar does it. */
static void tar_number(char *field, size_t width, uint64_t value) {
        if (value < 1ull << (3 * (width - 1))) {
                snprintf(field, width, "%0*llo", (int)width - 1, (unsigned long long)value);
                return;
        }
        memset(field, 0, width);
        field[0] = (char)0x80;
        for (size_t i = 0; i < 8; i++)
                field[width - 1 - i] = (char)(value >> (8 * i));
}

static void tar_header(const struct synthetic_file *f, uint8_t block[static BLOCK]) {
        char *h = (char *)block;
        unsigned sum = 0;

        memset(block, 0, BLOCK);
        snprintf(h, 100, "%s", f->path);
        tar_number(h + 100, 8, 0644);
        tar_number(h + 108, 8, 0);
        tar_number(h + 116, 8, 0);
        tar_number(h + 124, 12, f->size);
        tar_number(h + 136, 12, 0);
        memset(h + 148, ' ', 8);
        h[156] = '0';
        memcpy(h + 257, "ustar\00000", 8);
        for (unsigned i = 0; i < BLOCK; i++)
                sum += block[i];
        snprintf(h + 148, 7, "%06o", sum);
}

const uint8_t *synthetic_peek(const struct synthetic *s, uint64_t offset) {
        return s->pattern ? s->pattern + offset % SYNTHETIC_PERIOD : NULL;
}

static bool make_pattern(struct synthetic *s) {
        s->pattern = malloc(SYNTHETIC_PERIOD + SYNTHETIC_SLICE);
        if (!s->pattern || !read_stream(s->files[0].key, 0, s->pattern, SYNTHETIC_PERIOD))
                return false;
        for (size_t at = SYNTHETIC_PERIOD; at < SYNTHETIC_PERIOD + SYNTHETIC_SLICE; at++)
                s->pattern[at] = s->pattern[at - SYNTHETIC_PERIOD];
        return true;
}

/* The last file whose header (or first byte) is at or before @offset. */
static size_t find_file(const struct synthetic *s, uint64_t offset) {
        size_t low = 0, high = s->n_files;

        while (high - low > 1) {
                size_t mid = low + (high - low) / 2;
                uint64_t begin = s->files[mid].start - (s->tar ? BLOCK : 0);

                if (begin <= offset)
                        low = mid;
                else
                        high = mid;
        }
        return low;
}

/* As much of the range as lies in one piece of @f; 0: out of memory. */
static size_t read_piece(const struct synthetic *s, const struct synthetic_file *f, uint64_t offset,
                         uint8_t *buf, size_t len) {
        if (offset < f->start) {
                uint8_t header[BLOCK];
                size_t at = BLOCK - (size_t)(f->start - offset);

                len = len < BLOCK - at ? len : BLOCK - at;
                tar_header(f, header);
                memcpy(buf, header + at, len);
                return len;
        }
        if (offset < f->start + f->size) {
                uint64_t left = f->start + f->size - offset;

                len = len < left ? len : (size_t)left;
                if (s->pattern) {
                        len = len < SYNTHETIC_SLICE ? len : SYNTHETIC_SLICE;
                        memcpy(buf, synthetic_peek(s, offset), len);
                        return len;
                }
                return read_stream(f->key, offset - f->start, buf, len) ? len : 0;
        }
        uint64_t end = f + 1 < s->files + s->n_files ? f[1].start - BLOCK : s->size;

        len = len < end - offset ? len : (size_t)(end - offset);
        memset(buf, 0, len);
        return len;
}

bool synthetic_read(const struct synthetic *s, uint64_t offset, uint8_t *buf, size_t len) {
        while (len > 0) {
                size_t n = read_piece(s, &s->files[find_file(s, offset)], offset, buf, len);

                if (n == 0)
                        return false;
                offset += n;
                buf += n;
                len -= n;
        }
        return true;
}

/* SHA-256 of a range of the blob; @whole, if there is one, goes on with the same bytes. */
static bool hash_range(const struct synthetic *s, uint64_t start, uint64_t end, EVP_MD_CTX *part,
                       EVP_MD_CTX *whole) {
        _cleanup_free_ uint8_t *buf = malloc(HASH_CHUNK);

        if (!buf)
                return false;
        while (start < end) {
                size_t n = end - start < HASH_CHUNK ? (size_t)(end - start) : HASH_CHUNK;

                if (!synthetic_read(s, start, buf, n))
                        return false;
                if (part)
                        EVP_DigestUpdate(part, buf, n);
                EVP_DigestUpdate(whole, buf, n);
                start += n;
        }
        return true;
}

/* The digests of the files and of the blob in one walk. */
static bool compute_digests(struct synthetic *s) {
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *whole = EVP_MD_CTX_new();
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *part = EVP_MD_CTX_new();
        uint8_t hash[EVP_MAX_MD_SIZE] = { 0 };
        uint64_t at = 0;

        if (!whole || !part)
                return false;
        EVP_DigestInit_ex(whole, EVP_sha256(), NULL);
        for (struct synthetic_file *f = s->files; f < s->files + s->n_files; f++) {
                EVP_DigestInit_ex(part, EVP_sha256(), NULL);
                if (!hash_range(s, at, f->start, NULL, whole) ||
                    !hash_range(s, f->start, f->start + f->size, s->tar ? part : NULL, whole))
                        return false;
                at = f->start + f->size;
                EVP_DigestFinal_ex(part, hash, NULL);
                format_digest(hash, f->digest);
        }
        if (!hash_range(s, at, s->size, NULL, whole))
                return false;
        EVP_DigestFinal_ex(whole, hash, NULL);
        format_digest(hash, s->digest);
        return true;
}

static void file_init(struct synthetic_file *f, const char *seed, unsigned index, uint64_t start,
                      uint64_t size) {
        char name[256];
        uint8_t hash[EVP_MAX_MD_SIZE] = { 0 };
        int n = snprintf(name, sizeof name, "%s/%u", seed, index);

        EVP_Digest(name, (size_t)n < sizeof name ? (size_t)n : sizeof name - 1, hash, NULL, EVP_sha256(),
                   NULL);
        memcpy(f->key, hash, sizeof f->key);
        f->start = start;
        f->size = size;
}

static struct synthetic *finish(struct synthetic *take, const char *digest) {
        _cleanup_(synthetic_freep) struct synthetic *s = take;

        if (digest)
                snprintf(s->digest, sizeof s->digest, "%s", digest);
        else if (!compute_digests(s))
                return NULL;
        if (!s->tar)
                memcpy(s->files[0].digest, s->digest, sizeof s->digest);
        return take_ptr(s);
}

static struct synthetic *allocate(bool tar, unsigned n_files) {
        _cleanup_(synthetic_freep) struct synthetic *s = calloc(1, sizeof *s);

        if (!s)
                return NULL;
        s->tar = tar;
        s->files = calloc(n_files, sizeof *s->files);
        s->n_files = n_files;
        return s->files ? take_ptr(s) : NULL;
}

struct synthetic *synthetic_new_raw(const char *seed, unsigned index, uint64_t size, bool repeats,
                                    const char *digest) {
        _cleanup_(synthetic_freep) struct synthetic *s = allocate(false, 1);

        if (!s)
                return NULL;
        file_init(&s->files[0], seed, index, 0, size);
        snprintf(s->files[0].path, sizeof s->files[0].path, "model-%05u.safetensors", index + 1);
        s->size = size;
        if (repeats && !make_pattern(s))
                return NULL;
        return finish(take_ptr(s), digest);
}

struct synthetic *synthetic_new_tar(const char *seed, unsigned n, uint64_t size, const char *digest) {
        struct synthetic *s = allocate(true, n);
        uint64_t at = 0;

        if (!s)
                return NULL;
        for (unsigned i = 0; i < n; i++) {
                struct synthetic_file *f = &s->files[i];

                file_init(f, seed, i, at + BLOCK, size);
                snprintf(f->path, sizeof f->path, "models/model-%05u.safetensors", i + 1);
                at = (f->start + size + BLOCK - 1) / BLOCK * BLOCK;
        }
        s->size = at + 2 * BLOCK;
        return finish(s, digest);
}

void synthetic_free(struct synthetic *s) {
        if (!s)
                return;
        free(s->files);
        free(s->pattern);
        free(s);
}
