/* Preloaded into a process, lets a system call fail that would write below a folder: the n-th, or all from the n-th on.

   Counted are the calls that may need room: write, pwrite, writev, ftruncate, fallocate, sendfile, copy_file_range,
   fsync, and open, rename, link and mkdir where they make an entry. The clock on the wall can be set there, too, or the
   process killed; then unlink and rmdir count as well. What is counted can be written down. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char prefix[PATH_MAX], refused_call[PATH_MAX + 64];
static long nth, count, shift;
static int lasting, error, shifting, killing, noted = -1;

/* Begin to count below `folder`; with n > 0 let the n-th call fail with `code`, and with `last` all after it. */
void shim_arm(const char *folder, long n, int last, int code) {
    snprintf(prefix, sizeof prefix, "%s/", folder);
    nth = n, lasting = last, error = code, count = 0, refused_call[0] = 0, shifting = 0, killing = 0;
}

/* Begin to count; before the n-th call, or with n = 0 never, the process is killed. */
void shim_kill(const char *folder, long n) {
    shim_arm(folder, n, 0, 0);
    killing = 1;
}

/* Write each call that is counted to this file: its name and the path, a line each. */
void shim_note(int file) { noted = file; }

/* Begin to count; from the n-th call on the wall clock is `seconds` off. */
void shim_clock(const char *folder, long n, long seconds) {
    shim_arm(folder, n, 0, 0);
    shift = seconds, shifting = 1;
}

long shim_count(void) { return count; }

/* The first call that failed: its name and the path. */
const char *shim_refused_call(void) { return refused_call; }

static int refused(const char *call, const char *path) {
    if (!prefix[0] || strncmp(path, prefix, strlen(prefix)))
        return 0;
    long now = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (noted >= 0)
        dprintf(noted, "%s %s\n", call, path + strlen(prefix));
    if (killing && now == nth)
        kill(getpid(), SIGKILL);
    if (!error || !nth || now < nth || (now > nth && !lasting))
        return 0;
    if (now == nth)
        snprintf(refused_call, sizeof refused_call, "%s %s", call, path + strlen(prefix));
    errno = error;
    return 1;
}

static int refused_fd(const char *call, int fd) {
    char link[64], path[PATH_MAX];
    if (!prefix[0])
        return 0;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0)
        return 0;
    path[length] = 0;
    return refused(call, path);
}

static int refused_at(const char *call, int folder, const char *path) {
    char link[64], whole[2 * PATH_MAX];
    if (!prefix[0] || !path)
        return 0;
    if (path[0] == '/')
        return refused(call, path);
    int before = errno;
    snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, whole, PATH_MAX);
    errno = before;
    if (length < 0)
        return 0;
    snprintf(whole + length, sizeof whole - length, "/%s", path);
    return refused(call, whole);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define ON_FD(kind, name, parameters, arguments) \
    kind name parameters { \
        REAL(name); \
        return refused_fd(#name, fd) ? -1 : real arguments; \
    }
ON_FD(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
ON_FD(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
ON_FD(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
ON_FD(ssize_t, writev, (int fd, const struct iovec *parts, int many), (fd, parts, many))
ON_FD(ssize_t, pwritev, (int fd, const struct iovec *parts, int many, off_t at), (fd, parts, many, at))
ON_FD(int, ftruncate, (int fd, off_t size), (fd, size))
ON_FD(int, ftruncate64, (int fd, off64_t size), (fd, size))
ON_FD(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
ON_FD(ssize_t, sendfile, (int fd, int from, off_t *at, size_t size), (fd, from, at, size))
ON_FD(ssize_t, sendfile64, (int fd, int from, off64_t *at, size_t size), (fd, from, at, size))
ON_FD(int, fsync, (int fd), (fd))
ON_FD(int, fdatasync, (int fd), (fd))

ssize_t copy_file_range(int from, off64_t *at, int fd, off64_t *to, size_t size, unsigned flags) {
    REAL(copy_file_range);
    return refused_fd("copy_file_range", fd) ? -1 : real(from, at, fd, to, size, flags);
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        REAL(name); \
        return (flags & O_CREAT) && refused_at(#name, AT_FDCWD, path) ? -1 : real(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        REAL(name); \
        return (flags & O_CREAT) && refused_at(#name, folder, path) ? -1 : real(folder, path, flags, mode); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return refused_at("mkdir", AT_FDCWD, path) ? -1 : real(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(mkdirat);
    return refused_at("mkdirat", folder, path) ? -1 : real(folder, path, mode);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return refused_at("rename", AT_FDCWD, to) ? -1 : real(from, to);
}

int renameat(int source, const char *from, int folder, const char *to) {
    REAL(renameat);
    return refused_at("renameat", folder, to) ? -1 : real(source, from, folder, to);
}

int link(const char *from, const char *to) {
    REAL(link);
    return refused_at("link", AT_FDCWD, to) ? -1 : real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    return killing && refused_at("unlink", AT_FDCWD, path) ? -1 : real(path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat);
    return killing && refused_at("unlinkat", folder, path) ? -1 : real(folder, path, flags);
}

int rmdir(const char *path) {
    REAL(rmdir);
    return killing && refused_at("rmdir", AT_FDCWD, path) ? -1 : real(path);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int found = real(clock, now);
    if (!found && shifting && count >= nth && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += shift;
    return found;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec, now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *there) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (there)
        *there = exact.tv_sec;
    return exact.tv_sec;
}
