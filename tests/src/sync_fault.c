/* Loaded into a server before the C library (LD_PRELOAD), so that its fsync and fdatasync can be made to misbehave once.
 *
 * RINGFENCE_SYNC_FAULTS names a directory. A file `order` in it says what is to happen, and to which file: a word for the
 * fault, then words that must all be in the path of the file, or `=PATH` for that very file. The first sync that fits takes
 * the order by renaming it to `bite`, and appends the path. Everything else goes through as ever.
 *
 *   fail   nothing is synced, the answer is EIO
 *   kill   nothing is synced, the process is gone
 *   hang   it takes until `bite` is removed
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fits(char *words, const char *path) {
    char *rest = NULL;
    for (char *word = strtok_r(words, " \n", &rest); word != NULL; word = strtok_r(NULL, " \n", &rest)) {
        if (word[0] == '=' ? strcmp(word + 1, path) != 0 : strstr(path, word) == NULL) return 0;
    }
    return 1;
}

/* What is to happen to this sync: `f`ail, `k`ill, `h`ang, or 0 for nothing. */
static char fault(int fd, char *bite) {
    const char *dir = getenv("RINGFENCE_SYNC_FAULTS");
    char order[PATH_MAX], text[PATH_MAX], link[64], path[PATH_MAX];
    if (dir == NULL) return 0;
    snprintf(order, sizeof order, "%s/order", dir);
    snprintf(bite, PATH_MAX, "%s/bite", dir);
    int file = open(order, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return 0;
    text[length] = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    char *words = strchr(text, ' ');
    if (words == NULL || !fits(words + 1, path)) return 0;
    if (rename(order, bite) != 0) return 0; /* another thread was quicker */
    file = open(bite, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (file >= 0) {
        ssize_t written = write(file, path, strlen(path));
        (void)written;
        close(file);
    }
    return text[0];
}

static int sync_with(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    char bite[PATH_MAX];
    int before = errno;
    char what = fault(fd, bite);
    if (what == 'f') {
        errno = EIO;
        return -1;
    }
    if (what == 'k') kill(getpid(), SIGKILL);
    if (what == 'h') {
        while (access(bite, F_OK) == 0) usleep(1000);
    }
    errno = before;
    return real(fd);
}

int fsync(int fd) { return sync_with("fsync", fd); }
int fdatasync(int fd) { return sync_with("fdatasync", fd); }
