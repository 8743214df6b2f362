/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack: one tar stream, member by member.
 *
 *   source -> libarchive: header -> unpack_names.c -> the parent directory -> by kind:
 *       file           to the placer, its writes may go on while the next member is made; or to the file
 *                      that the source has been making for it, and its data are passed over
 *       directory      made, or kept if there is one; its time is set at the end
 *       symbolic link  made, never followed
 *       hard link      linked within the tree, else a marker for the cache
 *       all else       left out
 *   at the end: all writes, then times and flushing (unpack_finish, unpack_notes.c)
 *
 * libarchive parses the headers and hands out pointers into what the source gave; it never touches the file
 * system. Each member is made below its parent's descriptor, which is kept for the next member: the last one
 * of a name wins, and what was there before is removed first and never written through.
 *
 * Modes are for readers: no set-id bits, nobody but the owner writes, everybody reads. Owners, devices and
 * extended attributes are left out. Runs on the blob thread.
 */
#include "stager/unpack.h"

#include "base/path.h"
#include "base/text.h"
#include "cache/cache.h"
#include "stager/unpack_names.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <string.h>
#include <sys/statvfs.h>

#define DIR_MODE 0755 /* of every directory, whatever the archive says */

#define TAR_BLOCK 512u

struct unpack {
        int tree_fd;
        struct placer *placer;
        const struct unpack_source *source;
        struct archive *archive;
        bool source_failed; /* source_error is the reason of libarchive's failure */
        struct error source_error;
        uint64_t given; /* bytes handed to libarchive */
        uint64_t disk;  /* its size */
        uint64_t sizes; /* of the files so far, holes included; at most that */
        unsigned members;
        bool markers;     /* there are link markers */
        uint64_t adopted; /* end of the data of the last member that was adopted */
        int parent_fd;    /* of the last member */
        char *parent;     /* its path, and a slash if it is not empty; NULL: there is none */
        struct unpack_notes *notes;
        struct unpack_result result;
};

struct member { /* one that is being made */
        struct archive_entry *entry;
        char *path;       /* clean */
        const char *name; /* its last component */
        int parent_fd;    /* of the unpack */
};

DEFINE_CLEANUP(struct archive *, archive_read_free);

/* umoci, for one, ends its layers right after the last file's data: neither the rest of that block nor the
 * two empty ones that mark the end are there. Everybody's tar accepts that; libarchive wants the block to be
 * whole. */
static const char padding[TAR_BLOCK];

static la_ssize_t pad_last_block(struct unpack *u, const void **buffer) {
        size_t missing = (TAR_BLOCK - u->given % TAR_BLOCK) % TAR_BLOCK;

        *buffer = padding;
        u->given += missing;
        return (la_ssize_t)missing;
}

static la_ssize_t on_read(struct archive *a, void *userdata, const void **buffer) {
        struct unpack *u = userdata;
        size_t len = 0;

        placer_submit(u->placer);
        int r = u->source->next(u->source->userdata, buffer, &len, &u->source_error);

        if (r < 0) {
                u->source_failed = true;
                archive_set_error(a, EIO, "no more input");
                return -1;
        }
        if (r == 0)
                return pad_last_block(u, buffer);
        u->given += len;
        return (la_ssize_t)len;
}

static la_int64_t on_skip(struct archive *a, void *userdata, la_int64_t len) {
        struct unpack *u = userdata;

        placer_submit(u->placer);
        int64_t n = len > 0 ? u->source->skip(u->source->userdata, (uint64_t)len, &u->source_error) : 0;

        if (n < 0) {
                u->source_failed = true;
                archive_set_error(a, EIO, "no more input");
                return ARCHIVE_FATAL;
        }
        u->given += (uint64_t)n;
        return n;
}

/* libarchive's words, or the source's if it was the source. */
static int archive_failed(const struct unpack *u, struct error *e) {
        const char *why = archive_error_string(u->archive);

        if (u->source_failed)
                return error_copy(e, &u->source_error);
        return error_set(e, ERROR_INVALID, "the archive is malformed (%s)", why ? why : "unknown reason");
}

/* A member may be warned about for what we do not use: the names of its owner. */
static bool is_harmless(struct archive *a) {
        const char *why = archive_error_string(a);

        return why && (strncmp(why, "Uname ", 6) == 0 || strncmp(why, "Gname ", 6) == 0);
}

