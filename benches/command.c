/*
 * The command that is run: sleeps, leaves a mark, and exits. As small as a command can be, so that what is measured is what runs it.
 *
 *   command STATUS FILE [MILLISECONDS]
 *
 * The mark is 8 bytes at the end of FILE, the nanoseconds of CLOCK_MONOTONIC at its end: they tell how often it was run, and when it ended last.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int count_of_words, char **words)
{
    if (count_of_words < 3)
        return 2;
    if (count_of_words > 3) {
        long milliseconds = atol(words[3]);
        struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
        nanosleep(&pause, NULL);
    }
    int file = open(words[2], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    int64_t mark = time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
    if (file < 0 || write(file, &mark, sizeof mark) != sizeof mark)
        return 3;
    return atoi(words[1]);
}
