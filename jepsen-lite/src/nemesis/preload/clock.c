/* Loaded into a server before the C library (LD_PRELOAD), so that its wall clock can be moved. Its monotonic clocks are
 * left alone: no administrator and no NTP can move those.
 *
 * JEPSEN_CLOCK names a file that is mapped:
 *
 *   0  how far the wall clock is ahead, in nanoseconds; 0: it is right
 *   1  if not 0, it is ahead and right by turns, for so many nanoseconds each
 *   2  how often somebody was told a moved time
 *   3  how far ahead the last answer was
 *   4  how often an answer was moved by something else than the one before
 *
 * A wait until a moment of the wall clock (pthread_cond_timedwait) is one in moved time, too. It is cut in pieces of at
 * most 50 ms that end as if by themselves, as such waits may, so that it ends when the moved clock says so. Not
 * covered: a wait that had begun before the clock was moved ends by the true clock. Who asks the kernel without the C
 * library is told the truth.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ll
#define PIECE (50 * 1000000ll)

static struct page {
    _Atomic int64_t ahead, turn, moved, last, turns;
} *page;

__attribute__((constructor)) static void map_page(void) {
    const char *path = getenv("JEPSEN_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) page = mapped;
}

typedef int (*gettime)(clockid_t, struct timespec *);

static int true_time(clockid_t clock, struct timespec *time) {
    static _Atomic(gettime) real;
    gettime known = atomic_load_explicit(&real, memory_order_relaxed);
    if (known == NULL) {
        known = (gettime)dlsym(RTLD_NEXT, "clock_gettime");
        atomic_store_explicit(&real, known, memory_order_relaxed);
    }
    return known(clock, time);
}

static int64_t ns(const struct timespec *time) { return time->tv_sec * SECOND + time->tv_nsec; }

static struct timespec of_ns(int64_t ns) {
    struct timespec time = {.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};
    return time;
}

/* How far ahead the wall clock is now. */
static int64_t ahead_now(void) {
    int64_t ahead = page == NULL ? 0 : atomic_load_explicit(&page->ahead, memory_order_relaxed);
    if (ahead == 0) return 0;
    int64_t turn = atomic_load_explicit(&page->turn, memory_order_relaxed);
    if (turn <= 0) return ahead;
    struct timespec monotonic;
    true_time(CLOCK_MONOTONIC, &monotonic);
    return ns(&monotonic) / turn % 2 == 0 ? ahead : 0;
}

/* As it is answered, and counted. */
static int64_t ahead_told(void) {
    int64_t ahead = ahead_now();
    if (page == NULL || (ahead == 0 && atomic_load_explicit(&page->ahead, memory_order_relaxed) == 0)) return 0;
    if (ahead != 0) atomic_fetch_add_explicit(&page->moved, 1, memory_order_relaxed);
    if (atomic_exchange_explicit(&page->last, ahead, memory_order_relaxed) != ahead)
        atomic_fetch_add_explicit(&page->turns, 1, memory_order_relaxed);
    return ahead;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = true_time(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI)) {
        int64_t ahead = ahead_told();
        if (ahead != 0) *time = of_ns(ns(time) + ahead);
    }
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    if (zone != NULL) memset(zone, 0, sizeof(struct timezone));
    int result = clock_gettime(CLOCK_REALTIME, &now);
    if (result == 0) *time = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return result;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (where != NULL) *where = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *time, int base) {
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, time) == 0 ? base : 0;
}

typedef int (*timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static _Atomic(timedwait) real;
    timedwait known = atomic_load_explicit(&real, memory_order_relaxed);
    if (known == NULL) {
        /* There is an older one of another form, which dlsym may find first. */
        known = (timedwait)dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
        if (known == NULL) known = (timedwait)dlsym(RTLD_NEXT, "pthread_cond_timedwait");
        atomic_store_explicit(&real, known, memory_order_relaxed);
    }
    /* glibc keeps the clock of a condition in this bit: 1 is the monotonic one. */
    int is_wall = (cond->__data.__wrefs & 2) == 0;
    int is_moved = page != NULL && atomic_load_explicit(&page->ahead, memory_order_relaxed) != 0;
    if (!is_wall || !is_moved || until->tv_nsec < 0 || until->tv_nsec >= SECOND) return known(cond, mutex, until);
    struct timespec now;
    true_time(CLOCK_REALTIME, &now);
    int64_t left = until->tv_sec - now.tv_sec > 1000000000 ? PIECE : ns(until) - ns(&now) - ahead_now();
    struct timespec end = of_ns(ns(&now) + (left < 0 ? 0 : left < PIECE ? left : PIECE));
    int result = known(cond, mutex, &end);
    if (result != ETIMEDOUT) return result;
    true_time(CLOCK_REALTIME, &now);
    return ns(&now) + ahead_now() >= ns(until) ? ETIMEDOUT : 0;
}