static int link_marker(char name[static NAME_MAX + 1], const char *of, struct error *e) {
        int n = snprintf(name, NAME_MAX + 1, "%s%s", CACHE_WHITEOUT_LINK, of);

        return n <= NAME_MAX
                   ? 0
                   : error_set(e, ERROR_INVALID, "the archive's hard link %s has too long a name", of);
}

/* What has the name now goes; a directory with all that is in it. */
static int remove_old(struct unpack *u, const struct member *m, struct error *e) {
        char marker[NAME_MAX + 1];

        if (u->markers && link_marker(marker, m->name, NULL) == 0)
                (void)unlinkat(m->parent_fd, marker, 0);
        if (unlinkat(m->parent_fd, m->name, 0) == 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR && errno != EPERM)
                return error_errno(e, errno, "replace %s", m->path);
        placer_submit(u->placer); /* it may have a million files */
        return path_remove_tree(m->parent_fd, m->name, e);
}

static struct timespec mtime_of(struct archive_entry *entry) {
        struct timespec t = { .tv_sec = archive_entry_mtime(entry),
                              .tv_nsec = archive_entry_mtime_nsec(entry) };

        if (t.tv_nsec < 0 || t.tv_nsec > 999999999)
                t.tv_nsec = 0;
        return t;
}

/* A piece of the member's data, as far as it is to be written. */
static int copy_piece(const struct unpack_adopted *to, const char *data, size_t len, uint64_t offset,
                      struct error *e) {
        if (offset < to->kept) {
                uint64_t kept = to->kept - offset;

                if (kept >= len)
                        return 0;
                data += kept;
                len -= (size_t)kept;
                offset += kept;
        }
        if (offset >= to->from)
                return 0;
        if (len > to->from - offset)
                len = (size_t)(to->from - offset);
        return place_write(to->file, data, len, offset, e);
}

