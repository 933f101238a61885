# shellcheck shell=bash
# clone.sh - virtual machines under QEMU's software emulation: boot one, take a snapshot of it, run siblings
# from the snapshot. Source it after lib.sh. Each machine has a directory of its own:
#   con  its console         out  what its programs wrote     in.in  fifo: commands for tests/vm/init
#   tally  how far its programs came, a letter for each step (guest.c)
#   qmp  fifo: commands for QEMU, its answers in qmp.log      disk.qcow2  where the snapshot is
# Every QEMU has a time limit of its own, besides the limits of the waits, and vm_end_all leaves none behind.

VM_MEMORY_MB=192
VM_LIMIT_S=${VM_LIMIT_S:-300}
# A bound on a machine with other work; alone it takes some 4 s to boot.
VM_WAIT_S=120
declare -A VM_PID=() VM_QMP_FD=() VM_IN_FD=() VM_QMP_ID=() VM_DONE=()

# What a kind of processor is to QEMU. Without RDRAND and RDSEED siblings are alike but for the time at which things
# happen; in lockstep that is alike as well, since time is the count of instructions.
vm_processor() {
	case $1 in
	rdrand) echo "-cpu max" ;;
	plain) echo "-cpu max,-rdrand,-rdseed" ;;
	vmclock) echo "-cpu max,-rdrand,-rdseed -device vmclock" ;;
	lockstep) echo "-cpu max,-rdrand,-rdseed -icount shift=2,sleep=off" ;;
	esac
}

# vm_start DIRECTORY KERNEL CPU GUID [OPTION...] - a QEMU that runs by itself or, with -S, waits.
vm_start() {
	local dir=$1 kernel=$2 cpu=$3 guid=$4 fd
	shift 4
	mkfifo "$dir/qmp" "$dir/in.in" "$dir/in.out" || return 1
	# Open both ways: opening does not wait for the other side, which may never come.
	exec {fd}<>"$dir/qmp"
	VM_QMP_FD[$dir]=$fd
	exec {fd}<>"$dir/in.in"
	VM_IN_FD[$dir]=$fd
	: >"$dir/out"
	# shellcheck disable=SC2046 # several words
	LD_LIBRARY_PATH=$QEMU_LIBS QEMU_MODULE_DIR=$QEMU_ROOT/usr/lib/x86_64-linux-gnu/qemu \
		timeout -k 5 "$VM_LIMIT_S" "$QEMU_ROOT/usr/bin/qemu-system-x86_64" \
		-L "$QEMU_ROOT/usr/share/qemu" -L "$QEMU_ROOT/usr/share/seabios" \
		-accel tcg $(vm_processor "$cpu") -m "$VM_MEMORY_MB" -smp 1 \
		-nodefaults -no-user-config -display none -no-reboot \
		-kernel "$VM/kernels/$kernel/vmlinuz" -initrd "$VM/image/$kernel.cpio" \
		-append "console=ttyS0 quiet loglevel=4 panic=-1 tsc=reliable mitigations=off" \
		-chardev "file,id=con,path=$dir/con" -serial chardev:con \
		-chardev "pipe,id=in,path=$dir/in" -serial chardev:in \
		-chardev "file,id=out,path=$dir/out" -device virtio-serial-pci -device virtserialport,chardev=out \
		-chardev "file,id=tally,path=$dir/tally" -device isa-debugcon,iobase=0xe9,chardev=tally \
		-device "vmgenid,guid=$guid" -drive "if=none,id=disk,file=$dir/disk.qcow2,format=qcow2" \
		-chardev stdio,id=qmp,signal=off -mon chardev=qmp,mode=control "$@" \
		<"$dir/qmp" >"$dir/qmp.log" 2>&1 9>&- &
	VM_PID[$dir]=$!
	VM_QMP_ID[$dir]=0
	VM_DONE[$dir]=0
	vm_qmp "$dir" '"execute":"qmp_capabilities"'
}

vm_alive() {
	kill -0 "${VM_PID[$1]}" 2>/dev/null
}

# vm_until DIRECTORY FILE REGEX - until FILE of that machine has a line of that form.
vm_until() {
	local dir=$1 end=$((SECONDS + VM_WAIT_S))
	until grep -q "$3" "$dir/$2" 2>/dev/null; do
		if ! vm_alive "$dir" || [ "$SECONDS" -gt "$end" ]; then
			echo "$dir: no '$3' in $2 $(tail -n 1 "$dir/con" 2>/dev/null | tr -d '\r' | cut -c 1-120)" >&2
			return 1
		fi
		sleep 0.02
	done
}

