/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_account: kubelet rotates the token (after 80 % of its life, mostly an hour) and swaps a symbolic
 * link, so that a reader sees the old or the new file. Nobody tells us; we look once a minute, as client-go
 * does.
 *
 *   files -> read (lock held; two small files) -> kept -> copies for each request
 *
 * Any thread. The token is made known to the log, so that no line can have it.
 */
#include "csi/kube_account.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/path.h"

#define TOKEN_MAX (64u << 10)
#define CA_MAX (1u << 20)
#define READ_AGAIN_MS 60000

struct csi_kube_account {
        char *token_path, *ca_path; /* ca_path NULL: not wanted */
        pthread_mutex_t lock;       /* guards what follows */
        struct csi_kube_credentials kept;
        int64_t read_ms; /* when; monotonic */
};

void csi_kube_credentials_done(struct csi_kube_credentials *c) {
        if (c->token)
                explicit_bzero(c->token, strlen(c->token));
        free(c->token);
        free(c->ca_pem);
        *c = (struct csi_kube_credentials){ 0 };
}

void csi_kube_account_free(struct csi_kube_account *a) {
        if (!a)
                return;
        csi_kube_credentials_done(&a->kept);
        pthread_mutex_destroy(&a->lock);
        free(a->token_path);
        free(a->ca_path);
        free(a);
}

int csi_kube_account_new(struct csi_kube_account **ret, const char *dir, bool with_ca, struct error *e) {
        _cleanup_(csi_kube_account_freep) struct csi_kube_account *a = calloc(1, sizeof *a);

        if (!a)
                return error_errno(e, ENOMEM, "cannot use the service account");
        pthread_mutex_init(&a->lock, NULL);
        if (asprintf(&a->token_path, "%s/token", dir) < 0) {
                a->token_path = NULL;
                return error_errno(e, ENOMEM, "cannot use the service account");
        }
        if (with_ca && asprintf(&a->ca_path, "%s/ca.crt", dir) < 0) {
                a->ca_path = NULL;
                return error_errno(e, ENOMEM, "cannot use the service account");
        }
        *ret = take_ptr(a);
        return 0;
}

/* One word: it becomes a part of a header. Not quoted, for it is a secret all the same. */
static int check_token(char *token, size_t len, const char *path, struct error *e) {
        while (len > 0 && (token[len - 1] == '\r' || token[len - 1] == '\n'))
                token[--len] = '\0';
        for (size_t i = 0; i < len; i++) /* a NUL, too */
                if ((unsigned char)token[i] <= ' ' || (unsigned char)token[i] >= 0x7f)
                        return error_set(e, ERROR_INVALID, "%s has a character that no token may have", path);
        return *token ? 0 : error_set(e, ERROR_INVALID, "%s is empty", path);
}

static int read_files(struct csi_kube_credentials *ret, const struct csi_kube_account *a, struct error *e) {
        _cleanup_(csi_kube_credentials_done) struct csi_kube_credentials fresh = { 0 };
        size_t len = 0;
        int r = path_read_absolute(&fresh.token, &len, a->token_path, TOKEN_MAX, e);

        if (r >= 0)
                r = check_token(fresh.token, len, a->token_path, e);
        if (r >= 0 && a->ca_path)
                r = path_read_absolute(&fresh.ca_pem, NULL, a->ca_path, CA_MAX, e);
        if (r < 0)
                return r;
        *ret = fresh;
        fresh = (struct csi_kube_credentials){ 0 };
        return 0;
}

/* With the lock held. */
static int refresh(struct csi_kube_account *a, int64_t now_ms, struct error *e) {
        struct csi_kube_credentials fresh = { 0 };
        struct error why = { 0 };
        int r = read_files(&fresh, a, &why);

        if (r < 0 && a->kept.token) {
                log_warning(
                    "the service account's files cannot be read again, what they said before is used: %s",
                    why.text);
                a->read_ms = now_ms;
                return 0;
        }
        if (r < 0)
                return error_set(e, ERROR_UNAVAILABLE, "the service account cannot be used: %s", why.text);
        if (!a->kept.token || strcmp(a->kept.token, fresh.token) != 0)
                log_redact(fresh.token);
        csi_kube_credentials_done(&a->kept);
        a->kept = fresh;
        a->read_ms = now_ms;
        return 0;
}

int csi_kube_account_get(struct csi_kube_credentials *ret, struct csi_kube_account *a, bool refused,
                         int64_t now_ms, struct error *e) {
        _cleanup_(csi_kube_credentials_done) struct csi_kube_credentials copy = { 0 };

        LOCK_SCOPE(&a->lock);
        if (refused || !a->kept.token || now_ms - a->read_ms >= READ_AGAIN_MS) {
                int r = refresh(a, now_ms, e);
                if (r < 0)
                        return r;
        }
        copy.token = strdup(a->kept.token);
        copy.ca_pem = a->kept.ca_pem ? strdup(a->kept.ca_pem) : NULL;
        if (!copy.token || (a->kept.ca_pem && !copy.ca_pem))
                return error_errno(e, ENOMEM, "cannot use the service account");
        *ret = copy;
        copy = (struct csi_kube_credentials){ 0 };
        return 0;
}
