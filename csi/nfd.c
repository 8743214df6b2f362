/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/nfd.h"

#include <fcntl.h>
#include <string.h>

#include "base/buf.h"
#include "base/path.h"

#define FILE_MAX (16u << 10)

static int compose(struct buf *b, const struct csi_labels *labels, struct error *e) {
        int r = buf_printf(b, "# made by modelstaged: the models of its warm list that are here\n");

        for (size_t i = 0; i < labels->n && r >= 0; i++)
                r = buf_printf(b, CSI_LABEL_DOMAIN "/%s=true\n", labels->list[i].name);
        return r < 0 ? error_errno(e, r, "cannot make a feature file") : 0;
}

int csi_nfd_write(const char *dir, const struct csi_labels *labels, struct error *e) {
        _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_buf_ struct buf b = BUF_INIT(FILE_MAX);

        if (fd < 0 && errno == ENOENT && labels->n == 0)
                return 0;
        if (fd < 0)
                return error_errno(e, errno, "kubernetes.nfdDir: cannot open %s", dir);
        if (labels->n == 0) {
                if (unlinkat(fd, CSI_NFD_FILE, 0) < 0 && errno != ENOENT)
                        return error_errno(e, errno, "kubernetes.nfdDir: cannot remove %s/" CSI_NFD_FILE,
                                           dir);
                return 0;
        }
        int r = compose(&b, labels, e);
        if (r >= 0)
                r = path_write_file(fd, CSI_NFD_FILE, buf_text(&b), b.len, 0644, e);
        return r < 0 ? error_wrap(e, "kubernetes.nfdDir: %s", dir) : 0;
}
