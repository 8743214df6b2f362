/* SPDX-License-Identifier: Apache-2.0 */
/* Records of layers and models: what is accepted is printed and accepted again, equal. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cache/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void layer(const char *text, size_t len) {
        struct cache_layer a, b;
        char *printed;

        if (cache_record_layer_parse(&a, text, len, NULL) < 0)
                return;
        assert(cache_record_layer_print(&printed, &a, NULL) == 0);
        assert(cache_record_layer_parse(&b, printed, strlen(printed), NULL) == 0);
        assert(digest_equal(&a.digest, &b.digest) && a.form == b.form && a.size == b.size &&
               a.bytes == b.bytes && a.files == b.files && a.is_private == b.is_private &&
               digest_equal(&a.origin, &b.origin));
        free(printed);
}

static void model(const char *text, size_t len) {
        struct cache_record *a, *b;
        json_t *json, *again;
        char *printed;

        if (cache_record_model_parse(&a, &json, text, len, NULL) < 0)
                return;
        assert(a->n_layers > 0 && a->model.reference);
        assert(cache_record_model_pin(json, !a->model.pinned, a->model.expires_ms, NULL) == 0);
        assert(cache_record_model_print(&printed, json, NULL) == 0);
        assert(cache_record_model_parse(&b, &again, printed, strlen(printed), NULL) == 0);
        assert(json_equal(json, again) && a->model.pinned != b->model.pinned && a->n_layers == b->n_layers &&
               memcmp(a->layers, b->layers, a->n_layers * sizeof *a->layers) == 0);
        cache_record_free(a);
        cache_record_free(b);
        json_decref(json);
        json_decref(again);
        free(printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        layer((const char *)data, size);
        model((const char *)data, size);
        return 0;
}
