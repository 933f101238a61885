/*
 * Owns: the process's signal mask and its alarm. May touch: nothing else.
 * Never does: anything in a handler.
 */
#include "daemon/signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <sys/time.h>

/* How long a passed TCP socket may hold the loop up where it cannot be refused. */
#define SIGNALS_LINGER_US 50000

int signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void no_op(int signal_number)
{
	(void)signal_number;
}

int signals_guard_linger(void)
{
	const struct itimerval every = {{0, SIGNALS_LINGER_US}, {0, SIGNALS_LINGER_US}};
	struct sigaction action = {.sa_handler = no_op};

	if (sigaction(SIGALRM, &action, NULL) < 0 || setitimer(ITIMER_REAL, &every, NULL) < 0)
		return -errno;
	return 0;
}
