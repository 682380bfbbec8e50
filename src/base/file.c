#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

dial_status di_map_file(const char *path, di_map *out, dial_error *err)
{
    dial_status st = DIAL_OK;
    struct stat info;
    void *data = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        DI_FAIL_AT(err, errno == ENOENT ? DIAL_ERR_USAGE : DIAL_ERR_IO, path, "check the path",
                   "cannot open the file: %s", strerror(errno));
    if (fstat(fd, &info) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, path, NULL, "cannot ask for its size: %s", strerror(errno));
    if (!S_ISREG(info.st_mode))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "name a file", "expected a regular file");
    if (info.st_size > 0) {
        data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            DI_FAIL_AT(err, DIAL_ERR_IO, path, NULL, "cannot map %lld bytes: %s",
                       (long long)info.st_size, strerror(errno));
    }
    *out = (di_map){data, (size_t)info.st_size};
done:
    if (fd >= 0) close(fd);
    return st;
}

void di_unmap(di_map *m)
{
    if (m->data != NULL) munmap((void *)(uintptr_t)m->data, m->size);
    *m = (di_map){0};
}

dial_status di_read_file(const di_alloc *al, const char *path, char **out, size_t *size,
                         dial_error *err)
{
    dial_status st = DIAL_OK;
    FILE *f = NULL;
    di_buf b;
    char *chunk = di_new(al, 1 << 16);
    size_t n;

    di_buf_init(&b, al);
    if (chunk == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to read '%s'", path);
    f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    if (f == NULL)
        DI_FAIL_AT(err, errno == ENOENT ? DIAL_ERR_USAGE : DIAL_ERR_IO, path, "check the path",
                   "cannot open the file: %s", strerror(errno));
    while ((n = fread(chunk, 1, 1 << 16, f)) > 0) di_buf_append(&b, chunk, n);
    if (ferror(f)) DI_FAIL_AT(err, DIAL_ERR_IO, path, NULL, "cannot read: %s", strerror(errno));
    *size = b.size;
    DI_TRY(di_buf_status(&b, err));
    *out = di_buf_take(&b);
    if (*out == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to read '%s'", path);
done:
    if (f != NULL && f != stdin) fclose(f);
    di_buf_deinit(&b);
    di_free(al, chunk);
    return st;
}

dial_status di_write_begin(const di_alloc *al, const char *path, di_writer *w, dial_error *err)
{
    dial_status st = DIAL_OK;
    char real[PATH_MAX];
    size_t n;
    struct stat info;
    di_writer x = {.al = al};

    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode) && realpath(path, real) != NULL)
        path = real; /* the link stays, what it points to is replaced */
    x.direct = stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
    n = strlen(path) + 32;
    x.path = di_strdup(al, path);
    x.tmp = di_new(al, n);
    if (x.path == NULL || x.tmp == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    snprintf(x.tmp, n, x.direct ? "%s" : "%s.tmp-%ld", path, (long)getpid());
    x.f = fopen(x.tmp, "wbe");
    if (x.f == NULL)
        DI_FAIL_AT(err, DIAL_ERR_IO, x.tmp, "choose a folder that can be written",
                   "cannot create the file: %s", strerror(errno));
    *w = x;
    x = (di_writer){0};
done:
    di_free(al, x.path);
    di_free(al, x.tmp);
    return st;
}

dial_status di_write_resume(const di_alloc *al, const char *path, size_t keep, di_writer *w,
                            dial_error *err)
{
    dial_status st = DIAL_OK;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    di_writer x = {.al = al, .direct = 1};

    x.path = di_strdup(al, path);
    x.tmp = di_strdup(al, path);
    if (x.path == NULL || x.tmp == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (fd < 0 || ftruncate(fd, (off_t)keep) != 0 || lseek(fd, 0, SEEK_END) < 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, path, "choose a file that can be written",
                   "cannot go on with the file: %s", strerror(errno));
    x.f = fdopen(fd, "wb");
    if (x.f == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory to write '%s'", path);
    fd = -1;
    *w = x;
    x = (di_writer){0};
done:
    if (fd >= 0) close(fd);
    di_free(al, x.path);
    di_free(al, x.tmp);
    return st;
}

dial_status di_write_flush(di_writer *w, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (fflush(w->f) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, w->tmp, "free some space and run again",
                   "cannot write the file: %s", strerror(errno));
done:
    return st;
}

dial_status di_write(di_writer *w, const void *data, size_t n, dial_error *err)
{
    dial_status st = DIAL_OK;

    if (n > 0 && fwrite(data, 1, n, w->f) != n)
        DI_FAIL_AT(err, DIAL_ERR_IO, w->tmp, "free some space and run again",
                   "cannot write %zu bytes: %s", n, strerror(errno));
done:
    return st;
}

/* The folder that holds path, in a new string. */
static char *parent_of(const di_alloc *al, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL) return di_strdup(al, ".");
    if (slash == path) return di_strdup(al, "/");
    return di_strndup(al, path, (size_t)(slash - path));
}

dial_status di_write_commit(di_writer *w, dial_error *err)
{
    dial_status st = DIAL_OK;
    FILE *f = w->f;
    int bad = fflush(f) != 0 || (fsync(fileno(f)) != 0 && !w->direct); /* a pipe has no disk */
    int code = errno;

    w->f = NULL;
    if (fclose(f) != 0 && !bad) {
        bad = 1;
        code = errno;
    }
    if (bad)
        DI_FAIL_AT(err, DIAL_ERR_IO, w->tmp, "free some space and run again",
                   "cannot write the file: %s", strerror(code));
    if (!w->direct) DI_TRY(di_rename(w->tmp, w->path, err));
done:
    if (st != DIAL_OK && !w->direct) unlink(w->tmp);
    di_free(w->al, w->path);
    di_free(w->al, w->tmp);
    *w = (di_writer){0};
    return st;
}

void di_write_abort(di_writer *w)
{
    if (w->tmp == NULL) return;
    if (w->f != NULL) fclose(w->f);
    if (!w->direct) unlink(w->tmp);
    di_free(w->al, w->path);
    di_free(w->al, w->tmp);
    *w = (di_writer){0};
}

dial_status di_write_file(const di_alloc *al, const char *path, const void *data, size_t n,
                          dial_error *err)
{
    dial_status st = DIAL_OK;
    di_writer w = {0};

    DI_TRY(di_write_begin(al, path, &w, err));
    DI_TRY(di_write(&w, data, n, err));
    DI_TRY(di_write_commit(&w, err));
done:
    di_write_abort(&w);
    return st;
}

static void hex_of(const unsigned char digest[32], char hex[65])
{
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

void di_sha256(const void *data, size_t n, char hex[65])
{
    unsigned char digest[32] = {0};

    EVP_Digest(data, n, digest, NULL, EVP_sha256(), NULL);
    hex_of(digest, hex);
}

dial_status di_sha256_file(const char *path, char hex[65], dial_error *err)
{
    dial_status st = DIAL_OK;
    di_map m = {0};

    DI_TRY(di_map_file(path, &m, err));
    di_sha256(m.data != NULL ? (const void *)m.data : "", m.size, hex);
done:
    di_unmap(&m);
    return st;
}

uint64_t di_fnv1a(const void *data, size_t n)
{
    const unsigned char *p = data;
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

int di_exists(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0;
}

int di_is_dir(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

dial_status di_make_dirs(const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    char part[4096];
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof part)
        DI_FAIL(err, DIAL_ERR_USAGE, "expected a folder name of 1 to 4095 bytes, found %zu", n);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            DI_FAIL_AT(err, DIAL_ERR_IO, part, "choose a folder that can be written",
                       "cannot create the folder: %s", strerror(errno));
    }
    if (!di_is_dir(path))
        DI_FAIL_AT(err, DIAL_ERR_USAGE, path, "choose another name", "exists and is no folder");
done:
    return st;
}

dial_status di_sync_dir(const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, path, NULL, "cannot sync the folder: %s", strerror(errno));
done:
    if (fd >= 0) close(fd);
    return st;
}

dial_status di_rename(const char *from, const char *to, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *dir = parent_of(di_alloc_default(), to);

    if (dir == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (rename(from, to) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, to, NULL, "cannot rename '%s': %s", from, strerror(errno));
    DI_TRY(di_sync_dir(dir, err));
done:
    di_free(di_alloc_default(), dir);
    return st;
}

dial_status di_exchange(const char *a, const char *b, dial_error *err)
{
    dial_status st = DIAL_OK;
    char *dir = parent_of(di_alloc_default(), b);

    if (dir == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
    if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, b, "use a local file system (ext4, xfs, btrfs, tmpfs)",
                   "cannot exchange the folder with '%s': %s", a, strerror(errno));
    DI_TRY(di_sync_dir(dir, err));
done:
    di_free(di_alloc_default(), dir);
    return st;
}

dial_status di_remove_tree(const char *path, dial_error *err)
{
    dial_status st = DIAL_OK;
    const di_alloc *al = di_alloc_default();
    char **names = NULL;
    size_t n = 0;
    struct stat info;

    if (lstat(path, &info) != 0) goto done;
    if (!S_ISDIR(info.st_mode)) {
        if (unlink(path) != 0)
            DI_FAIL_AT(err, DIAL_ERR_IO, path, NULL, "cannot remove: %s", strerror(errno));
        goto done;
    }
    DI_TRY(di_list_dir(al, path, &names, &n, err));
    for (size_t i = 0; i < n; i++) {
        char *child = di_path_join(al, path, names[i]);

        if (child == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a path");
        st = di_remove_tree(child, err);
        di_free(al, child);
        if (st != DIAL_OK) goto done;
    }
    if (rmdir(path) != 0)
        DI_FAIL_AT(err, DIAL_ERR_IO, path, NULL, "cannot remove: %s", strerror(errno));
done:
    di_free_names(al, names, n);
    return st;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

dial_status di_list_dir(const di_alloc *al, const char *path, char ***names, size_t *n,
                        dial_error *err)
{
    dial_status st = DIAL_OK;
    DIR *dir = opendir(path);
    char **list = NULL;
    size_t count = 0, cap = 0;
    struct dirent *entry;

    if (dir == NULL)
        DI_FAIL_AT(err, errno == ENOENT ? DIAL_ERR_USAGE : DIAL_ERR_IO, path, "check the path",
                   "cannot open the folder: %s", strerror(errno));
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (count == cap) {
            char **more = di_resize(al, list, (cap + 32) * sizeof *more);

            if (more == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for the names in '%s'", path);
            list = more;
            cap += 32;
        }
        list[count] = di_strdup(al, entry->d_name);
        if (list[count] == NULL) DI_FAIL(err, DIAL_ERR_NOMEM, "no memory for a file name");
        count++;
    }
    if (count > 0) qsort(list, count, sizeof *list, by_name);
    *names = list;
    *n = count;
    list = NULL;
done:
    if (list != NULL) di_free_names(al, list, count);
    if (dir != NULL) closedir(dir);
    return st;
}

void di_free_names(const di_alloc *al, char **names, size_t n)
{
    if (names == NULL) return;
    for (size_t i = 0; i < n; i++) di_free(al, names[i]);
    di_free(al, names);
}

char *di_path_join(const di_alloc *al, const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b);
    char *p;

    if (b[0] == '/' || na == 0) return di_strdup(al, b);
    p = di_new(al, na + nb + 2);
    if (p == NULL) return NULL;
    memcpy(p, a, na);
    p[na] = '/';
    memcpy(p + na + (a[na - 1] != '/'), b, nb + 1);
    return p;
}
