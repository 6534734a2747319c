/* Loaded into a server before the C library (LD_PRELOAD), so that its disk can be made slow, or to hang.
 *
 * JEPSEN_DISK_DIR is the directory that lies on that disk. JEPSEN_DISK names a file that is mapped:
 *
 *   0  until when that is so, in nanoseconds since the system was started; 0: all is well
 *   1  how long a sync takes, in nanoseconds, before it is done
 *   2  how long a write takes
 *   3  how many syncs have met this
 *   4  how many writes
 *   5  how long they have waited, together, in nanoseconds
 *
 * Nothing takes longer than until then, so a fault ends by itself, whatever becomes of us. Unlike a file system that is
 * frozen, it keeps nobody from being killed. Reads are answered as ever, as if from memory.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct page {
    _Atomic int64_t until, sync, write, syncs, writes, waited;
} *page;

__attribute__((constructor)) static void map_page(void) {
    const char *path = getenv("JEPSEN_DISK");
    int file = path == NULL || getenv("JEPSEN_DISK_DIR") == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) page = mapped;
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_BOOTTIME, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static int lies_there(int fd) {
    const char *dir = getenv("JEPSEN_DISK_DIR");
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    size_t prefix = strlen(dir);
    return strncmp(path, dir, prefix) == 0 && (path[prefix] == '/' || path[prefix] == 0);
}

static void wait_for(int fd, int is_sync) {
    if (page == NULL || atomic_load_explicit(&page->until, memory_order_relaxed) == 0) return;
    int before = errno;
    int64_t takes = is_sync ? page->sync : page->write, begun = now();
    if (takes > 0 && begun < page->until && lies_there(fd)) {
        atomic_fetch_add(is_sync ? &page->syncs : &page->writes, 1);
        int64_t time = begun;
        while (time < page->until && time - begun < takes) {
            int64_t left = takes - (time - begun);
            usleep(left < 1000000 ? left / 1000 + 1 : 1000);
            int64_t next = now();
            atomic_fetch_add(&page->waited, next - time);
            time = next;
        }
    }
    errno = before;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALL(name, is_sync, fd, ...)                                   \
    static _Atomic(__typeof__(&name)) real;                            \
    __typeof__(&name) known = atomic_load_explicit(&real, memory_order_relaxed); \
    if (known == NULL) {                                               \
        known = REAL(name);                                            \
        atomic_store_explicit(&real, known, memory_order_relaxed);     \
    }                                                                  \
    wait_for(fd, is_sync);                                             \
    return known(fd, ##__VA_ARGS__)

int fsync(int fd) { CALL(fsync, 1, fd); }
int fdatasync(int fd) { CALL(fdatasync, 1, fd); }
int sync_file_range(int fd, off_t at, off_t count, unsigned flags) { CALL(sync_file_range, 1, fd, at, count, flags); }
ssize_t write(int fd, const void *bytes, size_t count) { CALL(write, 0, fd, bytes, count); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { CALL(pwrite, 0, fd, bytes, count, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { CALL(pwrite64, 0, fd, bytes, count, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) { CALL(writev, 0, fd, parts, count); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { CALL(pwritev, 0, fd, parts, count, at); }
