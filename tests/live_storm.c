/* SPDX-License-Identifier: Apache-2.0
 *
 * Load for test_live_storms.py, each bounded:
 *
 *     live_storm bomb USER PROCESSES SECONDS     everybody forks all the time, as another user, of whom there may be so many processes
 *     live_storm threads COUNT FILE              so many threads at once; then FILE is opened
 *     live_storm execs COUNT PROGRAM             so many programs, one after the other, each with its number
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t go = PTHREAD_COND_INITIALIZER;
static int done;

static void *wait_for_the_end(void *unused)
{
    pthread_mutex_lock(&lock);
    while (!done)
        pthread_cond_wait(&go, &lock);
    pthread_mutex_unlock(&lock);
    return unused;
}

static int threads(int count, const char *file)
{
    pthread_t *all = calloc((size_t)count, sizeof *all);
    pthread_attr_t small;
    int made = 0;

    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 32768);
    while (made < count && pthread_create(&all[made], &small, wait_for_the_end, NULL) == 0)
        made++;
    close(open(file, O_RDONLY));
    pthread_mutex_lock(&lock);
    done = 1;
    pthread_cond_broadcast(&go);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < made; i++)
        pthread_join(all[i], NULL);
    printf("%d\n", made);
    return made == count ? 0 : 1;
}

static int bomb(int user, int processes, int seconds)
{
    struct rlimit limit = {(rlim_t)processes, (rlim_t)processes};
    pid_t first = fork();

    if (first == 0) {
        setpgid(0, 0);
        if (setrlimit(RLIMIT_NPROC, &limit) || setuid((uid_t)user))
            _exit(1);
        alarm((unsigned)seconds + 60);          /* should the killing below fail: alarms aren't inherited, so each sets its own */
        for (;;)
            if (fork() == 0)
                alarm((unsigned)seconds + 60);
    }
    sleep((unsigned)seconds);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int i = 0; i < 10000; i++) {           /* some are born while others die */
        if (kill(-first, SIGKILL) && i > 0)
            break;
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        usleep(1000);
    }
    while (waitpid(-1, NULL, 0) > 0)
        ;
    return 0;
}

static int execs(int count, char *program)
{
    for (int i = 0; i < count; i++) {
        char number[16];
        char *arguments[] = {program, number, NULL}, *environment[] = {NULL};
        pid_t child;
        snprintf(number, sizeof number, "%d", i);
        if (posix_spawn(&child, program, NULL, NULL, arguments, environment))
            return 1;
        waitpid(child, NULL, 0);
    }
    return 0;
}

int main(int argc, char **argv)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (argc == 5 && strcmp(argv[1], "bomb") == 0)
        return bomb(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    if (argc == 4 && strcmp(argv[1], "threads") == 0)
        return threads(atoi(argv[2]), argv[3]);
    if (argc == 4 && strcmp(argv[1], "execs") == 0)
        return execs(atoi(argv[2]), argv[3]);
    return 2;
}
