/*
 * Runs a command COUNT times, one after another, and tells in FILE what each run took. It is what measures, and it is also the loop in C that
 * programs which run a command again and again are held against.
 *
 *   measure COUNT FILE COMMAND [ARG]...
 *
 * A line for each run: nanoseconds of CLOCK_MONOTONIC at its begin and at its end, microseconds of CPU time, user and system, of all processes
 * that were waited for, KiB of memory of the largest of them, and the wait status.
 *
 * It is small and linked statically: at its exec a process counts as large as the one that it was forked from, so that no measure of
 * memory is below the size of this program.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long microseconds(struct timeval time)
{
    return time.tv_sec * 1000000LL + time.tv_usec;
}

int main(int count_of_words, char **words)
{
    if (count_of_words < 4) {
        fputs("usage: measure COUNT FILE COMMAND [ARG]...\n", stderr);
        return 2;
    }
    /* Not for the commands: they get the descriptors that we were given. */
    FILE *file = fopen(words[2], "we");
    if (file == NULL) {
        perror(words[2]);
        return 2;
    }
    for (long run = atol(words[1]); run > 0; run--) {
        struct rusage usage;
        int status;
        long long begin = now();
        pid_t child = fork();
        if (child == 0) {
            execvp(words[3], words + 3);
            _exit(127);
        }
        if (child < 0 || wait4(child, &status, 0, &usage) < 0) {
            perror("measure");
            return 2;
        }
        long long end = now();
        fprintf(file, "%lld %lld %lld %ld %d\n", begin, end, microseconds(usage.ru_utime) + microseconds(usage.ru_stime), usage.ru_maxrss,
                status);
    }
    return fclose(file) == 0 ? 0 : 2;
}