/* The member's data before to->from as libarchive finds them: pieces with offsets, so holes stay holes. */
static int copy_data(struct unpack *u, const struct unpack_adopted *to, struct error *e) {
        const void *data;
        size_t len;
        la_int64_t offset = 0;

        for (len = 0; (uint64_t)offset + len < to->from;) {
                int r = archive_read_data_block(u->archive, &data, &len, &offset);

                if (r == ARCHIVE_EOF)
                        return 0;
                if (r != ARCHIVE_OK)
                        return archive_failed(u, e);
                if (offset < 0)
                        return error_set(e, ERROR_INVALID, "the archive is malformed (negative offset)");
                if ((const char *)data >= padding && (const char *)data < padding + sizeof padding)
                        return error_set(e, ERROR_INVALID, "the archive ends in the middle of a member");
                if (len == 0)
                        continue;
                r = copy_piece(to, data, len, (uint64_t)offset, e);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Of the disk that the tree is on; 0: nobody knows. */
static uint64_t disk_size(int fd) {
        struct statvfs disk;

        return fstatvfs(fd, &disk) < 0 ? 0 : (uint64_t)disk.f_blocks * disk.f_frsize;
}

/* Holes take no room, so nobody has to ask for it; but what this disk could never hold is no model. */
static int count_size(struct unpack *u, const struct member *m, la_int64_t size, struct error *e) {
        char text[TEXT_SHORT];

        if (size < 0)
                return error_set(e, ERROR_INVALID, "the archive's %s has a negative size", m->path);
        if (u->disk > 0 && ((uint64_t)size > u->disk || u->sizes > u->disk - (uint64_t)size))
                return error_set(e, ERROR_INVALID,
                                 "the archive's files up to %s have more bytes than the whole disk, %s",
                                 m->path, text_format_size(u->disk, text));
        u->sizes += (uint64_t)size;
        return 0;
}

/* A new file of that name. There is hardly ever an old one, so that is seen when the new one is made. */
static int open_new(struct unpack *u, const struct member *m, uint64_t size, bool sparse,
                    struct place_file **ret, struct error *e) {
        if (!u->markers) {
                int r = place_open(ret, u->placer, m->parent_fd, m->name, size, sparse, e);

                if (r != -EEXIST)
                        return r;
        }
        int r = remove_old(u, m, e);
        return r < 0 ? r : place_open(ret, u->placer, m->parent_fd, m->name, size, sparse, e);
}

/* One that is being made already, or a new one. */
static int open_member(struct unpack *u, const struct member *m, uint64_t size, struct unpack_adopted *ret,
                       struct error *e) {
        bool sparse = archive_entry_sparse_count(m->entry) > 0;
        uint64_t data = (uint64_t)archive_filter_bytes(u->archive, 0);
        const struct unpack_source *s = u->source;
        int r = 0;

        *ret = (struct unpack_adopted){ .from = UINT64_MAX };
        if (s->adopt && !sparse && size > 0 && size >= s->adopt_min) {
                r = remove_old(u, m, e);
                if (r == 0)
                        r = s->adopt(s->userdata, ret, data, size, m->parent_fd, m->name, e);
                if (r > 0)
                        u->adopted = data + size;
        }
        if (r == 0)
                r = open_new(u, m, size, sparse, &ret->file, e);
        if (r >= 0 && s->placed && !sparse && size > 0)
                s->placed(s->userdata, data, size, m->path);
        return r < 0 ? r : 0;
}

/* It was complete before this archive was begun. */
static int end_kept(const struct member *m, const struct place_end *end, struct error *e) {
        const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, end->mtime };

        if (fchmodat(m->parent_fd, m->name, end->mode, 0) < 0)
                return error_errno(e, errno, "set the mode of %s", m->path);
        if (utimensat(m->parent_fd, m->name, times, AT_SYMLINK_NOFOLLOW) < 0)
                return error_errno(e, errno, "set the time of %s", m->path);
        return 0;
}

/* Claimed, placed and noted; its writes may still be under way afterwards. */
static int make_file(struct unpack *u, const struct member *m, struct error *e) {
        la_int64_t size = archive_entry_size(m->entry);
        struct unpack_adopted to;

        int r = count_size(u, m, size, e);
        if (r < 0)
                return r;
        r = open_member(u, m, (uint64_t)size, &to, e);
        if (r == 0 && to.file)
                r = copy_data(u, &to, e);
        if (r < 0)
                return r; /* the placer closes it */
        u->result.files++;
        unpack_note_file(u->notes, m->path);
        const struct place_end end = {
                .size = (uint64_t)size,
                .mode = ((archive_entry_perm(m->entry) & 0777) | 0444) & ~(mode_t)022,
                .mtime = mtime_of(m->entry),
        };
        return to.file ? place_end(to.file, &end, e) : end_kept(m, &end, e);
}

static int make_directory(struct unpack *u, const struct member *m, struct error *e) {
        struct stat st;

        if (!*m->path)
                return unpack_note_dir(u->notes, m->path, mtime_of(m->entry), e);
        if (fstatat(m->parent_fd, m->name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode)) {
                int r = remove_old(u, m, e);

                if (r < 0)
                        return r;
                if (mkdirat(m->parent_fd, m->name, DIR_MODE) < 0)
                        return path_make_failed(m->parent_fd, errno, e, "make the directory %s", m->path);
        }
        return unpack_note_dir(u->notes, m->path, mtime_of(m->entry), e);
}

static int make_symlink(struct unpack *u, const struct member *m, struct error *e) {
        const char *target = archive_entry_symlink(m->entry);
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, mtime_of(m->entry) };

        if (!target || !*target || strlen(target) >= PATH_MAX)
                return error_set(e, ERROR_INVALID, "the archive's symbolic link %s has no usable target",
                                 m->path);
        int r = remove_old(u, m, e);
        if (r < 0)
                return r;
        if (symlinkat(target, m->parent_fd, m->name) < 0)
                return path_make_failed(m->parent_fd, errno, e, "make the symbolic link %s", m->path);
        (void)utimensat(m->parent_fd, m->name, times, AT_SYMLINK_NOFOLLOW);
        return 0;
}

/* Beside @m, or in its place. */
static int make_small_file(struct unpack *u, const struct member *m, const char *name, const char *content,
                           struct error *e) {
        size_t len = strlen(content);
        _cleanup_free_ char *path = NULL;
        struct place_file *f;

        if (asprintf(&path, "%.*s%s", (int)(m->name - m->path), m->path, name) < 0)
                return error_errno(e, ENOMEM, "unpack");
        int r = place_open(&f, u->placer, m->parent_fd, name, len, false, e);
        if (r < 0)
                return r;
        r = len > 0 ? place_write(f, content, len, 0, e) : 0;
        if (r < 0)
                return r;
        unpack_note_file(u->notes, path);
        return place_end(f, &(struct place_end){ .size = len, .mode = 0444, .mtime = mtime_of(m->entry) }, e);
}

