/*
 * The order of start-up, and nothing else. A step that fails ends the process: there is no
 * half-protected rngd.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "crypto/chacha20.h"
#include "daemon/inherit.h"
#include "daemon/listener.h"
#include "daemon/log.h"
#include "daemon/options.h"
#include "daemon/privdrop.h"
#include "daemon/reseed.h"
#include "daemon/server.h"
#include "daemon/service.h"
#include "host/cpu.h"
#include "host/secmem.h"
#include "seccomp/sandbox.h"

/* Everything that is opened on the way up and closed on the way down. */
struct daemon {
	struct options options;
	struct privdrop_target target;
	struct service service;
	struct listener listener;
	int listen_fds[SERVER_LISTENERS_MAX];
	size_t listen_count;
	struct reseed reseed;
	struct server server;
	const struct chacha20_impl *keystream;
};

/* Our own descriptors, and a few for clients. */
#define MAIN_MIN_FILES 32

/* No core file, no tracer, and as many descriptors as the system lets us have. */
static int limit_resources(void)
{
	const struct rlimit no_core = {0, 0};
	struct rlimit files;

	/* Undumpable from the start; changing ids undoes it, so privdrop_forever() does it again.
	 */
	if (setrlimit(RLIMIT_CORE, &no_core) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
	    getrlimit(RLIMIT_NOFILE, &files) < 0)
		return -errno;
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		return -errno;
	return files.rlim_cur < MAIN_MIN_FILES ? -EMFILE : 0;
}

static int open_sockets(struct daemon *daemon)
{
	int n = service_listen_fds(daemon->listen_fds, SERVER_LISTENERS_MAX);
	int err;

	if (n < 0)
		return n;
	if (n > 0) {
		daemon->listen_count = (size_t)n;
		return 0;
	}
	err = listener_open(&daemon->listener, daemon->options.socket_path,
			    daemon->options.socket_mode);
	if (err)
		return err;
	daemon->listen_fds[0] = daemon->listener.fd;
	daemon->listen_count = 1;
	return 0;
}

/* Every implementation this processor can run, not only the one that will be used. */
static int test_keystream(struct daemon *daemon)
{
	const struct chacha20_impl *impl;
	unsigned usable = 0;

	if (cpu_has_avx2())
		usable |= CHACHA20_ISA_AVX2;
	if (cpu_has_avx512())
		usable |= CHACHA20_ISA_AVX512;
	for (impl = chacha20_impls(); impl->name; impl++) {
		if (impl->needs_isa & ~usable)
			continue;
		if (chacha20_selftest(impl) != 0) {
			log_error("self-test: ChaCha20 (%s) gives a wrong answer; not starting",
				  impl->name);
			return -EBADMSG;
		}
	}
	daemon->keystream = chacha20_select(usable);
	return 0;
}

static int find_user(struct daemon *daemon)
{
	const char *user = daemon->options.user;
	int err = 0;

	if (geteuid() != 0)
		return 0;
	err = privdrop_lookup(user, &daemon->target);
	if (err == -EINVAL)
		log_error("--user %s is root; name an unprivileged user", user);
	else if (err)
		log_error("cannot look up user %s: %s", user, strerror(-err));
	else if (daemon->target.fallback)
		log_warning("no user %s: running as uid %u instead, which other programs may "
			    "share; make the user or name one with --user",
			    user, daemon->target.uid);
	return err;
}

static int confine(struct daemon *daemon)
{
	struct server_facts *facts = &daemon->server.facts;
	struct rlimit core;
	int err;

	err = privdrop_forever(&daemon->target);
	if (err) {
		log_error("cannot give up privileges: %s", strerror(-err));
		return err;
	}
	facts->keystream = daemon->keystream->name;
	facts->core_limit_zero = getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0;
	facts->undumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0;
	facts->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
	facts->uid = getuid();
	err = sandbox_enter();
	if (err) {
		log_error("cannot enter the sandbox: %s", strerror(-err));
		return err;
	}
	facts->seccomp = true;
	return 0;
}

static int daemon_start(struct daemon *daemon)
{
	struct options *options = &daemon->options;
	int err;

	/* 1. Nothing secret exists yet: make sure that none can be dumped later. */
	err = limit_resources();
	if (err) {
		log_error("cannot set resource limits: %s (rngd needs at least %d descriptors)",
			  strerror(-err), MAIN_MIN_FILES);
		return err;
	}
	err = secmem_lock_stack();
	if (err) {
		log_error("cannot lock the stack: %s; raise the limit on locked memory (ulimit -l, "
			  "LimitMEMLOCK=)",
			  strerror(-err));
		return err;
	}
	/* 2. Everything that needs the file system or the account database. */
	err = find_user(daemon);
	if (err)
		return err;
	service_init(&daemon->service);
	err = open_sockets(daemon);
	if (err)
		return err;
	/* 3. Self-tests, before anything is computed with what they test. */
	err = test_keystream(daemon);
	if (err)
		return err;
	/* 4. Secret memory and the first seed; without it nothing can be served. */
	if (sodium_init() < 0) {
		log_error("cannot initialise libsodium");
		return -EIO;
	}
	err = reseed_init(&daemon->reseed, (int64_t)options->reseed_interval_s * 1000,
			  options->memfd_secret);
	if (err)
		return err;
	/* 5. The loop, with every watcher it will ever need outside of connections. */
	err = server_init(&daemon->server, daemon->listen_fds, daemon->listen_count,
			  &daemon->reseed, &daemon->service, options->memfd_secret);
	if (err)
		return err;
	/* 6. Privileges, then the sandbox: from here on only serving is possible. */
	return confine(daemon);
}

static void daemon_stop(struct daemon *daemon)
{
	server_deinit(&daemon->server);
	reseed_deinit(&daemon->reseed);
	listener_close(&daemon->listener);
	service_deinit(&daemon->service);
}

int main(int argc, char **argv)
{
	struct daemon daemon = {0};
	int err;

	/* 0. Whatever started us: closed descriptors, open ones, blocked signals. */
	err = inherit_clean(STDERR_FILENO + 1 + service_passed_fds());
	if (err)
		return EXIT_FAILURE;
	log_init();
	err = options_parse(&daemon.options, argc, argv);
	if (err)
		return 2;
	if (daemon.options.action == OPTIONS_HELP)
		return options_help() ? EXIT_FAILURE : EXIT_SUCCESS;
	if (daemon.options.action == OPTIONS_VERSION)
		return puts("rngd " RNGD_VERSION) == EOF ? EXIT_FAILURE : EXIT_SUCCESS;

	daemon.service.notify_fd = -1;
	daemon.listener.fd = -1;
	daemon.listener.lock_fd = -1;
	err = daemon_start(&daemon);
	if (!err) {
		log_info("rngd %s serves (keystream %s, state in %s memory)", RNGD_VERSION,
			 daemon.keystream->name,
			 daemon.reseed.mem.secret ? "memfd_secret" : "locked");
		service_notify(&daemon.service, "READY=1");
		server_run(&daemon.server);
	}
	daemon_stop(&daemon);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
