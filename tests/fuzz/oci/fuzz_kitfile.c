/* SPDX-License-Identifier: Apache-2.0 */
/* Any config that is JSON: the Kitfile made of it says the same in YAML. */
#include "oci/kitfile_yaml.h"

#include <stdint.h>

#include "base/json.h"
#include "oci/manifest.h"
#include "tests/support/yaml_reading.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_json_ json_t *config = NULL, *kitfile = NULL;
        _cleanup_free_ char *text = NULL;
        struct error e;
        size_t len;

        if (json_parse(&config, (const char *)data, size, OCI_MANIFEST_MAX, "Kitfile", &e) < 0 ||
            oci_kitfile_yaml(&text, &len, config, &e) < 0)
                return 0;
        assert(strlen(text) == len && len <= KITFILE_YAML_MAX);
        kitfile = yaml_reading_kitfile(config);
        assert(yaml_reading_same(text, len, kitfile));
        return 0;
}