/* A small file beside the name, which itself does not exist then. */
static int make_marker(struct unpack *u, const struct member *m, const char *target, struct error *e) {
        char marker[NAME_MAX + 1];
        int r = link_marker(marker, m->name, e);

        if (r < 0)
                return r;
        r = remove_old(u, m, e);
        if (r < 0)
                return r;
        u->markers = true;
        if (unlinkat(m->parent_fd, marker, 0) < 0 && errno != ENOENT)
                return error_errno(e, errno, "replace the link %s", m->path);
        return make_small_file(u, m, marker, target, e);
}

/* Within the archive a real link; else a marker, because the file may be in a lower layer. */
static int make_link(struct unpack *u, const struct member *m, const char *to, struct error *e) {
        _cleanup_free_ char *target = NULL;
        _cleanup_close_ int fd = -1;
        const char *base;
        struct stat st;
        int r = unpack_name_clean(&target, to, e);

        if (r < 0)
                return error_wrap(e, "the archive's hard link %s", m->path);
        if (!*target || unpack_name_kind(target) != UNPACK_NAME_PLAIN)
                return error_set(e, ERROR_INVALID, "the archive's hard link %s has a forbidden target",
                                 m->path);
        if (strcmp(target, m->path) == 0)
                return 0;
        fd = path_open_parent(&base, u->tree_fd, target, e);
        if (fd == -ENOENT)
                return make_marker(u, m, target, e);
        if (fd < 0 && fd != -EINVAL && fd != -ENOTDIR)
                return fd;
        if (fd < 0)
                return error_set(e, ERROR_INVALID,
                                 "the archive's hard link %s leads through a link or a file", m->path);
        if (fstatat(fd, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? make_marker(u, m, target, e)
                                       : error_errno(e, errno, "look at %s", target);
        if (S_ISDIR(st.st_mode))
                return error_set(e, ERROR_INVALID, "the archive's hard link %s leads to a directory",
                                 m->path);
        r = remove_old(u, m, e);
        if (r < 0)
                return r;
        if (linkat(fd, base, m->parent_fd, m->name, 0) < 0)
                return errno == ENOENT
                           ? error_set(e, ERROR_INVALID, "the archive's hard link %s replaces its own target",
                                       m->path)
                           : error_errno(e, errno, "link %s", m->path);
        return 0;
}

/* Some union file systems link all their whiteouts to one, which is not in the archive. */
static int make_linked_whiteout(struct unpack *u, const struct member *m, struct error *e) {
        int r = remove_old(u, m, e);

        return r < 0 ? r : make_small_file(u, m, m->name, "", e);
}

static int make_member(struct unpack *u, const struct member *m, enum unpack_name_kind kind,
                       struct error *e) {
        const char *link = archive_entry_hardlink(m->entry);
        mode_t type = archive_entry_filetype(m->entry);

        if (!*m->path)
                return type == AE_IFDIR && !link
                           ? make_directory(u, m, e)
                           : error_set(e, ERROR_INVALID, "the archive replaces its own root");
        if (link)
                return kind == UNPACK_NAME_WHITEOUT ? make_linked_whiteout(u, m, e)
                                                    : make_link(u, m, link, e);
        switch (type) {
        case AE_IFREG:
                return make_file(u, m, e);
        case AE_IFDIR:
                return make_directory(u, m, e);
        case AE_IFLNK:
                return make_symlink(u, m, e);
        default: /* devices, pipes and sockets have no place in a model */
                return 0;
        }
}

static void forget_parent(struct unpack *u) {
        free(take_ptr(u->parent));
        cleanup_close(&u->parent_fd);
        u->parent_fd = -1;
}

/* The directory of @path, made if it is missing; open until the next call. Mostly it is that of the member
 * before, and then it is still there: what would take it away is a member of another directory. */
static int enter_parent(struct unpack *u, const char *path, struct error *e) {
        size_t len = (size_t)(path_base(path) - path);

        if (u->parent && strlen(u->parent) == len && memcmp(u->parent, path, len) == 0)
                return u->parent_fd;
        forget_parent(u);
        u->parent_fd = *path ? path_make_dirs(u->tree_fd, path, DIR_MODE, true, e)
                             : path_open(u->tree_fd, "", O_RDONLY | O_DIRECTORY, 0, e);
        if (u->parent_fd == -EINVAL || u->parent_fd == -ENOTDIR)
                return error_set(e, ERROR_INVALID, "the archive's member %s leads through a link or a file",
                                 path);
        if (u->parent_fd >= 0)
                u->parent = strndup(path, len); /* or it is opened again */
        return u->parent_fd;
}

/* Name, parent directory, and then what kind of member it is. */
static int unpack_member(struct unpack *u, struct archive_entry *entry, struct error *e) {
        _cleanup_free_ char *path = NULL;
        int r = unpack_name_clean(&path, archive_entry_pathname(entry), e);

        if (r < 0)
                return error_wrap(e, "the archive's member %u", u->members);
        enum unpack_name_kind kind = unpack_name_kind(path);
        if (kind == UNPACK_NAME_IGNORED)
                return 0;
        if (kind == UNPACK_NAME_FORBIDDEN)
                return error_set(e, ERROR_INVALID, "the archive's member %s has a reserved name", path);
        r = unpack_name_check_depth(path, archive_entry_filetype(entry) == AE_IFDIR, e);
        if (r < 0)
                return r;
        int parent_fd = enter_parent(u, path, e);
        if (parent_fd < 0)
                return parent_fd;
        const struct member m = {
                .entry = entry, .path = path, .name = path_base(path), .parent_fd = parent_fd
        };
        return make_member(u, &m, kind, e);
}

/* The archive does not tell how many bytes of a member it has, only where the next one begins. A file that
 * was made ahead has taken all bytes of its size from the archive. */
static int check_adopted(const struct unpack *u, struct error *e) {
        if ((uint64_t)archive_read_header_position(u->archive) >= u->adopted)
                return 0;
        return error_set(e, ERROR_INVALID, "the archive has fewer bytes of its member %u than had been seen",
                         u->members);
}

static int unpack_members(struct unpack *u, struct error *e) {
        struct archive_entry *entry;

        for (;;) {
                int r = archive_read_next_header(u->archive, &entry), adopted = check_adopted(u, e);

                if (u->source_failed) /* in its first block, libarchive takes that for an empty archive */
                        return archive_failed(u, e);
                if (r == ARCHIVE_EOF || (r != ARCHIVE_FATAL && adopted < 0))
                        return adopted;
                if (r != ARCHIVE_OK && !(r == ARCHIVE_WARN && is_harmless(u->archive)))
                        return archive_failed(u, e);
                if (++u->members > UNPACK_MAX_MEMBERS)
                        return error_set(e, ERROR_INVALID, "the archive has more than %u members",
                                         UNPACK_MAX_MEMBERS);
                r = unpack_member(u, entry, e);
                if (r < 0)
                        return r;
        }
}

static int run(struct unpack *u, struct error *e) {
        _cleanup_(archive_read_freep) struct archive *a = archive_read_new();

        if (!a)
                return error_errno(e, ENOMEM, "read the archive");
        u->archive = a;
        archive_read_support_format_tar(a);
        archive_read_support_format_empty(a);
        archive_read_support_filter_none(a);
        if (archive_read_open2(a, u, NULL, on_read, u->source->skip ? on_skip : NULL, NULL) != ARCHIVE_OK)
                return archive_failed(u, e);
        return unpack_members(u, e);
}

int unpack_tar(struct unpack_result *ret, int tree_fd, struct placer *p, const struct unpack_source *source,
               struct unpack_notes *notes, struct error *e) {
        struct unpack u = {
                .tree_fd = tree_fd,
                .placer = p,
                .source = source,
                .notes = notes,
                .disk = disk_size(tree_fd),
                .parent_fd = -1,
        };
        /* Names in PAX headers are UTF-8; in the C locale libarchive would not hand them out. */
        locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
        locale_t before = utf8 ? uselocale(utf8) : (locale_t)0;
        int r = run(&u, e);

        placer_submit(p); /* whoever waits for the rest of the blob holds nobody's segments */
        forget_parent(&u);
        if (utf8) {
                uselocale(before);
                freelocale(utf8);
        }
        if (r == 0)
                *ret = u.result;
        return r;
}

int unpack_finish(int tree_fd, struct placer *p, struct unpack_notes *notes, struct error *e) {
        int r = placer_drain(p, e);

        return r < 0 ? r : unpack_notes_finish(notes, tree_fd, e);
}
