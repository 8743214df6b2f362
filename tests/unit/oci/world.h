/* SPDX-License-Identifier: Apache-2.0 */
/* world: a client whose settings name scripted servers as plain-HTTP registries. */
#pragma once

#include "oci/blob.h"
#include "tests/unit/oci/scripted_server.h"
#include "tests/unit/test.h"

#define WORLD_REGISTRIES_MAX 4

struct world {
        struct settings settings;
        struct settings_registry registries[WORLD_REGISTRIES_MAX];
        struct oci_client *client;
        struct error e;
};

static inline struct settings_registry *world_add(struct world *w, const char *host, bool plain_http) {
        struct settings_registry *r = &w->registries[w->settings.n_registries++];

        w->settings.registries = w->registries;
        *r = (struct settings_registry){ .host = (char *)host, .plain_http = plain_http };
        return r;
}

static inline void world_begin(struct world *w) {
        assert_int_equal(oci_client_new(&w->client, &w->settings, &w->e), 0);
}

static inline void world_end(struct world *w) {
        oci_client_free(w->client);
}

static inline struct oci_reference *world_reference(const char *host, const char *rest) {
        struct oci_reference *r = NULL;
        struct error e = { 0 };
        char text[512];

        snprintf(text, sizeof text, "%s/%s", host, rest);
        if (oci_reference_parse(&r, text, &e) < 0)
                fail_msg("%s: %s", text, e.text);
        return r;
}

/* Resolves host/rest with @keyring; returns the result and leaves the error in w->e. */
static inline int world_resolve(struct digest *ret, bool *ret_private, struct world *w, const char *host,
                                const char *rest, const struct oci_keyring *keyring) {
        struct oci_reference *ref = world_reference(host, rest);
        struct oci_request q = { .reference = ref, .keyring = keyring };
        int r;

        w->e = (struct error){ 0 };
        r = oci_resolve(ret, ret_private, w->client, &q, &w->e);
        oci_reference_free(ref);
        return r;
}
