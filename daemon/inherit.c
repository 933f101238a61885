/*
 * Owns: descriptors 0 to 2 where it had to open them. May touch: what was inherited.
 * Never does: log: there may be nowhere to log to yet.
 */
#include "daemon/inherit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_standard(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			return -errno;
	} while (fd <= STDERR_FILENO);
	close(fd);
	return 0;
}

static int clean_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
	    signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
		return -errno;
	return 0;
}

int inherit_clean(int first_foreign)
{
	int err = open_standard();

	if (!err)
		err = clean_signals();
	if (!err) {
		closefrom(first_foreign);
		umask(022);
	}
	return err;
}
