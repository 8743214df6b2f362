/* SPDX-License-Identifier: Apache-2.0 */
/*
 * challenge: a header is a list of challenges, each of them a scheme and a list of parameters, and both lists
 * have commas between their items:
 *
 *   Bearer realm="https://auth.example/token",service="registry",scope="...", Basic realm="registry"
 *
 * So only the next token tells which of the two lists goes on: one followed by '=' is a parameter, one
 * followed by anything else opens a challenge. Of Bearer the first challenge counts, and of its parameters
 * the first of each name. A header that cannot be understood changes nothing.
 */
#include "oci/challenge.h"

#include <string.h>
#include <strings.h>

#define TOKEN "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define TOKEN68 "-._~+/0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define BLANK " \t"

struct parser {
        const char *s; /* what is left of the header */
        struct oci_challenge *to;
        bool in_bearer; /* parameters that come now are the first Bearer challenge's */
};

static void skip_blanks(struct parser *p) {
        p->s += strspn(p->s, BLANK);
}

/* Credentials without name that some schemes carry ("Negotiate YII="); skips them if they stand there. */
static void skip_token68(struct parser *p) {
        const char *end = p->s + strspn(p->s, TOKEN68);

        if (end == p->s)
                return;
        end += strspn(end, "=");
        end += strspn(end, BLANK);
        if (*end == ',' || *end == '\0')
                p->s = end;
}

static int take_quoted(struct parser *p, char **ret, struct error *e) {
        const char *s = p->s + 1;
        size_t n = 0;

        _cleanup_free_ char *value = malloc(strlen(s) + 1);
        if (!value)
                return error_errno(e, ENOMEM, "cannot keep a challenge");
        for (; *s != '"'; s++) {
                if (*s == '\\')
                        s++;
                if (*s == '\0')
                        return error_set(e, ERROR_INVALID, "a quoted text does not end");
                value[n++] = *s;
        }
        value[n] = '\0';
        p->s = s + 1;
        *ret = take_ptr(value);
        return 0;
}

/* Quoted, or up to the next comma or blank: some registries leave a URL unquoted. */
static int take_value(struct parser *p, char **ret, struct error *e) {
        if (*p->s == '"')
                return take_quoted(p, ret, e);
        size_t n = strcspn(p->s, BLANK ",\"");
        *ret = strndup(p->s, n);
        if (!*ret)
                return error_errno(e, ENOMEM, "cannot keep a challenge");
        p->s += n;
        return 0;
}

/* The first of a name counts. */
static void keep_parameter(struct parser *p, const char *name, size_t len, char **value) {
        const struct {
                const char *name;
                char **to;
        } wanted[] = { { "realm", &p->to->realm },
                       { "service", &p->to->service },
                       { "scope", &p->to->scope },
                       { "error", &p->to->error } };

        for (size_t i = 0; p->in_bearer && i < sizeof wanted / sizeof *wanted; i++)
                if (strlen(wanted[i].name) == len && strncasecmp(wanted[i].name, name, len) == 0 &&
                    !*wanted[i].to)
                        *wanted[i].to = take_ptr(*value);
}

static void open_challenge(struct parser *p, const char *scheme, size_t len) {
        p->in_bearer = len == strlen("Bearer") && strncasecmp(scheme, "Bearer", len) == 0 && !p->to->bearer;
        p->to->bearer |= p->in_bearer;
        if (len == strlen("Basic") && strncasecmp(scheme, "Basic", len) == 0)
                p->to->basic = true;
}

/* One parameter, or the head of a challenge. */
static int take_item(struct parser *p, struct error *e) {
        const char *name = p->s;
        size_t len = strspn(name, TOKEN);

        if (len == 0)
                return error_set(e, ERROR_INVALID,
                                 "it has something that is neither a scheme nor a parameter");
        p->s += len;
        bool blank = strspn(p->s, BLANK) > 0;
        skip_blanks(p);
        if (*p->s == '=') {
                _cleanup_free_ char *value = NULL;
                p->s++;
                skip_blanks(p);
                int r = take_value(p, &value, e);
                if (r >= 0)
                        keep_parameter(p, name, len, &value);
                return r;
        }
        if (!blank && *p->s && *p->s != ',')
                return error_set(e, ERROR_INVALID,
                                 "it has something that is neither a scheme nor a parameter");
        open_challenge(p, name, len);
        if (blank)
                skip_token68(p);
        return 0;
}

static int parse(struct parser *p, struct error *e) {
        bool may_go_on = true; /* a comma, or the blank after a scheme, was passed */

        for (;;) {
                size_t n = strspn(p->s, BLANK ",");
                may_go_on |= memchr(p->s, ',', n) != NULL;
                p->s += n;
                if (*p->s == '\0')
                        return 0;
                if (!may_go_on)
                        return error_set(e, ERROR_INVALID, "two parameters have no comma between them");
                const char *before = p->s;
                int r = take_item(p, e);
                if (r < 0)
                        return r;
                may_go_on = !memchr(before, '=', (size_t)(p->s - before));
        }
}

static bool has_control_characters(const char *s) {
        for (; *s; s++)
                if (((unsigned char)*s < ' ' && *s != '\t') || *s == 0x7f)
                        return true;
        return false;
}

static void take_text(char **to, char **from) {
        if (!*to)
                *to = take_ptr(*from);
}

int oci_challenge_add(struct oci_challenge *c, const char *value, struct error *e) {
        _cleanup_challenge_ struct oci_challenge found = { 0 };
        struct parser p = { .s = value, .to = &found };

        if (strlen(value) > OCI_CHALLENGE_MAX)
                return error_set(e, ERROR_INVALID, "the WWW-Authenticate header is longer than %d bytes",
                                 OCI_CHALLENGE_MAX);
        if (has_control_characters(value))
                return error_set(e, ERROR_INVALID, "the WWW-Authenticate header has control characters");
        if (parse(&p, e) < 0)
                return error_wrap(e, "the WWW-Authenticate header cannot be understood");
        c->basic |= found.basic;
        if (found.bearer && !c->bearer) {
                c->bearer = true;
                take_text(&c->realm, &found.realm);
                take_text(&c->service, &found.service);
                take_text(&c->scope, &found.scope);
                take_text(&c->error, &found.error);
        }
        return 0;
}

void oci_challenge_done(struct oci_challenge *c) {
        free(c->realm);
        free(c->service);
        free(c->scope);
        free(c->error);
        *c = (struct oci_challenge){ 0 };
}
