/*
 * Owns: nothing. May touch: the process's privileges and filters; the facts that STATUS shows of
 * them. Never does: go on when a step fails.
 */
#include "daemon/confine.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/log.h"
#include "seccomp/landlock.h"
#include "seccomp/sandbox.h"

/* What the filter has to know of descriptors. */
static void give(const struct server *server, const struct server_setup *setup,
		 const struct epoch_file *page, struct policy_given *given)
{
	const struct epoch_detector *detectors = server->reseed->epoch->detectors;

	memset(given, 0, sizeof(*given));
	policy_give(given, POLICY_FD_LOOP, server->epoll_fd);
	policy_give(given, POLICY_FD_LOOP, server->peers.unread.epoll_fd);
	for (size_t i = 0; i < setup->socket_count; i++)
		policy_give(given, POLICY_FD_LISTEN, setup->sockets[i].fd);
	policy_give(given, POLICY_FD_READ, server->signal_watcher.fd);
	policy_give(given, POLICY_FD_READ, detectors[EPOCH_ROW_KMSG].fd);
	policy_give(given, POLICY_FD_READ, detectors[EPOCH_ROW_CLOCK].fd);
	policy_give(given, POLICY_FD_PREAD, detectors[EPOCH_ROW_VMGENID].fd);
	policy_give(given, POLICY_FD_PREAD, detectors[EPOCH_ROW_VMCLOCK].fd);
	policy_give(given, POLICY_FD_PREAD, detectors[EPOCH_ROW_SOURCE].fd);
	policy_give(given, POLICY_FD_PAGE, page->fd);
	given->handler = !server->fds_refused; /* see signals_guard_linger() */
}

/* 0 or a negative errno after a log line. */
static int enter_sandbox(struct server *server, const struct server_setup *setup,
			 const struct epoch_file *page)
{
	struct server_facts *facts = &server->facts;
	struct policy_given given;
	int err;

	facts->landlock = landlock_enter();
	if (facts->landlock < 0) {
		log_error("cannot give up the file system (Landlock): %s",
			  strerror(-facts->landlock));
		return facts->landlock;
	}
	err = sandbox_refuse_exec();
	facts->exec_refused = err > 0;
	give(server, setup, page, &given);
	if (err >= 0)
		err = sandbox_enter(&given);
	if (err)
		log_error("cannot enter the sandbox: %s", strerror(-err));
	facts->seccomp = err == 0;
	return err;
}

int confine_forever(struct server *server, const struct server_setup *setup,
		    const struct epoch_file *page, const struct privdrop_target *target)
{
	struct server_facts *facts = &server->facts;
	struct rlimit core;
	int err;

	err = privdrop_forever(target);
	if (err) {
		log_error("cannot give up privileges: %s", strerror(-err));
		return err;
	}
	facts->core_limit_zero = getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0;
	facts->undumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0;
	facts->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
	facts->uid = getuid();
	return enter_sandbox(server, setup, page);
}
