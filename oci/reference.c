/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reference: taken apart from the right, because only the end is unambiguous: the digest behind the last '@',
 * the tag behind the last ':' after the last '/', then host and repository at the first '/'.
 *
 *   [oci://] registry.example.com:5000 / models/llama : 1 @ sha256:...
 *                   take_name()                  take_tag()  take_digest()
 *   oci-layout: /mnt/models : 1
 *               take_directory()
 *
 * What is left is checked against the grammar of distribution's reference package, byte by byte; nothing here
 * looks anything up. A first component is a host if it has a dot or a port or is "localhost"; otherwise the
 * host is Docker Hub. Errors quote the reference, but not one that has a user in it, who may have a password.
 */
#include "oci/reference.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/path.h"
#include "base/text.h"

#define HUB_HOST "docker.io"
#define HUB_ALIAS "index.docker.io"
#define HUB_LIBRARY "library/"
#define NAME_MAX_LEN 255u /* host and repository together, as other clients have it */
#define HOST_LABEL_MAX 63u
#define TAG_MAX_LEN 128u

static bool is_lower_alnum(char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c) {
        return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* [A-Za-z0-9_][A-Za-z0-9_.-]{0,127} */
static bool tag_is_valid(const char *s) {
        size_t n = strlen(s);

        if (n == 0 || n > TAG_MAX_LEN || s[0] == '.' || s[0] == '-')
                return false;
        for (; *s; s++)
                if (!is_alnum(*s) && !strchr("_.-", *s))
                        return false;
        return true;
}

/* How much of @s separates two runs of letters in a repository's component: one of ".", "_", "__", "-"+. */
static size_t separator_length(const char *s) {
        if (s[0] == '.')
                return 1;
        if (s[0] == '_')
                return s[1] == '_' ? 2 : 1;
        return strspn(s, "-");
}

/* Components of runs of lower-case letters and digits; every separator, '/' too, stands between two runs. */
static bool repository_is_valid(const char *s) {
        for (;;) {
                if (!is_lower_alnum(*s))
                        return false;
                while (is_lower_alnum(*s))
                        s++;
                if (*s == '\0')
                        return true;
                size_t n = *s == '/' ? 1 : separator_length(s);
                if (n == 0)
                        return false;
                s += n;
        }
}

/* One part of a host name, between dots (RFC 1123). */
static bool label_is_valid(const char *s, size_t n) {
        if (n == 0 || n > HOST_LABEL_MAX || s[0] == '-' || s[n - 1] == '-')
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_alnum(s[i]) && s[i] != '-')
                        return false;
        return true;
}

static bool port_is_valid(const char *s) {
        size_t n = strspn(s, "0123456789");

        return n > 0 && n <= 5 && s[n] == '\0' && s[0] != '0' && strtoul(s, NULL, 10) <= 65535;
}

/* Name or address, and a port. Whether an address in brackets is one, the resolver will say. */
static bool host_is_valid(const char *s) {
        if (*s == '[') {
                size_t n = strspn(s + 1, "0123456789abcdefABCDEF:.");
                if (n < 2 || s[n + 1] != ']')
                        return false;
                s += n + 2;
                return *s == '\0' || (*s == ':' && port_is_valid(s + 1));
        }
        for (;;) {
                size_t n = strcspn(s, ".:");
                if (!label_is_valid(s, n))
                        return false;
                s += n;
                if (*s == '\0')
                        return true;
                if (*s++ == ':')
                        return port_is_valid(s);
        }
}

/* Docker's rule. */
static bool looks_like_host(const char *s) {
        return strpbrk(s, ".:") || strcasecmp(s, "localhost") == 0;
}

/* ---- the parts, cut off from the right; @text is ours and loses them ---- */

static int take_digest(struct oci_reference *r, char *text, struct error *e) {
        char *at = strrchr(text, '@');

        /* A directory may have an '@' in its name: "/@home/models". */
        if (!at || (r->is_layout && strchr(at, '/')))
                return 0;
        int k = digest_parse(&r->digest, at + 1, strlen(at + 1));
        if (k == -EOPNOTSUPP)
                return error_set(e, ERROR_INVALID,
                                 "the digest after '@' is not a SHA-256, which is all we know");
        if (k < 0)
                return error_set(e, ERROR_INVALID,
                                 "what follows '@' is not a digest, write sha256: and 64 hex digits");
        r->has_digest = true;
        *at = '\0';
        return 0;
}

static int take_tag(struct oci_reference *r, char *text, struct error *e) {
        char *slash = strrchr(text, '/'), *colon = strrchr(slash ? slash : text, ':');

        if (!colon)
                return 0;
        if (!tag_is_valid(colon + 1))
                return error_set(e, ERROR_INVALID,
                                 "the tag \"%s\" has characters that no tag may have or is too long",
                                 colon + 1);
        r->tag = strdup(colon + 1);
        if (!r->tag)
                return error_errno(e, ENOMEM, "cannot keep the reference");
        *colon = '\0';
        return 0;
}

/* Splits "host/repository" by Docker's rules and makes the short forms long. */
static int take_name(struct oci_reference *r, char *name, struct error *e) {
        char *slash = strchr(name, '/');
        const char *host = HUB_HOST, *repository = name;

        if (slash) {
                *slash = '\0';
                if (looks_like_host(name)) {
                        host = name;
                        repository = slash + 1;
                } else {
                        *slash = '/';
                }
        }
        if (!host_is_valid(host))
                return error_set(e, ERROR_INVALID, "\"%s\" is not a host with an optional port", host);
        r->host = strdup(strcasecmp(host, HUB_ALIAS) == 0 ? HUB_HOST : host);
        if (!r->host)
                return error_errno(e, ENOMEM, "cannot keep the reference");
        for (char *c = r->host; *c; c++)
                *c = (char)tolower((unsigned char)*c);
        bool is_short = strcmp(r->host, HUB_HOST) == 0 && !strchr(repository, '/');
        if (asprintf(&r->repository, "%s%s", is_short ? HUB_LIBRARY : "", repository) < 0) {
                r->repository = NULL;
                return error_errno(e, ENOMEM, "cannot keep the reference");
        }
        if (!repository_is_valid(repository))
                return error_set(
                    e, ERROR_INVALID,
                    "\"%s\" is not a repository name: lower-case letters, digits and single separators",
                    repository);
        if (strlen(r->host) + 1 + strlen(r->repository) > NAME_MAX_LEN)
                return error_set(e, ERROR_INVALID, "host and repository are longer than %u characters",
                                 NAME_MAX_LEN);
        return 0;
}

static int take_directory(struct oci_reference *r, const char *dir, struct error *e) {
        _cleanup_free_ char *clean = NULL;

        if (dir[0] != '/')
                return error_set(e, ERROR_INVALID, "the directory of an OCI layout has to be absolute");
        int k = path_clean(&clean, dir + strspn(dir, "/"), e);
        if (k < 0)
                return k;
        /* Its canonical text, without a slash at the end, would be read as a tag or a digest. */
        if (strpbrk(path_base(clean), ":@"))
                return error_set(e, ERROR_INVALID,
                                 "the name of an OCI layout's directory has ':' or '@' in it, rename it");
        if (asprintf(&r->repository, "/%s", clean) < 0) {
                r->repository = NULL;
                return error_errno(e, ENOMEM, "cannot keep the reference");
        }
        return 0;
}

static int take_layout(struct oci_reference *r, char *text, struct error *e) {
        int k = take_digest(r, text, e);
        if (k < 0)
                return k;
        k = take_tag(r, text, e);
        if (k < 0)
                return k;
        if (r->has_digest && r->tag)
                return error_set(e, ERROR_INVALID, "an OCI layout takes a tag or a digest, not both");
        return take_directory(r, text, e);
}

static int take_registry(struct oci_reference *r, char *text, struct error *e) {
        if (strstr(text, "://"))
                return error_set(e, ERROR_INVALID, "write it without a URL scheme: host/repository:tag");
        int k = take_digest(r, text, e);
        if (k < 0)
                return k;
        k = take_tag(r, text, e);
        if (k < 0)
                return k;
        k = take_name(r, text, e);
        if (k < 0)
                return k;
        if (!r->tag && !r->has_digest && !(r->tag = strdup("latest")))
                return error_errno(e, ENOMEM, "cannot keep the reference");
        return 0;
}

/* The canonical text, or with @digest (may be NULL) in place of tag and digest. */
static char *compose(const struct oci_reference *r, const struct digest *digest) {
        char hash[DIGEST_TEXT_SIZE] = "", *text;
        const char *tag = digest ? NULL : r->tag;

        if (digest || r->has_digest)
                digest_format(digest ? digest : &r->digest, hash);
        int n =
            asprintf(&text, "%s%s%s%s%s%s%s", r->is_layout ? "oci-layout:" : r->host, r->is_layout ? "" : "/",
                     r->repository, tag ? ":" : "", tag ? tag : "", hash[0] ? "@" : "", hash);
        return n < 0 ? NULL : text;
}

/* "user:password@host/…", with or without a URL scheme. */
static bool names_a_user(const char *text) {
        const char *scheme = strstr(text, "://"), *host = scheme ? scheme + 3 : text, *at = strchr(host, '@');

        if (!at)
                return false;
        return strchr(at, '/') ? (size_t)(at - host) < strcspn(host, "/")
                               : at[1] && !text_starts_with(at + 1, "sha");
}

/* KServe's addresses name a way to get there ("oci+native://") or who is to do it ("modelstage://"). */
static size_t scheme_length(const char *text) {
        static const char oci_plus[] = "oci+";
        size_t n;

        if (text_starts_with(text, "oci://"))
                return strlen("oci://");
        if (text_starts_with(text, "modelstage://"))
                return strlen("modelstage://");
        if (!text_starts_with(text, oci_plus))
                return 0;
        n = strlen(oci_plus) + strspn(text + strlen(oci_plus), "abcdefghijklmnopqrstuvwxyz0123456789-");
        return n > strlen(oci_plus) && text_starts_with(text + n, "://") ? n + strlen("://") : 0;
}

int oci_reference_parse(struct oci_reference **ret, const char *text, struct error *e) {
        _cleanup_(oci_reference_freep) struct oci_reference *r = calloc(1, sizeof *r);
        _cleanup_free_ char *copy = NULL;

        if (strlen(text) > OCI_REFERENCE_MAX)
                return error_set(e, ERROR_INVALID, "the model reference is longer than %d bytes",
                                 OCI_REFERENCE_MAX);
        if (!text_is_utf8(text, strlen(text)))
                return error_set(e, ERROR_INVALID, "the model reference is not UTF-8");
        bool is_layout = text_starts_with(text, "oci-layout:");
        copy = strdup(text + (is_layout ? strlen("oci-layout:") : scheme_length(text)));
        if (!r || !copy)
                return error_errno(e, ENOMEM, "cannot keep the reference");
        r->is_layout = is_layout;
        if (!is_layout && names_a_user(copy)) /* not quoted: there may be a password in it */
                return error_set(
                    e, ERROR_INVALID,
                    "a user or password does not belong into a model reference: use a pull secret "
                    "or a Docker config.json");
        int k = copy[0] == '\0' ? error_set(e, ERROR_INVALID, "nothing is named")
                : is_layout     ? take_layout(r, copy, e)
                                : take_registry(r, copy, e);
        if (k < 0)
                return error_wrap(e, "model reference \"%s\"", text);
        r->text = compose(r, NULL);
        if (!r->text)
                return error_errno(e, ENOMEM, "cannot keep the reference");
        *ret = take_ptr(r);
        return 0;
}

static bool copy_text(char **ret, const char *s) {
        *ret = s ? strdup(s) : NULL;
        return !s || *ret;
}

int oci_reference_copy(struct oci_reference **ret, const struct oci_reference *r) {
        _cleanup_(oci_reference_freep) struct oci_reference *c = calloc(1, sizeof *c);

        if (!c)
                return -ENOMEM;
        c->is_layout = r->is_layout;
        c->has_digest = r->has_digest;
        c->digest = r->digest;
        if (!copy_text(&c->host, r->host) || !copy_text(&c->repository, r->repository) ||
            !copy_text(&c->tag, r->tag) || !copy_text(&c->text, r->text))
                return -ENOMEM;
        *ret = take_ptr(c);
        return 0;
}

void oci_reference_free(struct oci_reference *r) {
        if (!r)
                return;
        free(r->host);
        free(r->repository);
        free(r->tag);
        free(r->text);
        free(r);
}

bool oci_reference_matches(const struct oci_reference *r, char *const *globs) {
        char bare[OCI_REFERENCE_MAX + 16]; /* a short name has grown by Docker's rules */

        snprintf(bare, sizeof bare, "%s%s%s", r->is_layout ? "oci-layout:" : r->host, r->is_layout ? "" : "/",
                 r->repository);
        for (size_t i = 0; globs[i]; i++)
                if (text_glob_is_whole(globs[i]) &&
                    (text_glob(globs[i], r->text) || text_glob(globs[i], bare)))
                        return true;
        return false;
}

bool oci_reference_wants_always(const struct oci_reference *r) {
        return !r->has_digest && (!r->tag || strcmp(r->tag, "latest") == 0);
}

char *oci_reference_pinned(const struct oci_reference *r, const struct digest *digest) {
        return compose(r, digest);
}

int oci_reference_origin(struct digest *ret, const struct oci_reference *r) {
        _cleanup_free_ char *name = NULL;
        int n = asprintf(&name, "%s/%s", r->is_layout ? "oci-layout:" : r->host, r->repository);

        return n < 0 ? -ENOMEM : digest_of(ret, name, (size_t)n);
}
