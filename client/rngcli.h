/*
 * client/rngcli - what the files of the rngcli program share. Private to the program,
 * which reaches the daemon through rngclient.h alone.
 */
#ifndef CLIENT_RNGCLI_H
#define CLIENT_RNGCLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/rngclient.h"

/* How long a command of --exec may take unless told otherwise. */
#define RNGCLI_EXEC_TIMEOUT_MS 60000

/* The exit codes of rngcli; every function that returns one of them says so. */
enum rngcli_exit {
	RNGCLI_OK = 0,
	RNGCLI_FAILURE = 1,   /* the output is not complete */
	RNGCLI_USAGE = 2,     /* nothing was tried */
	RNGCLI_TEMPFAIL = 75, /* EX_TEMPFAIL: no daemon, or it refuses; try again later */
};

enum rngcli_format {
	RNGCLI_FORMAT_AUTO = 0, /* hexadecimal to a terminal, raw to anything else */
	RNGCLI_FORMAT_RAW,
	RNGCLI_FORMAT_HEX,
	RNGCLI_FORMAT_BASE64,
	RNGCLI_FORMAT_UUID,
};

/* The command line. Strings belong to argv. */
struct rngcli_options {
	enum rngcli_format format;
	bool json;
	bool quiet;
	int timeout_ms; /* 0: the command's own; else 1 or more */
	bool no_bytes;
	bool settle;
	bool from_stdin;
	bool no_daemon;
	uint64_t after;           /* a generation; 0: any will do, all are above it */
	uint64_t count;           /* events; 0: no end */
	int exec_timeout_ms;      /* 0: none */
	const char *exec;         /* NULL: print; never empty */
	const char *out_path;     /* NULL: standard output */
	const char *socket_path;  /* never NULL */
	const char *control_path; /* NULL: the one that belongs to socket_path */
	char **args;              /* operands, without the command's name */
	int arg_count;
};

/* One row of the table of commands. run returns an enum rngcli_exit. */
struct rngcli_command {
	const char *name;
	int (*run)(const struct rngcli_options *options);
	const char *accepts; /* the options it takes, by their letters in rngcli.c */
	const char *args;    /* its operands, for the usage text */
	const char *summary;
};

/* The commands. Each prints its own errors and returns an enum rngcli_exit. */
int cmd_get(const struct rngcli_options *options);
int cmd_status(const struct rngcli_options *options);
int cmd_bump(const struct rngcli_options *options);
int cmd_reseed(const struct rngcli_options *options);
int cmd_look(const struct rngcli_options *options);
int cmd_epoch(const struct rngcli_options *options);
int cmd_settle(const struct rngcli_options *options);
int cmd_watch(const struct rngcli_options *options);
int cmd_contribute(const struct rngcli_options *options);
int cmd_kernel_reseed(const struct rngcli_options *options);

/*
 * Writes one line "rngcli: ..." to standard error, whatever is in the arguments: what could not be
 * printed safely is replaced, what is too long is cut in the middle.
 */
void rngcli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what a failed call of rngclient.h means and what to do about it: an exit code. */
int rngcli_explain(const struct rngcli_options *options, int error);

/*
 * Says that writing to path (NULL: standard output) failed. Silent on -EPIPE: the reader
 * left on purpose, and the exit code tells scripts enough. Returns RNGCLI_FAILURE.
 */
int rngcli_write_failed(const char *path, int error);

/* Connects as the options say. An exit code; only after RNGCLI_OK is *client not NULL. */
int rngcli_connect(const struct rngcli_options *options, struct rngclient **client);

/*
 * Writes all len bytes, unbuffered: nothing keeps a copy of a secret. Waits for room on a
 * non-blocking descriptor. 0 or a negative errno.
 */
int rngcli_write(int fd, const void *data, size_t len);

/* Flushes and closes stdio's stdout, for output that is no secret. An exit code. */
int rngcli_close_stdout(void);

#endif
