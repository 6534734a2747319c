/* Says what time it is by every clock, in milliseconds, and how long a wait for 100 ms of the wall clock takes. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>

static long long ms(struct timespec time) { return time.tv_sec * 1000ll + time.tv_nsec / 1000000; }

static struct timespec by(clockid_t clock) {
    struct timespec time = {0};
    clock_gettime(clock, &time);
    return time;
}

int main(void) {
    struct timeval day = {0};
    gettimeofday(&day, NULL);
    printf("realtime %lld\n", ms(by(CLOCK_REALTIME)));
    printf("coarse %lld\n", ms(by(CLOCK_REALTIME_COARSE)));
    printf("gettimeofday %lld\n", day.tv_sec * 1000ll + day.tv_usec / 1000);
    printf("time %lld\n", time(NULL) * 1000ll);
    printf("monotonic %lld\n", ms(by(CLOCK_MONOTONIC)));
    printf("boottime %lld\n", ms(by(CLOCK_BOOTTIME)));

    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    struct timespec begun = by(CLOCK_MONOTONIC), until = by(CLOCK_REALTIME);
    until.tv_nsec += 100000000;
    if (until.tv_nsec >= 1000000000) until.tv_nsec -= 1000000000, until.tv_sec += 1;
    pthread_mutex_lock(&mutex);
    while (pthread_cond_timedwait(&cond, &mutex, &until) != ETIMEDOUT) continue;
    printf("waited %lld\n", ms(by(CLOCK_MONOTONIC)) - ms(begun));
    return 0;
}
