/* SPDX-License-Identifier: Apache-2.0 */
/* A document that is accepted is an object which is written and read again as the same; no member upsets us.
 */
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ json_t *root = NULL, *again = NULL;
        _cleanup_free_ char *text = NULL;
        struct error e = { 0 };
        const char *key;
        json_t *value;

        if (json_parse(&root, (const char *)data, size, 1 << 20, "fuzz", &e) < 0) {
                if (e.kind != ERROR_INVALID)
                        abort();
                return 0;
        }
        json_object_foreach (root, key, value) {
                const char *s;
                uint64_t n;
                json_t *child;

                (void)json_get_string(&s, root, key, &e);
                (void)json_get_size(&n, root, key, &e);
                (void)json_get_object(&child, root, key, &e);
                (void)json_opt_array(&child, root, key, &e);
        }
        text = json_dumps(root, JSON_COMPACT);
        if (!text)
                return 0; /* a number that has no text, such as 1e400 */
        again = json_loads(text, 0, NULL);
        if (!again || !json_equal(root, again))
                abort();
        return 0;
}
