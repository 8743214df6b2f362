/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench_content: the bytes of models for the benchmark, the same for the same seed on every machine.
 *
 *   bench_content random|bf16 SEED BYTES     to standard output
 *
 * random does not compress at all. bf16 compresses as a checkpoint does: weights are normal, each row of a matrix has a scale of
 * its own, and bfloat16 keeps sign, exponent and seven bits, so that the mantissa is noise and the exponent is not. The normal
 * values come from a table, because drawing them one by one would take longer than everything else.
 */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK (1u << 20) /* bytes written at once */
#define ROW 4096u        /* weights of one scale */
#define TABLE (1u << 16) /* normal values */

struct noise { /* xorshift128+ */
        uint64_t a, b;
};

static uint64_t noise_next(struct noise *n) {
        uint64_t a = n->a, b = n->b;

        n->a = b;
        a ^= a << 23;
        n->b = a ^ b ^ (a >> 17) ^ (b >> 26);
        return n->b + b;
}

/* Above 0, at most 1. */
static double noise_fraction(struct noise *n) {
        return (double)((noise_next(n) >> 11) + 1) / 9007199254740992.0;
}

static void fill_random(struct noise *n, uint8_t *buf) {
        for (size_t i = 0; i < CHUNK; i += 8) {
                uint64_t v = noise_next(n);

                memcpy(buf + i, &v, 8);
        }
}

/* To the nearest, ties to even. */
static uint16_t to_bf16(float value) {
        uint32_t bits;

        memcpy(&bits, &value, 4);
        return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static void fill_bf16(struct noise *n, const float *table, uint8_t *buf) {
        float scale = 0;
        uint64_t v = 0;

        for (size_t i = 0; i < CHUNK / 2; i++) {
                if (i % ROW == 0)
                        scale = (float)(0.02 * (0.5 + noise_fraction(n)));
                v = i % 4 == 0 ? noise_next(n) : v >> 16;
                uint16_t w = to_bf16(table[v % TABLE] * scale);

                memcpy(buf + 2 * i, &w, 2);
        }
}

static float *make_table(struct noise *n) {
        float *table = calloc(TABLE, sizeof *table);

        for (size_t i = 0; table && i < TABLE; i++)
                table[i] = (float)(sqrt(-2 * log(noise_fraction(n))) * cos(2 * M_PI * noise_fraction(n)));
        return table;
}

int main(int argc, char *argv[]) {
        struct noise n = { .a = 0x9e3779b97f4a7c15, .b = 0xd1b54a32d192ed03 };
        static uint8_t buf[CHUNK];

        if (argc != 4) {
                fprintf(stderr, "usage: %s random|bf16 SEED BYTES\n", argv[0]);
                return 2;
        }
        n.a ^= strtoull(argv[2], NULL, 10) * 0xbf58476d1ce4e5b9;
        for (unsigned i = 0; i < 16; i++)
                noise_next(&n);
        uint64_t left = strtoull(argv[3], NULL, 10);
        float *table = strcmp(argv[1], "bf16") == 0 ? make_table(&n) : NULL;

        while (left > 0) {
                size_t len = left < CHUNK ? (size_t)left : CHUNK;

                if (table)
                        fill_bf16(&n, table, buf);
                else
                        fill_random(&n, buf);
                if (fwrite(buf, 1, len, stdout) != len) {
                        perror("bench_content");
                        return EXIT_FAILURE;
                }
                left -= len;
        }
        free(table);
        return EXIT_SUCCESS;
}
