#!/bin/sh
# after-install.sh SYSUSERS-CONF TMPFILES-CONF - makes known to this system what `make install` put into
# place: the user, the directory, the library, the journal's explanations, the units. Says what it does and what is left to do.
# Never fails: what is missing can be done by hand afterwards.
sysusers_conf=$1
tmpfiles_conf=$2

# /sbin is where ldconfig and nologin are, and not in everybody's PATH.
PATH=$PATH:/usr/sbin:/sbin

todo() {
	echo "to do: $*"
}

has() {
	command -v "$1" >/dev/null 2>&1
}

# run COMMAND... - shows it, runs it, and passes on what it says.
run() {
	echo "+ $*"
	"$@"
}

make_user() {
	if id rngd >/dev/null 2>&1; then
		return
	fi
	if has systemd-sysusers && run systemd-sysusers "$sysusers_conf"; then
		return
	fi
	todo "make a user and group rngd that own nothing, for example:"
	echo "    useradd --system --user-group --no-create-home --home-dir /nonexistent" \
		"--shell /usr/sbin/nologin rngd"
}

make_directory() {
	if has systemd-tmpfiles && run systemd-tmpfiles --create "$tmpfiles_conf"; then
		return
	fi
	[ -d /run/rngd ] || echo "/run/rngd is missing: rngd makes it when root starts it."
}

if [ "$(id -u)" -ne 0 ]; then
	todo "as root: sh $0 $sysusers_conf $tmpfiles_conf"
	exit 0
fi
make_user
make_directory
if has journalctl; then
	run journalctl --update-catalog || todo "journalctl --update-catalog"
fi
if has ldconfig; then
	run ldconfig || todo "have the run-time linker find librngclient.so"
fi
if [ -d /run/systemd/system ] && has systemctl; then
	run systemctl daemon-reload || todo "systemctl daemon-reload"
	echo "To start it, now and at every boot: systemctl enable --now rngd.socket"
fi
exit 0
