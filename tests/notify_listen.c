/*
 * notify_listen - plays the service manager for one command: passes it a socket, and hears what it
 *has to say. Owns: the command, the sockets. May touch: the files named. Never does: restart
 *anything.
 *
 *	notify_listen FILE NOTIFY LISTEN -- COMMAND...
 *
 * NOTIFY: the address for NOTIFY_SOCKET, a path or "@name"; "-" for none; what begins with "=" is
 *put into the environment as it is, without a socket. LISTEN: a path to listen on and pass on,
 *"tcp", "dgram" (sockets that are not fit), or "-". Each message is a line in FILE, with the
 *seccomp mode the command was in when it came: "READY=1 seccomp=2". SIGTERM is passed on. Ends as
 *the command does.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_PASSED_FD 3 /* SD_LISTEN_FDS_START */

static void die(const char *what)
{
	fprintf(stderr, "notify_listen: %s: %s\n", what, strerror(errno));
	exit(125);
}

static int unix_socket(int type, const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(name);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (len >= sizeof(addr.sun_path))
		errno = ENAMETOOLONG;
	if (fd < 0 || len >= sizeof(addr.sun_path))
		die(name);
	memcpy(addr.sun_path, name, len);
	if (name[0] == '@')
		addr.sun_path[0] = '\0';
	else
		unlink(name);
	if (bind(fd, (const struct sockaddr *)&addr,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		die(name);
	return fd;
}

/* The socket to pass, or -1. */
static int listen_socket(const char *what)
{
	const struct sockaddr_in loopback = {.sin_family = AF_INET,
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd;

	if (strcmp(what, "-") == 0)
		return -1;
	if (strcmp(what, "dgram") == 0)
		return unix_socket(SOCK_DGRAM, "@rngd-notify-listen-dgram");
	if (strcmp(what, "tcp") == 0) {
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || bind(fd, (const struct sockaddr *)&loopback, sizeof(loopback)) < 0)
			die("tcp");
	} else {
		fd = unix_socket(SOCK_STREAM, what);
	}
	if (listen(fd, SOMAXCONN) < 0)
		die("listen");
	return fd;
}

static void run_command(const char *notify, int listen_fd, char **argv)
{
	char pid[16];

	if (strcmp(notify, "-") != 0)
		setenv("NOTIFY_SOCKET", notify[0] == '=' ? notify + 1 : notify, 1);
	if (listen_fd >= 0) {
		if (dup2(listen_fd, FIRST_PASSED_FD) < 0) /* without close-on-exec */
			die("dup2");
		snprintf(pid, sizeof(pid), "%d", getpid());
		setenv("LISTEN_FDS", "1", 1);
		setenv("LISTEN_PID", pid, 1);
	}
	execvp(argv[0], argv);
	die(argv[0]);
}

static int seccomp_mode(pid_t pid)
{
	char path[64], line[128];
	int mode = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Seccomp: %d", &mode) == 1)
			break;
	if (file)
		fclose(file);
	return mode;
}

/* Takes down all messages that have come. */
static void hear(int fd, FILE *file, pid_t pid)
{
	char message[512];
	ssize_t n;

	while ((n = recv(fd, message, sizeof(message), MSG_DONTWAIT)) > 0) {
		fprintf(file, "%.*s seccomp=%d\n", (int)n, message, seccomp_mode(pid));
		fflush(file);
	}
}

/* Until the command has ended; what it said last is waiting then. */
static int attend(int fd, FILE *file, pid_t command)
{
	struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.events = POLLIN}};

	fds[1].fd = pidfd_open(command, 0);
	if (fds[1].fd < 0)
		return 125;
	while (fds[1].revents == 0) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return 125;
		hear(fd, file, command);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int notify_fd = -1, listen_fd;
	pid_t child;
	FILE *file;

	if (argc < 6 || strcmp(argv[4], "--") != 0) {
		fputs("usage: notify_listen FILE NOTIFY LISTEN -- COMMAND...\n", stderr);
		return 2;
	}
	file = fopen(argv[1], "we");
	if (!file)
		die(argv[1]);
	if (strcmp(argv[2], "-") != 0 && argv[2][0] != '=')
		notify_fd = unix_socket(SOCK_DGRAM, argv[2]);
	listen_fd = listen_socket(argv[3]);
	child = notify_fd >= 0 ? fork() : 1;
	if (child < 0)
		die("fork");
	if (child == 0) {
		if (listen_fd >= 0)
			close(listen_fd); /* when the command ends, its socket is dead */
		return attend(notify_fd, file, getppid());
	}
	run_command(argv[2], listen_fd, argv + 5);
	return 125;
}
