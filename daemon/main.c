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
#include "daemon/confine.h"
#include "daemon/epoch.h"
#include "daemon/epoch_file.h"
#include "daemon/inherit.h"
#include "daemon/inputs.h"
#include "daemon/listener.h"
#include "daemon/log.h"
#include "daemon/options.h"
#include "daemon/privdrop.h"
#include "daemon/reseed.h"
#include "daemon/server.h"
#include "daemon/service.h"
#include "host/cpu.h"
#include "host/secmem.h"

/* Everything that is opened on the way up and closed on the way down. */
struct daemon {
	struct options options;
	struct privdrop_target target;
	struct service service;
	struct listener listener;
	struct listener control;
	struct server_setup setup;
	struct inputs inputs;
	struct epoch_file page;
	struct epoch epoch;
	struct reseed reseed;
	struct server server;
	const struct chacha20_impl *keystream;
};

_Static_assert(SERVICE_SOCKETS_MAX <= SERVER_LISTENERS_MAX, "every socket passed has a place");

/* Our own descriptors, and a few for clients. */
#define MAIN_MIN_FILES ((int)(PEERS_OWN_FILES + QUOTA_RESERVE + PEERS_MIN_CONNECTIONS))

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
	return files.rlim_cur < (rlim_t)MAIN_MIN_FILES ? -EMFILE : 0;
}

static void add_socket(struct server_setup *setup, int fd, bool control)
{
	setup->sockets[setup->socket_count].fd = fd;
	setup->sockets[setup->socket_count].control = control;
	setup->socket_count++;
}

/* The manager's sockets, or our own two. */
static int open_sockets(struct daemon *daemon, const struct service_sockets *passed)
{
	const struct options *options = &daemon->options;
	int err;

	for (size_t i = 0; i < passed->public_count; i++)
		add_socket(&daemon->setup, passed->public_fds[i], false);
	for (size_t i = 0; i < passed->control_count; i++)
		add_socket(&daemon->setup, passed->control_fds[i], true);
	if (daemon->setup.socket_count > 0)
		return 0;
	err = listener_open(&daemon->listener, options->socket_path, options->socket_mode);
	if (err)
		return err;
	add_socket(&daemon->setup, daemon->listener.fd, false);
	if (options->control_path[0] == '\0') {
		log_warning(
		    "no control socket: beside %s its path would be too long; name one with "
		    "--control",
		    options->socket_path);
		return 0;
	}
	err = listener_open(&daemon->control, options->control_path, options->control_mode);
	if (!err)
		add_socket(&daemon->setup, daemon->control.fd, true);
	return err;
}

static void open_inputs(struct daemon *daemon, const int passed[INPUTS_ROWS])
{
	const struct options *options = &daemon->options;
	const char *const paths[INPUTS_ROWS] = {
	    [INPUTS_EPOCH_PAGE] = options->epoch_path,
	    [INPUTS_KMSG] = options->kmsg_path,
	    [INPUTS_VMGENID] = options->vmgenid_path,
	    [INPUTS_VMCLOCK] = options->vmclock_path,
	    [INPUTS_EPOCH_SOURCE] = options->epoch_source_path,
	};

	inputs_open(&daemon->inputs, paths, passed);
}

/* Published where that is possible; where it was asked for by name, it must be. */
static int open_page(struct daemon *daemon)
{
	const struct options *options = &daemon->options;
	int page_fd = inputs_take(&daemon->inputs, INPUTS_EPOCH_PAGE);
	int lock_fd = inputs_take(&daemon->inputs, INPUTS_EPOCH_LOCK);
	int err = page_fd < 0 ? page_fd : 0;

	if (!err)
		err = epoch_file_open(&daemon->page, options->epoch_path, page_fd, lock_fd);
	if (!err || options->epoch_asked || err == -EADDRINUSE) {
		daemon->setup.page_fd = err ? -1 : daemon->page.reader_fd;
		return err;
	}
	log_warning("going on without an epoch page (%s): programs see a clone only when they ask",
		    strerror(-err));
	daemon->setup.page_fd = -1;
	err = epoch_file_open_private(&daemon->page);
	if (err)
		log_error("no memory for the epoch: %s", strerror(-err));
	return err;
}

static void start_detectors(struct daemon *daemon)
{
	struct inputs *inputs = &daemon->inputs;
	const int fds[EPOCH_ROWS] = {
	    [EPOCH_ROW_VMGENID] = inputs_take(inputs, INPUTS_VMGENID),
	    [EPOCH_ROW_VMCLOCK] = inputs_take(inputs, INPUTS_VMCLOCK),
	    [EPOCH_ROW_SOURCE] = inputs_take(inputs, INPUTS_EPOCH_SOURCE),
	    [EPOCH_ROW_KMSG] = inputs_take(inputs, INPUTS_KMSG),
	    [EPOCH_ROW_KERNEL] = -ENOENT,
	    [EPOCH_ROW_CLOCK] = -ENOENT,
	};
	const char *const paths[EPOCH_ROWS] = {
	    [EPOCH_ROW_VMGENID] = inputs->paths[INPUTS_VMGENID],
	    [EPOCH_ROW_VMCLOCK] = inputs->paths[INPUTS_VMCLOCK],
	    [EPOCH_ROW_SOURCE] = inputs->paths[INPUTS_EPOCH_SOURCE],
	    [EPOCH_ROW_KMSG] = inputs->paths[INPUTS_KMSG],
	};

	epoch_init(&daemon->epoch, &daemon->page, fds, paths);
}

