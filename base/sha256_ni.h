/* SPDX-License-Identifier: Apache-2.0 */
/* sha256_ni: whole blocks of one stream or of two, by SHA-NI. Internal to sha256. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool sha256_ni_works(void); /* has the CPU got it? The others must not be called if not */
void sha256_ni_one(uint32_t h[static 8], const uint8_t *data, size_t blocks);
void sha256_ni_two(uint32_t ha[static 8], const uint8_t *data_a, uint32_t hb[static 8], const uint8_t *data_b,
                   size_t blocks);
