/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings: what an administrator can set. One table (settings.def) names every scalar key with its type,
 * default, range and help; the YAML schema (libcyaml), the flags (--cache.root DIR), --help and the manual
 * page are made from it. Order: default, file, flags. A key that does not exist, a wrong type or an
 * impossible value is an error that names file, line and key.
 */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A size as "10%" or in bytes. Of what it is a share the user of the setting knows. */
struct settings_amount {
        uint64_t bytes;
        unsigned percent; /* if is_percent */
        bool is_percent;
};
uint64_t settings_amount_of(const struct settings_amount *a, uint64_t whole); /* in bytes */

struct settings_header {
        char *name, *value; /* the value may be a secret */
};
struct settings_registry {
        char *host;     /* "host[:port]" as in a reference */
        char **mirrors; /* URLs; NULL-ended; may be NULL */
        char *ca_file;  /* PEM; NULL: the system's */
        bool plain_http;
        uint64_t bandwidth;              /* bytes a second from this host; 0: unlimited */
        struct settings_header *headers; /* sent with every request to this host */
        size_t n_headers;
};
struct settings_warm { /* a model that this node always has */
        char *model;   /* reference */
        bool pin;
        bool required; /* a node that does not have it yet keeps its start-up taint */
};

/*
 * Texts belong to the settings; those in sections are "" where nothing is set, never NULL. Nobody writes here
 * but settings_*(); once they are checked they stay as they are, so every thread may read them.
 */
struct settings {
        struct {
                char *name; /* what kubelet calls the node */
        } node;
        struct {
                /* A unix: URL; a directory, "": do not register; the socket as kubelet sees it, "": same */
                char *endpoint, *kubelet_registration, *kubelet_path;
        } csi;
        struct {
                char *service_account; /* directory; "": do not talk to the API server */
                char *api_server;      /* URL; "": from the environment */
                char *events;          /* on | off */
                char *startup_taint;   /* key; "": none */
                char *labels;          /* none | node | nfd */
                char *nfd_dir;
        } kubernetes;
        struct {
                char *socket;
        } control;
        struct {
                char *root;
                uint64_t max_bytes; /* 0: the file system less min_free */
                /* Of the file system; the others of what the cache may use, for eviction, a later version */
                struct settings_amount min_free, high_watermark, low_watermark;
                int64_t ttl_ms; /* 0: never; for eviction as well */
        } cache;
        struct {
                uint64_t memory; /* bytes of the arena */
                unsigned connections, connections_per_host;
                uint64_t range_size;     /* bytes; whole MiB */
                uint64_t bandwidth;      /* bytes a second; 0: unlimited */
                unsigned disk_queue;     /* writes and flushes under way at once */
                unsigned decode_threads; /* of one blob; 0: the engine chooses */
                struct settings_amount warm_share;
                char *io;        /* auto | uring | posix */
                char *write;     /* auto | direct | buffered */
                char *readahead; /* auto | on | off */
        } engine;
        struct settings_registry *registries;
        size_t n_registries;
        struct {
                char *docker_config, *provider_config, *provider_bin_dir;
        } credentials;
        struct {
                char **allow;   /* globs */
                char **layouts; /* absolute directories: of volumes' layouts; none: volumes have none */
        } policy;               /* NULL-ended; may be NULL */
        struct settings_warm *warm;
        size_t n_warm;
        struct {
                char *address;
        } http;
        struct {
                char *level, *format, *debug;
        } log;
};

/* All defaults. */
int settings_new(struct settings **ret, struct error *e);
/* Once, after settings_new(). @path NULL: no file. After an error @s can only be freed. ERROR_INVALID names
 * file, line and key. */
int settings_load_file(struct settings *s, const char *path, struct error *e);
/* One flag: @key "cache.root". ERROR_INVALID names what is wrong. */
int settings_set(struct settings *s, const char *key, const char *value, struct error *e);
/* Ranges, paths and combinations, after file and flags. */
int settings_check(const struct settings *s, struct error *e);
void settings_free(struct settings *s);
DEFINE_CLEANUP(struct settings *, settings_free);

/* The entry of @host ("host[:port]", whatever its case), or NULL. */
const struct settings_registry *settings_find_registry(const struct settings *s, const char *host);

void settings_print_help(FILE *f);   /* one line a flag */
void settings_print_manual(FILE *f); /* the SETTINGS section in roff */