/* --hand-over: for the next process that the manager starts, which will not be root. */
static int hand_over(struct daemon *daemon)
{
	int err;

	open_inputs(daemon, NULL);
	err = inputs_hand_over(&daemon->inputs);
	inputs_close(&daemon->inputs);
	return err;
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

/* Its own random numbers, which are not used here, cannot be had: abort() would say nothing. */
static void sodium_gave_up(void)
{
	log_error("libsodium gave up");
	_exit(EXIT_FAILURE);
}

static int daemon_start(struct daemon *daemon)
{
	struct options *options = &daemon->options;
	struct service_sockets sockets;
	int kept[INPUTS_ROWS];
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
	err = service_listen_fds(&sockets, inputs_names, kept, INPUTS_ROWS);
	if (err >= 0)
		err = open_sockets(daemon, &sockets);
	if (err)
		return err;
	open_inputs(daemon, kept);
	err = open_page(daemon);
	if (err)
		return err;
	/* 3. Self-tests, before anything is computed with what they test. */
	err = test_keystream(daemon);
	if (err)
		return err;
	/* 4. The signs of clones, then secret memory and a first seed that has them in it. */
	sodium_set_misuse_handler(sodium_gave_up);
	if (sodium_init() < 0) {
		log_error("cannot initialise libsodium");
		return -EIO;
	}
	start_detectors(daemon);
	err = reseed_init(&daemon->reseed, &daemon->epoch,
			  (int64_t)options->reseed_interval_s * 1000, options->memfd_secret);
	if (err)
		return err;
	/* 5. The loop, with every watcher it will ever need outside of connections. */
	daemon->setup.reseed = &daemon->reseed;
	daemon->setup.service = &daemon->service;
	daemon->setup.limits = options->limits;
	daemon->setup.use_memfd_secret = options->memfd_secret;
	err = server_init(&daemon->server, &daemon->setup);
	if (err)
		return err;
	/* 6. Privileges, then the sandbox: from here on only serving is possible. */
	daemon->server.facts.keystream = daemon->keystream->name;
	return confine_forever(&daemon->server, &daemon->setup, &daemon->page, &daemon->target);
}

static void daemon_stop(struct daemon *daemon)
{
	server_deinit(&daemon->server);
	reseed_deinit(&daemon->reseed);
	epoch_deinit(&daemon->epoch);
	epoch_file_close(&daemon->page);
	inputs_close(&daemon->inputs);
	listener_close(&daemon->control);
	listener_close(&daemon->listener);
	service_deinit(&daemon->service);
}

/*
 * As daemon_stop(), where the filter lets nothing be unmapped: what is secret is wiped, what others
 * see is told, and the rest goes with the process.
 */
static void daemon_end(struct daemon *daemon)
{
	epoch_file_stop(&daemon->page);
	wipe(daemon->server.scratch.data, daemon->server.scratch.data_bytes);
	wipe(daemon->reseed.mem.data, daemon->reseed.mem.data_bytes);
}

int main(int argc, char **argv)
{
	struct daemon daemon = {0};
	int err;

	/* 0. Whatever started us: closed descriptors, open ones, blocked signals. */
	err = inherit_clean(STDERR_FILENO + 1 + service_passed_fds());
	if (err) {
		log_error("cannot set up descriptors 0 to 2 and signals: %s", strerror(-err));
		return EXIT_FAILURE;
	}
	log_init();
	err = options_parse(&daemon.options, argc, argv);
	if (err)
		return 2;
	if (daemon.options.action == OPTIONS_HELP)
		return options_help() ? EXIT_FAILURE : EXIT_SUCCESS;
	if (daemon.options.action == OPTIONS_VERSION)
		return puts("rngd " RNGD_VERSION) == EOF ? EXIT_FAILURE : EXIT_SUCCESS;

	if (daemon.options.action == OPTIONS_HAND_OVER)
		return hand_over(&daemon) ? EXIT_FAILURE : EXIT_SUCCESS;

	daemon.service.notify_fd = -1;
	daemon.listener.fd = -1;
	daemon.listener.lock_fd = -1;
	daemon.control = daemon.listener;
	daemon.page = (struct epoch_file){.fd = -1, .lock_fd = -1, .reader_fd = -1};
	err = daemon_start(&daemon);
	if (!err) {
		log_event(LOG_EVENT_STARTED, LOG_LEVEL_INFO,
			  "rngd %s serves (keystream %s, state in %s memory)", RNGD_VERSION,
			  daemon.keystream->name,
			  daemon.reseed.mem.secret ? "memfd_secret" : "locked");
		service_notify(&daemon.service, "READY=1");
		err = server_run(&daemon.server);
		daemon_end(&daemon);
		return err ? EXIT_FAILURE : EXIT_SUCCESS;
	}
	daemon_stop(&daemon);
	/* For the journal's reader, who may look for it by its id; on stderr the one line is
	 * enough. */
	if (log_has_journal())
		log_event(LOG_EVENT_NOT_STARTED, LOG_LEVEL_ERROR,
			  "rngd did not start; the line before says why");
	return EXIT_FAILURE;
}
