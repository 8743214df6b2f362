/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyring: entries sorted once so that the first that matches is the best: longest path, then by name from
 * the end of the alphabet, which puts exact names before globs (Kubernetes' order).
 *
 * A key of config.json is host[:port][/path], with or without scheme and API version. It matches a repository
 * whose host has as many labels, each matching as a glob, the same port or none, and a path that starts like
 * the key's.
 *
 * Whatever holds a secret is overwritten before it is freed, the JSON tree too. Errors count entries instead
 * of quoting them.
 */
#include "oci/keyring.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "oci/base64.h"

#define CONFIG_MAX (1u << 20)
#define ENTRIES_MAX 4096u
#define HUB "docker.io"
#define HUB_INDEX "index.docker.io"
#define TOKEN_USER "<token>" /* Docker's sign for "the password is an identity token" */

struct entry {
        bool any;   /* for whatever registry the request is about */
        char *host; /* with port, lower case, globs; not NULL */
        char *path; /* "" or "/team/…" */
        struct oci_credential credential;
};

struct oci_keyring {
        atomic_uint owners;
        struct entry *entries;
        size_t n;
};

/* ---- secrets ---- */

static void wipe_text(char *s) {
        if (s)
                explicit_bzero(s, strlen(s));
        free(s);
}

static void wipe_json(json_t *value) {
        const char *key;
        json_t *member;
        size_t i;

        if (json_is_string(value))
                explicit_bzero((char *)json_string_value(value), json_string_length(value));
        json_object_foreach (value, key, member) {
                wipe_json(member);
        }
        json_array_foreach (value, i, member) {
                wipe_json(member);
        }
}

static void wipe_document(json_t **value) {
        if (*value)
                wipe_json(*value);
        json_decref(*value);
}

static void wipe_textp(char **s) {
        wipe_text(*s);
}

/* Keeps a copy of @secret; NULL and "" are none. */
static int keep_secret(char **to, const char *secret) {
        if (!secret || !*secret)
                return 0;
        log_redact(secret);
        *to = strdup(secret);
        return *to ? 0 : -ENOMEM;
}

static void entry_done(struct entry *x) {
        free(x->host);
        free(x->path);
        free(x->credential.username);
        wipe_text(x->credential.password);
        wipe_text(x->credential.identity_token);
        wipe_text(x->credential.registry_token);
}

/* ---- config.json ---- */

static bool is_hub(const char *host) {
        return strcmp(host, HUB) == 0 || strcmp(host, HUB_INDEX) == 0 ||
               strcmp(host, "registry-1.docker.io") == 0;
}

/* The key without scheme, API version and slashes at the end, split into host and path. */
static int read_key(struct entry *x, const char *key) {
        if (text_starts_with(key, "https://"))
                key += strlen("https://");
        else if (text_starts_with(key, "http://"))
                key += strlen("http://");
        size_t n = strcspn(key, "/");
        const char *path = key + n;
        bool has_version = text_starts_with(path, "/v1") || text_starts_with(path, "/v2");
        if (has_version && (path[3] == '/' || path[3] == '\0'))
                path += 3;
        if (n == 0)
                return -EINVAL;
        x->host = strndup(key, n);
        x->path = strdup(path);
        if (!x->host || !x->path)
                return -ENOMEM;
        for (size_t len = strlen(x->path); len > 0 && x->path[len - 1] == '/'; len--)
                x->path[len - 1] = '\0';
        for (char *c = x->host; *c; c++)
                *c = (char)tolower((unsigned char)*c);
        if (is_hub(x->host))
                memcpy(x->host, HUB, sizeof HUB); /* the shortest of its names */
        return 0;
}

/* "auth": base64 of user:password; Docker lets NULs follow. */
static int read_auth(struct entry *x, const char *auth) {
        _cleanup_(wipe_textp) char *pair = NULL;
        size_t len;

        log_redact(auth);
        int r = oci_base64_decode(&pair, &len, auth);
        if (r < 0)
                return r;
        while (len > 0 && pair[len - 1] == '\0')
                len--;
        char *colon = memchr(pair, ':', len);
        if (!colon || strlen(pair) != len)
                return -EINVAL;
        x->credential.username = strndup(pair, (size_t)(colon - pair));
        return x->credential.username ? keep_secret(&x->credential.password, colon + 1) : -ENOMEM;
}

/* "auth" wins over "username" and "password". */
static int read_pair(struct entry *x, const json_t *value) {
        const char *auth, *username, *password;

        if (json_opt_string(&auth, value, "auth", "", NULL) < 0 ||
            json_opt_string(&username, value, "username", "", NULL) < 0 ||
            json_opt_string(&password, value, "password", "", NULL) < 0)
                return -EINVAL;
        if (*auth)
                return read_auth(x, auth);
        if (!*username)
                return 0;
        x->credential.username = strdup(username);
        return x->credential.username ? keep_secret(&x->credential.password, password) : -ENOMEM;
}

static int read_entry(struct entry *x, const char *key, const json_t *value) {
        struct oci_credential *c = &x->credential;
        const char *identity, *registry;

        if (!json_is_object(value) || json_opt_string(&identity, value, "identitytoken", "", NULL) < 0 ||
            json_opt_string(&registry, value, "registrytoken", "", NULL) < 0)
                return -EINVAL;
        int r = read_key(x, key);
        if (r >= 0)
                r = read_pair(x, value);
        if (r >= 0)
                r = keep_secret(&c->identity_token, identity);
        if (r >= 0)
                r = keep_secret(&c->registry_token, registry);
        if (r >= 0 && c->username && strcmp(c->username, TOKEN_USER) == 0 && !c->identity_token)
                c->identity_token = take_ptr(c->password);
        return r;
}

static bool is_usable(const struct oci_credential *c) {
        return (c->username && c->password) || c->identity_token || c->registry_token;
}

/* Longest path first, then from the end of the alphabet; see the head of the file. */
static int compare_entries(const void *pa, const void *pb) {
        const struct entry *a = pa, *b = pb;
        size_t la = strlen(a->path), lb = strlen(b->path);

        if (la != lb)
                return la < lb ? 1 : -1;
        int c = strcmp(b->host, a->host);
        return c ? c : strcmp(b->path, a->path);
}

/* @auths maps keys to entries. @strict: everything in it is meant to be one (not so in a .dockercfg-like
 * document). */
static int read_entries(struct oci_keyring *k, json_t *auths, bool strict, struct error *e) {
        const char *key;
        size_t number = 0;
        json_t *value;

        if (json_object_size(auths) > ENTRIES_MAX)
                return error_set(e, ERROR_INVALID, "it has more than %u registries", ENTRIES_MAX);
        k->entries = calloc(json_object_size(auths) + 1, sizeof *k->entries);
        if (!k->entries)
                return error_errno(e, ENOMEM, "cannot keep credentials");
        json_object_foreach (auths, key, value) {
                number++;
                if (!strict && !json_is_object(value))
                        continue;
                struct entry *x = &k->entries[k->n];
                int r = read_entry(x, key, value);
                if (r >= 0 && is_usable(&x->credential)) {
                        k->n++;
                        continue;
                }
                entry_done(x);
                *x = (struct entry){ 0 };
                if (r == -ENOMEM)
                        return error_errno(e, ENOMEM, "cannot keep credentials");
                if (r < 0)
                        return error_set(
                            e, ERROR_INVALID,
                            "registry %zu of its list is malformed (auth has to be base64 of user:password)",
                            number);
        }
        qsort(k->entries, k->n, sizeof *k->entries, compare_entries);
        return 0;
}

static struct oci_keyring *keyring_new(void) {
        struct oci_keyring *k = calloc(1, sizeof *k);

        if (k)
                atomic_init(&k->owners, 1);
        return k;
}

int oci_keyring_parse(struct oci_keyring **ret, const char *json, size_t len, struct error *e) {
        _cleanup_(oci_keyring_freep) struct oci_keyring *k = keyring_new();
        _cleanup_(wipe_document) json_t *document = NULL;

        if (!k)
                return error_errno(e, ENOMEM, "cannot keep credentials");
        /* The parser's own message would quote what it stumbled over. */
        if (json_parse(&document, json, len, CONFIG_MAX, "docker config", NULL) < 0)
                return error_set(e, ERROR_INVALID,
                                 "the docker config is not a JSON object, or longer than %u bytes",
                                 CONFIG_MAX);
        json_t *auths = json_object_get(document, "auths");
        if (auths && !json_is_object(auths))
                return error_set(e, ERROR_INVALID, "auths of the docker config is not an object");
        /* Without "auths" it is the older .dockercfg, or a config that only has helpers. */
        int r = read_entries(k, auths ? auths : document, auths != NULL, e);
        if (r < 0)
                return error_wrap(e, "docker config");
        *ret = take_ptr(k);
        return 0;
}

/* Read as a path of the administrator's: a mounted secret is a symbolic link. */
static int read_config(char *data, size_t *ret_len, const char *path, struct error *e) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        struct stat st;
        size_t len = 0;

        if (fd < 0 && errno == ENOENT)
                return error_set(e, ERROR_NOT_FOUND, "there is no docker config at %s", path);
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_errno(e, errno, "cannot open the docker config %s", path);
        if (!S_ISREG(st.st_mode))
                return error_set(e, ERROR_INVALID, "the docker config %s is not a regular file", path);
        for (;;) {
                ssize_t n = read(fd, data + len, CONFIG_MAX + 1 - len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(e, errno, "cannot read the docker config %s", path);
                if (n == 0)
                        break;
                len += (size_t)n;
        }
        *ret_len = len;
        return 0;
}

int oci_keyring_load(struct oci_keyring **ret, const char *path, struct error *e) {
        _cleanup_free_ char *data =
            malloc(CONFIG_MAX + 1); /* a byte more than is allowed shows that it is too long */
        size_t len = 0;

        if (!data)
                return error_errno(e, ENOMEM, "cannot read the docker config %s", path);
        int r = read_config(data, &len, path, e);
        if (r < 0)
                return r;
        r = oci_keyring_parse(ret, data, len, e);
        explicit_bzero(data, len);
        return r < 0 ? error_wrap(e, "%s", path) : 0;
}

int oci_keyring_single(struct oci_keyring **ret, const char *username, const char *password,
                       struct error *e) {
        _cleanup_(oci_keyring_freep) struct oci_keyring *k = keyring_new();

        if (!k || !(k->entries = calloc(1, sizeof *k->entries)))
                return error_errno(e, ENOMEM, "cannot keep credentials");
        struct entry *x = &k->entries[k->n++];
        x->any = true;
        x->host = strdup("");
        x->path = strdup("");
        x->credential.username = strdup(username);
        if (!x->host || !x->path || !x->credential.username ||
            keep_secret(&x->credential.password, password) < 0)
                return error_errno(e, ENOMEM, "cannot keep credentials");
        *ret = take_ptr(k);
        return 0;
}

struct oci_keyring *oci_keyring_ref(const struct oci_keyring *k) {
        struct oci_keyring *shared = (struct oci_keyring *)k; /* only the count of owners ever changes */

        if (shared)
                atomic_fetch_add(&shared->owners, 1);
        return shared;
}

void oci_keyring_free(struct oci_keyring *k) {
        if (!k || atomic_fetch_sub(&k->owners, 1) > 1)
                return;
        for (size_t i = 0; i < k->n; i++)
                entry_done(&k->entries[i]);
        free(k->entries);
        free(k);
}

bool oci_keyring_is_single(const struct oci_keyring *k) {
        return k && k->n == 1 && k->entries[0].any;
}

/* ---- matching ---- */

/* Labels, one by one; @pattern's are globs, ports are compared as they are. */
static bool host_matches(const char *pattern, const char *host) {
        if (strcmp(pattern, host) == 0) /* an IPv6 address, for one, has no labels */
                return true;
        for (;;) {
                size_t np = strcspn(pattern, ".:"), nh = strcspn(host, ".:");
                char glob[256], label[256];
                if (np >= sizeof glob || nh >= sizeof label || pattern[np] != host[nh])
                        return false;
                memcpy(glob, pattern, np);
                memcpy(label, host, nh);
                glob[np] = label[nh] = '\0';
                if (!text_glob(glob, label))
                        return false;
                if (host[nh] == '\0')
                        return true;
                if (host[nh] == ':')
                        return strcmp(pattern + np, host + nh) == 0;
                pattern += np + 1;
                host += nh + 1;
        }
}

static bool entry_matches(const struct entry *x, const char *host, const char *repository) {
        if (x->any)
                return true;
        if (!host_matches(x->host, host) && !(is_hub(host) && host_matches(x->host, HUB_INDEX)))
                return false;
        return !*x->path || text_starts_with(repository, x->path + 1);
}

const struct oci_credential *oci_keyring_find(const struct oci_keyring *k, const char *host,
                                              const char *repository, size_t n) {
        if (k && is_hub(host))
                host = HUB;
        for (size_t i = 0; k && i < k->n; i++)
                if (entry_matches(&k->entries[i], host, repository) && n-- == 0)
                        return &k->entries[i].credential;
        return NULL;
}

/* ---- fingerprint ---- */

/* NULL and "" are told apart, and no two texts run into each other. */
static int feed(struct digest_stream *d, const char *s) {
        uint64_t len = s ? strlen(s) + 1 : 0;

        int r = digest_stream_update(d, &len, sizeof len);
        return r < 0 || !s ? r : digest_stream_update(d, s, len);
}

static int feed_entry(struct digest_stream *d, const struct entry *x) {
        const struct oci_credential *c = &x->credential;
        const char *const texts[] = { x->any ? "any" : NULL, x->host,           x->path,          c->username,
                                      c->password,           c->identity_token, c->registry_token };

        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                int r = feed(d, texts[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

void oci_keyring_fingerprint(struct digest *ret, const struct oci_keyring *k) {
        _cleanup_(digest_stream_freep) struct digest_stream *d = NULL;

        *ret = (struct digest){ 0 };
        if (!k)
                return;
        int r = digest_stream_new(&d);
        for (size_t i = 0; r >= 0 && i < k->n; i++)
                r = feed_entry(d, &k->entries[i]);
        if (r < 0 || digest_stream_final(d, ret) < 0)
                memcpy(ret->bytes, &k, sizeof k); /* no memory: equal to itself at least, and to no other */
}
