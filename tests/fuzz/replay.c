/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over the files named on the command line: the corpus as a regression test, with any
 * compiler. Linked instead of libFuzzer's main() when FUZZ is off. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char *argv[]) {
        static uint8_t data[1 << 20];

        for (int i = 1; i < argc; i++) {
                FILE *f = fopen(argv[i], "rb");
                if (!f) {
                        perror(argv[i]);
                        return EXIT_FAILURE;
                }
                size_t n = fread(data, 1, sizeof data, f);
                fclose(f);
                uint8_t *exact = malloc(n ? n : 1); /* so that ASan sees the true end */
                if (!exact)
                        return EXIT_FAILURE;
                memcpy(exact, data, n);
                LLVMFuzzerTestOneInput(exact, n);
                free(exact);
        }
        printf("%d inputs\n", argc - 1);
        return argc > 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