# vm_qmp DIRECTORY COMMAND - has QEMU do it, and waits for its answer; 1 if that is an error.
vm_qmp() {
	local dir=$1 id answer
	id=$((VM_QMP_ID[$dir] + 1))
	VM_QMP_ID[$dir]=$id
	echo "{$2,\"id\":$id}" >&"${VM_QMP_FD[$dir]}"
	vm_until "$dir" qmp.log "\"id\": ${id}[,}]" || return 1
	answer=$(grep "\"id\": ${id}[,}]" "$dir/qmp.log")
	# A command of the human monitor has no error of its own but its text.
	if [[ $answer == *'"error":'* || ! $answer =~ '"return": '('{}'|'""') ]]; then
		echo "$dir: QEMU: $answer" >&2
		return 1
	fi
}

vm_monitor() {
	vm_qmp "$1" "\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"$2\"}"
}

# vm_tell COMMAND DIRECTORY... - has the init of each do it, side by side, and waits until all have. A command is
# one word and perhaps an argument, in which RANDOM stands for 32 bytes in hex, others for each.
vm_tell() {
	local command=$1 word=${1%% *} dir
	shift
	for dir in "$@"; do
		VM_DONE[$dir]=$((VM_DONE[$dir] + 1))
		echo "${command//RANDOM/$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')}" >&"${VM_IN_FD[$dir]}"
	done
	for dir in "$@"; do
		vm_until "$dir" out "^DONE ${VM_DONE[$dir]} $word\$" || return 1
	done
}

vm_close() {
	local dir=$1 fd
	for fd in "${VM_QMP_FD[$dir]:-}" "${VM_IN_FD[$dir]:-}"; do
		[ -z "$fd" ] || exec {fd}>&-
	done
	unset "VM_QMP_FD[$dir]" "VM_IN_FD[$dir]" "VM_PID[$dir]"
	rm -f "$dir/qmp" "$dir/in.in" "$dir/in.out"
}

# vm_quit DIRECTORY - asks it to end, and waits until it has.
vm_quit() {
	local dir=$1 pid=${VM_PID[$1]}
	echo '{"execute":"quit"}' >&"${VM_QMP_FD[$dir]}"
	wait_for 10 bash -c "! kill -0 $pid" || kill -KILL "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
	vm_close "$dir"
}

vm_end_all() {
	local dir
	for dir in "${!VM_PID[@]}"; do
		# timeout(1) passes it on to its QEMU.
		kill -TERM "${VM_PID[$dir]}" 2>/dev/null
		wait "${VM_PID[$dir]}" 2>/dev/null
		vm_close "$dir"
	done
}

# vm_snapshot DIRECTORY KERNEL CPU COMMANDS - boots, does the commands ("a; b c; d"), then takes the snapshot
# while the clients fetch. The machine does not live on: that would be a sibling more.
vm_snapshot() {
	local dir=$1 commands=$4 command
	mkdir -p "$dir" && qemu_img create -q -f qcow2 "$dir/disk.qcow2" 64M || return 1
	vm_start "$dir" "$2" "$3" 11111111-0000-4000-8000-000000000000 && vm_until "$dir" out '^UP' || return 1
	while read -r command; do
		[ -z "$command" ] || vm_tell "$command" "$dir" || return 1
		[ "$command" != record ] || vm_until "$dir" out '^READY$' || return 1
	done <<<"${commands//;/$'\n'}"
	vm_qmp "$dir" '"execute":"stop"' && vm_monitor "$dir" "savevm s1" || return 1
	vm_quit "$dir"
	mv "$dir/out" "$dir/out.before"
	grep -c '^DONE' "$dir/out.before" >"$dir/commands"
}

# vm_sibling DIRECTORY SNAPSHOT KERNEL CPU GUID - a copy of it, loaded but not running yet.
vm_sibling() {
	local dir=$1
	rm -rf "$dir"
	mkdir -p "$dir" && cp --reflink=auto "$2/disk.qcow2" "$dir/disk.qcow2" || return 1
	vm_start "$dir" "$3" "$4" "$5" -loadvm s1 -S || return 1
	# Its init goes on counting where the snapshot left it.
	VM_DONE[$dir]=$(cat "$2/commands")
}
