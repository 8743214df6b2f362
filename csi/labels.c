/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/labels.h"

#include <stdio.h>
#include <string.h>

#define PREFIX_LEN (sizeof CSI_LABEL_PREFIX - 1)
#define HASH_LEN 8u /* hex digits */
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static bool is_letter(char c) {
        return c && strchr(LETTERS, c);
}

/* Makes @text what may stand in a label: other characters become '-', and the ends are letters or digits. */
static void sanitise(char *text) {
        size_t len = strlen(text), lead = 0;

        for (char *p = text; *p; p++)
                if (!is_letter(*p) && *p != '-' && *p != '_' && *p != '.')
                        *p = '-';
        while (len > 0 && !is_letter(text[len - 1]))
                text[--len] = '\0';
        while (text[lead] && !is_letter(text[lead]))
                lead++;
        memmove(text, text + lead, len - lead + 1);
}

/* The slug as it would be if it were the only one. False: it has been cut. */
static bool plain_slug(char slug[static CSI_LABEL_SIZE], const struct oci_reference *r) {
        char text[OCI_REFERENCE_MAX + 32], hex[DIGEST_HEX_SIZE];
        const char *slash = strrchr(r->repository, '/');
        const char *name = slash ? slash + 1 : r->repository;
        size_t room = CSI_LABEL_SIZE - PREFIX_LEN;

        if (r->tag)
                snprintf(text, sizeof text, "%.3000s-%.200s", name, r->tag);
        else if (r->has_digest)
                snprintf(text, sizeof text, "%.3000s-%.12s", name, digest_hex(&r->digest, hex));
        else
                snprintf(text, sizeof text, "%.3000s", name);
        sanitise(text);
        snprintf(slug, room, "%.*s", (int)room - 1, *text ? text : "model");
        return strlen(text) < room;
}

/* Puts the reference's hash behind @slug, which gets shorter if it has to. */
static void add_hash(char slug[static CSI_LABEL_SIZE], const struct oci_reference *r) {
        char cut[CSI_LABEL_SIZE], hex[DIGEST_HEX_SIZE] = "";
        struct digest digest;

        if (digest_of(&digest, r->text, strlen(r->text)) >= 0)
                digest_hex(&digest, hex);
        snprintf(cut, sizeof cut, "%.*s", (int)(CSI_LABEL_SIZE - 1 - PREFIX_LEN - HASH_LEN - 1), slug);
        sanitise(cut);
        snprintf(slug, CSI_LABEL_SIZE - PREFIX_LEN, "%.49s-%.*s", cut, (int)HASH_LEN, hex);
}

/* Whether another model of the list would have the same slug, or has it if it gets its hash: a tag may end in
 * what looks like one. */
static bool is_shared(const char *slug, const struct csi_warm *w, const struct csi_warm *warm, size_t n) {
        char other[CSI_LABEL_SIZE];

        for (size_t i = 0; i < n; i++) {
                if (!warm[i].reference || strcmp(warm[i].reference->text, w->reference->text) == 0)
                        continue;
                (void)plain_slug(other, warm[i].reference);
                if (strcmp(other, slug) == 0)
                        return true;
                add_hash(other, warm[i].reference);
                if (strcmp(other, slug) == 0)
                        return true;
        }
        return false;
}

void csi_labels_make(struct csi_labels *ret, const struct csi_warm *warm, size_t n) {
        *ret = (struct csi_labels){ .n = 0 };
        for (size_t i = 0; i < n && ret->n < CSI_LABELS_MAX; i++) {
                struct csi_label label;
                char slug[CSI_LABEL_SIZE];

                if (!warm[i].reference || !warm[i].is_here)
                        continue;
                if (!plain_slug(slug, warm[i].reference) || is_shared(slug, &warm[i], warm, n))
                        add_hash(slug, warm[i].reference);
                snprintf(label.name, sizeof label.name, CSI_LABEL_PREFIX "%.58s", slug);
                if (!csi_labels_have(ret, label.name)) /* a model that is listed twice */
                        ret->list[ret->n++] = label;
        }
}

bool csi_labels_have(const struct csi_labels *l, const char *name) {
        for (size_t i = 0; i < l->n; i++)
                if (strcmp(l->list[i].name, name) == 0)
                        return true;
        return false;
}

bool csi_labels_equal(const struct csi_labels *a, const struct csi_labels *b) {
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++)
                if (!csi_labels_have(b, a->list[i].name))
                        return false;
        return true;
}
