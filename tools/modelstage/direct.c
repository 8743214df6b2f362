/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings are the daemon's, so that --config can be its file: registries, mirrors, certificates, engine.
 * What the command line says about the one registry of the reference is put on top of it. Nothing is written,
 * nothing listens.
 */
#include "tools/modelstage/direct.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "tools/modelstage/cli.h"

/* The entry of @host, made if the configuration file has none. */
static struct settings_registry *registry_of(struct settings *s, const char *host) {
        const struct settings_registry *found = settings_find_registry(s, host);

        if (found)
                return &s->registries[found - s->registries];
        s->registries = cli_must(reallocarray(s->registries, s->n_registries + 1, sizeof *s->registries));
        s->registries[s->n_registries] = (struct settings_registry){ .host = cli_strdup(host) };
        return &s->registries[s->n_registries++];
}

static int read_settings(struct direct *d, const struct args *a, struct error *e) {
        int r;

        if ((r = settings_new(&d->settings, e)) < 0 ||
            (a->config && (r = settings_load_file(d->settings, a->config, e)) < 0))
                return r;
        if (d->reference->is_layout || !(a->ca_file || args_has(a, ARG_BIT(PLAIN_HTTP))))
                return 0;
        struct settings_registry *registry = registry_of(d->settings, d->reference->host);
        registry->plain_http = registry->plain_http || args_has(a, ARG_BIT(PLAIN_HTTP));
        if (a->ca_file) {
                free(registry->ca_file);
                registry->ca_file = realpath(a->ca_file, NULL);
                if (!registry->ca_file)
                        return error_errno(e, errno, "--ca-file %s", a->ca_file);
        }
        return 0;
}

/* --docker-config, else what docker login has left, if it has. */
static int read_keyring(struct direct *d, const struct args *a, struct error *e) {
        const char *dir = getenv("DOCKER_CONFIG"), *home = getenv("HOME");
        _cleanup_free_ char *path = NULL;
        int n = 0;

        if (a->docker_config)
                path = cli_strdup(a->docker_config);
        else if (dir && *dir)
                n = asprintf(&path, "%s/config.json", dir);
        else if (home && *home)
                n = asprintf(&path, "%s/.docker/config.json", home);
        if (n < 0)
                cli_out_of_memory();
        if (!path || (!a->docker_config && access(path, R_OK) < 0))
                return 0;
        return oci_keyring_load(&d->keyring, path, e);
}

int direct_open(struct direct *ret, const struct args *a) {
        struct error e = { 0 };

        *ret = (struct direct){ 0 };
        if (oci_reference_parse(&ret->reference, a->operands[0], &e) < 0 ||
            ((a->root || a->platform || a->n_include || a->n_exclude) &&
             oci_selection_new(&ret->selection, a->root, a->include, a->exclude, a->platform, &e) < 0)) {
                cli_fail(&e);
                return CLI_USAGE;
        }
        if (read_settings(ret, a, &e) < 0 || read_keyring(ret, a, &e) < 0)
                return cli_fail(&e);
        /* What the rooms below have to log (a fallback, a retry) is nothing that a caller of this program
         * acts on. */
        (void)log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, NULL);
        ret->curl = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
        return CLI_DONE;
}

void direct_close(struct direct *d) {
        settings_free(d->settings);
        oci_keyring_free(d->keyring);
        oci_selection_free(d->selection);
        oci_reference_free(d->reference);
        if (d->curl)
                curl_global_cleanup();
        *d = (struct direct){ 0 };
}
