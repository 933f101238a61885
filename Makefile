# rngd - one Makefile, explicit object lists: the lists are the architecture.
# `make help` says what there is. User's CFLAGS, CPPFLAGS and LDFLAGS come last.

VERSION = 0.1.0
SOVERSION = 0

# Everything made lands in $(BUILD); the variants (sanitizers, forced fallbacks) each have their own.
BUILD ?= build
ARCH ?= $(shell uname -m)
CC = gcc
AR = ar
OBJCOPY = objcopy
CLANG_FORMAT ?= clang-format
OPENSSL_LIBS ?= -lcrypto

DESTDIR ?=
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
LIBEXECDIR ?= $(PREFIX)/libexec/rngd
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
# systemd searches /usr/local/lib and /usr/lib alike for all four.
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
CATALOGDIR ?= $(PREFIX)/lib/systemd/catalog
# Where the system's Python looks for modules under PREFIX. Debian's has a directory for each version under
# /usr/local, and one for all under /usr; where there is no Python, or none that looks there, PYTHONPATH must say it.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
PYTHONDIR ?= $(or $(shell $(PYTHON) client/python/where.py $(PREFIX) 2>/dev/null),$(PREFIX)/lib/python3/dist-packages)

V ?= 0
Q_0 = @
Q = $(Q_$(V))
SAY_0 = @printf '  %-4s %s\n'
SAY_1 = @:
SAY = $(SAY_$(V))

# ---------------------------------------------------------------- packages
# Named per purpose so that each target installs no more than it needs.
PKGS_BUILD = gcc libc6-dev libev-dev libseccomp-dev libsodium-dev libsystemd-dev
PKGS_CHECK = check g++ mandoc strace procps binutils gcc-aarch64-linux-gnu libc6-dev-arm64-cross python3 mypy
PKGS_ABI = gcc libc6-dev binutils git abigail-tools
PKGS_FORMAT = clang-format
PKGS_BENCH = libssl-dev
PKGS_COMPARE = jq
PKGS_PLOT = jq gnuplot-nox
PKGS_FUZZ = clang libclang-rt-14-dev llvm libev-dev

# ---------------------------------------------------------------- flags
CFLAGS ?= -O2 -g
CPPFLAGS ?=
LDFLAGS ?=

RNGD_WARN = -Wall -Wextra -Wformat=2 -Wconversion -Wsign-conversion -Wshadow -Wundef -Wvla \
	-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wcast-qual \
	-Wpointer-arith -Wwrite-strings -Wimplicit-fallthrough -Wtrampolines -Wbidi-chars=any \
	-Werror=format-security -Werror=implicit -Werror=incompatible-pointer-types \
	-Werror=int-conversion
ifdef CI
RNGD_WARN += -Werror
endif

# The OpenSSF compiler hardening guide, as far as gcc 12 has it.
RNGD_HARDEN = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-clash-protection \
	-fstack-protector-strong -fno-delete-null-pointer-checks -fno-strict-overflow \
	-fno-strict-aliasing -ftrivial-auto-var-init=zero -fexceptions
ifeq ($(ARCH),x86_64)
RNGD_HARDEN += -fcf-protection=full
# The C library's own start-up objects carry no mark on Debian 12, and the linker would drop ours.
RNGD_LDCET = -Wl,-z,ibt,-z,shstk
endif
ifeq ($(ARCH),aarch64)
RNGD_HARDEN += -mbranch-protection=standard
endif
RNGD_LDHARDEN = $(RNGD_LDCET) -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--as-needed \
	-Wl,--no-copy-dt-needed-entries

# A sanitizer build: SAN=address, undefined or thread. It changes the filter too (policy.c).
ifdef SAN
RNGD_HARDEN = -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all
RNGD_LDHARDEN = -fsanitize=$(SAN)
ifeq ($(SAN),thread)
# Fences order stores for other processes, which it does not watch.
RNGD_HARDEN += -Wno-tsan
endif
RNGD_DEFS += -DRNGD_SANITIZER
endif
# FALLBACK=1 refuses what only newer kernels have, so that the older way is tested too.
ifdef FALLBACK
RNGD_DEFS += -DRNGD_TEST_FALLBACK
endif

RNGD_CFLAGS = -std=gnu11 -I. -D_GNU_SOURCE -DRNGD_VERSION='"$(VERSION)"' $(RNGD_DEFS) -fPIC \
	-fvisibility=hidden -MMD -MP $(RNGD_WARN) $(RNGD_HARDEN)
COMPILE = $(CC) $(RNGD_CFLAGS) $(FILE_CFLAGS) $(CPPFLAGS) $(CFLAGS)
LINK = $(CC) $(RNGD_LDHARDEN) $(CFLAGS)

# ---------------------------------------------------------------- rooms
CRYPTO_OBJS = crypto/chacha20.o crypto/rng.o
ifeq ($(ARCH),x86_64)
CRYPTO_OBJS += crypto/chacha20_avx2.o crypto/chacha20_avx512.o
endif
HOST_OBJS = host/cpu.o host/secmem.o host/vdso.o host/vmclock.o
PROTO_OBJS = proto/wire.o proto/epoch_page.o
SECCOMP_OBJS = seccomp/policy.o seccomp/sandbox.o seccomp/landlock.o
# Everything of the daemon but main(), so that tests can link it.
DAEMON_OBJS = daemon/options.o daemon/server.o daemon/accept.o daemon/signals.o daemon/listener.o daemon/conn.o daemon/batch.o daemon/outgoing.o daemon/answer.o \
	daemon/request.o daemon/reseed.o daemon/entropy.o daemon/health.o daemon/hash.o daemon/epoch.o daemon/epoch_since.o \
	daemon/epoch_vmgenid.o daemon/epoch_kmsg.o daemon/epoch_vmclock.o daemon/epoch_source.o \
	daemon/epoch_kernel.o daemon/epoch_clock.o daemon/epoch_file.o daemon/epoch_watch.o \
	daemon/inputs.o daemon/pagefile.o daemon/lockfile.o daemon/inherit.o daemon/privdrop.o daemon/confine.o daemon/service.o \
	daemon/status.o daemon/log.o daemon/quota.o daemon/deadline.o daemon/peers.o daemon/unread.o \
	daemon/loop.o daemon/events.o daemon/parting.o daemon/announce.o daemon/text.o
CLIENT_OBJS = client/rngclient.o client/errand.o client/session.o client/guard.o client/page.o client/shelf.o \
	client/events.o client/subscription.o client/feed.o client/ledger.o client/reply.o \
	client/transport.o client/turn.o client/local.o client/local_thread.o client/local_seed.o client/local_vmclock.o client/statepage.o \
	client/bare.o client/rngclient_fd.o client/draw.o proto/wire.o proto/epoch_page.o host/vdso.o host/vmclock.o host/cpu.o $(CRYPTO_OBJS)
# host/vdso: rngcli asks the kernel, not the daemon, whether the kernel reseeded.
CLI_OBJS = client/rngcli.o client/args.o client/cmd_get.o client/cmd_status.o client/cmd_clone.o \
	client/cmd_watch.o client/cmd_kernel.o client/control.o client/seed.o client/settle.o client/owes.o \
	client/hook.o client/text.o client/size.o client/fields.o client/lines.o client/show.o host/vdso.o

DAEMON_LIBS = -lev -lseccomp -lsodium -lsystemd

B = $(BUILD)
O = $(BUILD)/obj
obj = $(addprefix $(O)/,$(1))

LIB_SO = $(B)/librngclient.so
LIB_SONAME = librngclient.so.$(SOVERSION)
LIB_A = $(B)/librngclient.a
PROGRAMS = $(B)/rngd $(B)/rngcli $(LIB_SO) $(LIB_A)

.PHONY: all
all: $(PROGRAMS)

$(O)/crypto/chacha20_avx2.o: FILE_CFLAGS = -mavx2
$(O)/crypto/chacha20_avx512.o: FILE_CFLAGS = -mavx512f -mavx512vl -mavx512bw

# Every object depends on the Makefile: its flags are part of what it is.
$(O)/%.o: %.c Makefile
	$(SAY) CC $@
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -c -o $@ $<

$(B)/rngd: $(call obj,daemon/main.o $(DAEMON_OBJS) $(SECCOMP_OBJS) $(CRYPTO_OBJS) $(HOST_OBJS) $(PROTO_OBJS))
	$(SAY) LD $@
	$(Q)$(LINK) -pie -Wl,-z,nodlopen -o $@ $^ $(DAEMON_LIBS) $(LDFLAGS)

$(LIB_SO): $(call obj,$(CLIENT_OBJS)) client/librngclient.map
	$(SAY) LD $@
	$(Q)$(LINK) -shared -Wl,-soname,$(LIB_SONAME) -Wl,-z,defs -Wl,-z,nodelete \
		-Wl,--version-script=client/librngclient.map -o $(B)/$(LIB_SONAME) \
		$(filter %.o,$^) $(LDFLAGS)
	@ln -sf $(LIB_SONAME) $@

$(LIB_A): $(call obj,$(CLIENT_OBJS))
	$(SAY) AR $@
	@rm -f $@
	@# One object whose internal names are local: they cannot meet a caller's of the same name.
	$(Q)$(CC) -r -nostdlib -o $(O)/librngclient.o $^
	$(Q)$(OBJCOPY) --localize-hidden $(O)/librngclient.o
	$(Q)$(AR) rcsD $@ $(O)/librngclient.o

# The CLI uses the shared library as any program would; $ORIGIN lets it run from build/ in place.
# The installed copy is linked again without it.
$(B)/rngcli: $(call obj,$(CLI_OBJS)) $(LIB_SO)
	$(SAY) LD $@
	$(Q)$(LINK) -pie -o $@ $(call obj,$(CLI_OBJS)) -L$(B) -lrngclient \
		-Wl,-rpath,'$$ORIGIN' $(LDFLAGS)

$(B)/installed/rngcli: $(call obj,$(CLI_OBJS)) $(LIB_SO)
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) -pie -o $@ $(call obj,$(CLI_OBJS)) -L$(B) -lrngclient $(LDFLAGS)

# ---------------------------------------------------------------- tests
# A unit test is tests/check_<module>.c; the objects it needs are named here.
UNIT_TESTS = check_chacha20 check_chacha20_wipe check_rng check_cpu check_secmem check_wire \
	check_options check_log check_service check_entropy check_health check_reseed check_batch check_listener \
	check_privdrop check_privdrop_lookup check_privdrop_proof check_policy check_landlock check_sandbox check_sandbox_serving \
	check_size check_local_seed check_local_daemon check_local check_local_vmclock check_rngclient check_rngclient_fd check_rngclient_clone check_rngclient_events check_events_end check_protocol check_clone check_memory check_vdso check_epoch_page \
	check_epoch check_epoch_file check_epoch_vmgenid check_epoch_kmsg check_epoch_vmclock \
	check_epoch_source check_epoch_kernel check_epoch_clock check_inputs check_quota check_deadline check_conn check_unread check_show \
	check_events check_text check_args check_owes check_local_storm
UNIT_BINS = $(addprefix $(B)/tests/,$(UNIT_TESTS))
TEST_TOOLS = $(addprefix $(B)/tests/,load mixed inject hold_fds notify_listen page_reader stir hostile faults callers subscriber bench/scale)
TEST_SUPPORT = tests/support.o

CHECK_LIBS = -lcheck -lsubunit -lm -lrt -lpthread
DAEMON_PARTS = $(DAEMON_OBJS) $(SECCOMP_OBJS) $(CRYPTO_OBJS) $(HOST_OBJS) $(PROTO_OBJS)

# Tests link the daemon's own objects; what a test does not use costs nothing.
$(filter-out $(addprefix $(B)/tests/,check_local check_local_seed check_local_vmclock),$(UNIT_BINS)): $(B)/tests/%: $(O)/tests/%.o $(call obj,$(TEST_SUPPORT) $(DAEMON_PARTS)) $(LIB_A)
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) -pie -o $@ $^ $(CHECK_LIBS) $(DAEMON_LIBS) $(LDFLAGS)

# Sources that answer as a test wants, put there by the linker: the product has no switch for it.
$(B)/tests/check_entropy: override LDFLAGS += \
	-Wl,--wrap=cpu_has_rdseed,--wrap=cpu_has_rdrand,--wrap=cpu_rdseed64,--wrap=cpu_rdrand64

# A fork in the very moment in which bytes were read.
$(B)/tests/check_rngclient_fd: override LDFLAGS += -Wl,--wrap=read

# And before a request was sent. ThreadSanitizer does not follow such a fork, so it has no such test.
ifneq ($(SAN),thread)
$(B)/tests/check_rngclient: override LDFLAGS += -Wl,--wrap=fstat,--wrap=send
endif

# Without the library: this one's seeds are the test's own.
LOCAL_OBJS = client/local.o client/local_thread.o client/local_vmclock.o client/draw.o client/statepage.o client/transport.o client/turn.o
$(B)/tests/check_local: $(call obj,tests/check_local.o $(LOCAL_OBJS) $(CRYPTO_OBJS) $(HOST_OBJS))
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) -pie -Wl,--wrap=cpu_has_rdrand,--wrap=cpu_rdrand64,--wrap=rng_fill -o $@ $^ $(CHECK_LIBS) $(LDFLAGS)

$(B)/tests/check_local_vmclock: $(call obj,tests/check_local_vmclock.o $(LOCAL_OBJS) $(CRYPTO_OBJS) $(HOST_OBJS))
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) -pie -Wl,--wrap=rng_fill -o $@ $^ $(CHECK_LIBS) $(LDFLAGS)

# The library in its parts, so that the linker can answer in the daemon's and the kernel's place.
$(B)/tests/check_local_seed: $(call obj,tests/check_local_seed.o $(CLIENT_OBJS))
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) -pie -Wl,--wrap=errand_run,--wrap=bare_get,--wrap=getrandom -o $@ $^ $(CHECK_LIBS) $(LDFLAGS)

$(B)/tests/check_size: $(O)/client/size.o
$(B)/tests/check_show: $(call obj,client/show.o client/lines.o client/fields.o client/size.o)
$(B)/tests/check_text: $(O)/client/text.o
$(B)/tests/check_args: $(O)/client/args.o
$(B)/tests/check_owes: $(call obj,client/owes.o client/fields.o)

$(TEST_TOOLS): $(B)/tests/%: $(O)/tests/%.o $(call obj,$(PROTO_OBJS)) $(LIB_A)
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) -pie -o $@ $^ -lpthread $(LDFLAGS)

# Built as somebody else would who copied one: with the header and the library, and nothing of ours.
EXAMPLES = $(addprefix $(B)/examples/,libev_watch page_only poll_loop session_keys uuid_maker)
EXAMPLE_FLAGS = -std=gnu11 -Wall -Wextra $(if $(CI),-Werror) $(if $(SAN),$(RNGD_HARDEN)) -Iclient

.PHONY: examples
examples: $(EXAMPLES) ## build doc/examples/

$(B)/examples/libev_watch: EXAMPLE_LIBS = -lev
$(EXAMPLES): $(B)/examples/%: doc/examples/%.c client/rngclient.h $(LIB_A) Makefile
	$(SAY) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(EXAMPLE_FLAGS) $(CPPFLAGS) $(CFLAGS) -o $@ $< $(LIB_A) $(EXAMPLE_LIBS) $(LDFLAGS)

.PHONY: tests
tests: all examples $(UNIT_BINS) $(TEST_TOOLS)

# The same tree with what newer kernels give refused: locked memory instead of memfd_secret, no
# MADV_WIPEONFORK, no SO_PASSRIGHTS, no vDSO; and the unit tests that see the difference.
FALLBACK_TESTS = check_secmem check_local check_local_daemon check_local_storm check_rngclient check_rngclient_fd check_rngclient_clone check_protocol check_memory
FALLBACK_BINS = $(addprefix $(BUILD)/fallback/tests/,$(FALLBACK_TESTS))

# A daemon whose known answer is wrong, which must not start: one object is another.
$(O)/crypto/chacha20_bad.o: crypto/chacha20.c Makefile
	$(SAY) CC $@
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -DRNGD_TEST_BAD_VECTOR='"portable"' -c -o $@ $<

$(B)/badvector/rngd: $(patsubst %/chacha20.o,%/chacha20_bad.o,$(call obj,daemon/main.o $(DAEMON_PARTS)))
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) -pie -o $@ $^ $(DAEMON_LIBS) $(LDFLAGS)

.PHONY: variants
variants: $(B)/badvector/rngd
	+$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/fallback FALLBACK=1 $(BUILD)/fallback/rngd $(FALLBACK_BINS)

# A build inside a check uses every processor, unless make was told how many jobs to run. (A make whose jobs are
# counted by one above it has that in its flags too.)
JOBS = $(if $(filter -j% --jobs% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: check check-now check-asan check-ubsan check-tsan check-abi check-forks check-steps check-load soak check-stats check-cross check-vm check-boot check-units fuzz-smoke fuzz
check: ## build and run every test in its short form (installs what is missing)
	@sh tests/need.sh $(PKGS_BUILD) $(PKGS_CHECK) $(PKGS_BENCH) $(PKGS_COMPARE)
	+@$(MAKE) --no-print-directory $(JOBS) check-now

check-now: tests variants check-cross rooms $(B)/tests/bench/bench $(B)/tests/bench/bare_server
	@BUILD=$(B) bash tests/run.sh $(UNIT_TESTS) $(FALLBACK_TESTS:=:fallback)

# The sanitizers: the whole suite again, built with each.
check-asan: ## the suite under AddressSanitizer (and LeakSanitizer in the unit tests)
	@sh tests/need.sh $(PKGS_BUILD) $(PKGS_CHECK)
	+$(Q)$(MAKE) --no-print-directory $(JOBS) BUILD=$(BUILD)/asan SAN=address tests
	@BUILD=$(BUILD)/asan SAN=address bash tests/run.sh $(UNIT_TESTS)

check-ubsan: ## the suite under UndefinedBehaviorSanitizer
	@sh tests/need.sh $(PKGS_BUILD) $(PKGS_CHECK)
	+$(Q)$(MAKE) --no-print-directory $(JOBS) BUILD=$(BUILD)/ubsan SAN=undefined tests
	@BUILD=$(BUILD)/ubsan SAN=undefined bash tests/run.sh $(UNIT_TESTS)

check-tsan: ## the library's thread tests under ThreadSanitizer
	@sh tests/need.sh $(PKGS_BUILD) $(PKGS_CHECK)
	+$(Q)$(MAKE) --no-print-directory $(JOBS) all
	+$(Q)$(MAKE) --no-print-directory $(JOBS) BUILD=$(BUILD)/tsan SAN=thread \
		$(BUILD)/tsan/tests/check_rngclient $(BUILD)/tsan/tests/check_rngclient_clone \
		$(BUILD)/tsan/tests/check_rngclient_events $(BUILD)/tsan/tests/check_epoch_page \
		$(BUILD)/tsan/tests/check_local $(BUILD)/tsan/tests/check_local_daemon
	@BUILD=$(BUILD)/tsan DAEMON_BUILD=$(B) SAN=thread ONLY_UNITS=1 bash tests/run.sh \
		check_rngclient check_rngclient_clone check_rngclient_events check_epoch_page check_local check_local_daemon

check-abi: ## the library against that of the last release: what was there is still there
	@sh tests/need.sh $(PKGS_ABI)
	@bash tests/abi_cases.sh
	@bash tests/abi.sh

check-forks: tests ## the local generator in a storm: 10^6 forks, 10^5 clones, pages dropped, 1000 faults of the daemon (half an hour)
	RNGD_LONG=1 BUILD=$(B) $(B)/tests/check_local_storm

check-steps: tests ## the local generator interrupted at every instruction, its numbers counted out (15 minutes)
	RNGD_LONG=1 $(B)/tests/check_local

LOAD_SECONDS ?= 60
check-load: all $(TEST_TOOLS) ## 64 clients for 60 s (LOAD_SECONDS=), random ones killed
	@BUILD=$(B) LOAD_SECONDS=$(LOAD_SECONDS) bash tests/system/060-load.sh

soak: TIME = 30m
soak: all $(TEST_TOOLS) ## everything at once for TIME= (30m): nothing may fail, no descriptor or memory be lost
	@BUILD=$(B) TIME=$(TIME) bash tests/soak.sh

check-vm: all ## clones of real machines under QEMU, every kernel and scenario (about 15 minutes)
	@BUILD=$(B) bash tests/vm/run.sh full

check-units: tests ## the units under a real systemd in namespaces of its own
	@BUILD=$(B) bash tests/boot/units.sh

check-boot: all ## boot a Debian root with systemd under QEMU and use rngd there (4 to 8 minutes)
	@sh tests/need.sh mmdebstrap
	@BUILD=$(B) bash tests/boot/run.sh

fuzz-smoke: ## fuzz every parser, a minute in all
	@sh tests/need.sh $(PKGS_FUZZ)
	@BUILD=$(BUILD) bash tests/fuzz/run.sh smoke

TIME ?= 900
fuzz: ## the same for TIME= seconds each (900), or RUNS= times
	@sh tests/need.sh $(PKGS_FUZZ)
	@BUILD=$(BUILD) bash tests/fuzz/run.sh $(if $(RUNS),runs $(RUNS),long $(TIME))

check-stats: all ## rngtest, ent and dieharder over the output (long: over an hour)
	@BUILD=$(B) sh tests/stats.sh

# The portable path on another processor: everything compiles, and the library links.
check-cross: ## build the portable path for aarch64
	$(SAY) MAKE aarch64
	+$(Q)$(MAKE) --no-print-directory ARCH=aarch64 CC=aarch64-linux-gnu-gcc \
		AR=aarch64-linux-gnu-ar OBJCOPY=aarch64-linux-gnu-objcopy BUILD=$(BUILD)/aarch64 cross-objects

.PHONY: cross-objects
cross-objects: FILE_CFLAGS = -idirafter /usr/include -idirafter /usr/include/$(shell uname -m)-linux-gnu
cross-objects: $(LIB_A) $(LIB_SO) $(B)/rngcli $(call obj,daemon/main.o $(DAEMON_PARTS))

# ---------------------------------------------------------------- benchmarks
.PHONY: bench-scale
bench-scale: all $(TEST_TOOLS) ## 18,000 idle and 1,000 active connections, bulk readers: memory, tails, cost (as root)
	@BUILD=$(B) bash tests/bench/scale.sh $(ROUNDS)

BENCH = $(B)/tests/bench/bench
BENCH_OBJS = $(addprefix tests/bench/,bench.o measure.o report.o launch.o keystream.o local.o threads.o socket.o \
	pipeline.o process.o others.o sweep.o)

BENCH_PROGRAMS = all $(BENCH) $(B)/tests/bench/bare_server

.PHONY: bench bench-quick bench-compare bench-plot
bench: ## compare speed with peers in the same run: a table, and build/bench.json (some minutes)
	@sh tests/need.sh $(PKGS_BUILD) $(PKGS_BENCH)
	+@$(MAKE) --no-print-directory $(BENCH_PROGRAMS)
	@BUILD=$(B) $(BENCH) full --json $(B)/bench.json

bench-quick: ## the same in less than a minute, with fewer and shorter rounds
	@sh tests/need.sh $(PKGS_BUILD) $(PKGS_BENCH)
	+@$(MAKE) --no-print-directory $(BENCH_PROGRAMS)
	@BUILD=$(B) $(BENCH) quick --json $(B)/bench.json

bench-compare: ## what moved beyond the noise between OLD=old.json and build/bench.json (NEW=)
	@sh tests/need.sh $(PKGS_COMPARE)
	@test -n "$(OLD)" || { echo 'make bench-compare OLD=old.json: a copy of build/bench.json of before' >&2; exit 2; }
	@jq -rn -f tests/bench/compare.jq "$(OLD)" "$(or $(NEW),$(B)/bench.json)"

bench-plot: ## measure rates over sizes and times over connections, and draw doc/bench-*.svg
	@sh tests/need.sh $(PKGS_BUILD) $(PKGS_BENCH) $(PKGS_PLOT)
	+@$(MAKE) --no-print-directory $(BENCH_PROGRAMS)
	@BUILD=$(B) $(BENCH) full --json $(B)/bench-sweep.json sweep-size sweep-crowd
	@sh tests/bench/plot.sh $(B)/bench-sweep.json doc

$(BENCH): $(call obj,$(BENCH_OBJS) $(CRYPTO_OBJS) $(HOST_OBJS) $(PROTO_OBJS)) $(LIB_A)
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) -pie -o $@ $^ $(OPENSSL_LIBS) -lsodium -lm -lpthread -ldl $(LDFLAGS)

$(B)/tests/bench/bare_server: $(call obj,tests/bench/bare_server.o $(PROTO_OBJS))
	$(SAY) LD $@
	@mkdir -p $(@D)
	$(Q)$(LINK) -pie -o $@ $^ $(LDFLAGS)

# ---------------------------------------------------------------- rules of the house
SOURCES = $(wildcard crypto/*.[ch] host/*.[ch] proto/*.[ch] daemon/*.[ch] seccomp/*.[ch] \
	client/*.[ch] client/*.hpp tests/*.[ch] tests/*/*.[ch] tests/*/*.cc doc/examples/*.c)

.PHONY: rooms format check-format
rooms: ## check who may include what, and the size of files
	@bash tests/rooms.sh

format: ## lay the sources out with clang-format
	@sh tests/need.sh $(PKGS_FORMAT)
	$(CLANG_FORMAT) -i $(SOURCES)

check-format: ## see that the sources are laid out so
	@sh tests/need.sh $(PKGS_FORMAT)
	$(CLANG_FORMAT) --dry-run -Werror $(SOURCES)

# ---------------------------------------------------------------- use
.PHONY: run install uninstall clean help
run: ## build, start a private rngd, fetch bytes, show its status, stop it (installs what is missing)
	@sh tests/need.sh $(PKGS_BUILD)
	+@$(MAKE) --no-print-directory all
	@BUILD=$(B) sh tests/demo.sh

GENERATED = sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@LIBDIR@|$(LIBDIR)|g' \
	-e 's|@INCLUDEDIR@|$(INCLUDEDIR)|g' -e 's|@LIBEXECDIR@|$(LIBEXECDIR)|g' \
	-e 's|@BINDIR@|$(BINDIR)|g' -e 's|@VERSION@|$(VERSION)|g'

# Each function has its manual: a page that names the one where all of them are.
EXPORTS = $(shell sed -n 's/^\t\(rngclient_[a-z0-9_]*\);$$/\1/p' client/librngclient.map)
MAN3 = $(DESTDIR)$(MANDIR)/man3
PYTHON_FILES = $(addprefix client/python/rngclient/,__init__.py _clones.py _library.py _numbers.py py.typed)

install: all $(B)/installed/rngcli ## install under PREFIX (/usr/local) and DESTDIR
	install -D -m 755 $(B)/rngd $(DESTDIR)$(LIBEXECDIR)/rngd
	install -D -m 755 $(B)/installed/rngcli $(DESTDIR)$(BINDIR)/rngcli
	install -D -m 644 $(B)/$(LIB_SONAME) $(DESTDIR)$(LIBDIR)/$(LIB_SONAME)
	ln -sf $(LIB_SONAME) $(DESTDIR)$(LIBDIR)/librngclient.so
	install -D -m 644 $(LIB_A) $(DESTDIR)$(LIBDIR)/librngclient.a
	install -D -m 644 client/rngclient.h $(DESTDIR)$(INCLUDEDIR)/rngclient.h
	install -D -m 644 client/rngclient_local.h $(DESTDIR)$(INCLUDEDIR)/rngclient_local.h
	install -D -m 644 client/rngclient.hpp $(DESTDIR)$(INCLUDEDIR)/rngclient.hpp
	install -d -m 755 $(DESTDIR)$(PYTHONDIR)/rngclient
	install -m 644 $(PYTHON_FILES) $(DESTDIR)$(PYTHONDIR)/rngclient
	install -D -m 644 client/rngclient_fd.h $(DESTDIR)$(INCLUDEDIR)/rngclient_fd.h
	install -D -m 644 doc/rngd.8 $(DESTDIR)$(MANDIR)/man8/rngd.8
	install -D -m 644 doc/rngcli.1 $(DESTDIR)$(MANDIR)/man1/rngcli.1
	install -D -m 644 doc/librngclient.3 $(MAN3)/librngclient.3
	echo '.so man3/librngclient.3' > $(B)/installed/function.3
	for name in $(EXPORTS); do install -m 644 $(B)/installed/function.3 $(MAN3)/$$name.3 || exit 1; done
	$(GENERATED) client/librngclient.pc.in > $(B)/installed/librngclient.pc
	install -D -m 644 $(B)/installed/librngclient.pc $(DESTDIR)$(LIBDIR)/pkgconfig/librngclient.pc
	$(GENERATED) systemd/rngd.service.in > $(B)/installed/rngd.service
	install -D -m 644 $(B)/installed/rngd.service $(DESTDIR)$(UNITDIR)/rngd.service
	$(GENERATED) systemd/rngd-on-clone@.service.in > $(B)/installed/rngd-on-clone@.service
	install -D -m 644 $(B)/installed/rngd-on-clone@.service $(DESTDIR)$(UNITDIR)/rngd-on-clone@.service
	$(GENERATED) systemd/rngd-kernel-reseed.service.in > $(B)/installed/rngd-kernel-reseed.service
	install -D -m 644 $(B)/installed/rngd-kernel-reseed.service $(DESTDIR)$(UNITDIR)/rngd-kernel-reseed.service
	install -D -m 644 systemd/rngd.socket $(DESTDIR)$(UNITDIR)/rngd.socket
	install -D -m 644 systemd/rngd-control.socket $(DESTDIR)$(UNITDIR)/rngd-control.socket
	install -D -m 644 systemd/rngd.sysusers $(DESTDIR)$(SYSUSERSDIR)/rngd.conf
	install -D -m 644 systemd/rngd.tmpfiles $(DESTDIR)$(TMPFILESDIR)/rngd.conf
	install -D -m 644 systemd/rngd.catalog $(DESTDIR)$(CATALOGDIR)/rngd.catalog
ifeq ($(DESTDIR),)
	@sh systemd/after-install.sh $(SYSUSERSDIR)/rngd.conf $(TMPFILESDIR)/rngd.conf
endif

uninstall: ## remove what install put there (the user rngd stays)
	rm -f $(DESTDIR)$(LIBEXECDIR)/rngd $(DESTDIR)$(BINDIR)/rngcli \
		$(DESTDIR)$(LIBDIR)/$(LIB_SONAME) $(DESTDIR)$(LIBDIR)/librngclient.so \
		$(DESTDIR)$(LIBDIR)/librngclient.a $(DESTDIR)$(INCLUDEDIR)/rngclient.h $(DESTDIR)$(INCLUDEDIR)/rngclient_local.h \
		$(DESTDIR)$(INCLUDEDIR)/rngclient.hpp \
		$(DESTDIR)$(INCLUDEDIR)/rngclient_fd.h \
		$(DESTDIR)$(MANDIR)/man8/rngd.8 $(DESTDIR)$(MANDIR)/man1/rngcli.1 \
		$(MAN3)/librngclient.3 $(EXPORTS:%=$(MAN3)/%.3) \
		$(DESTDIR)$(LIBDIR)/pkgconfig/librngclient.pc $(DESTDIR)$(UNITDIR)/rngd.service \
		$(DESTDIR)$(UNITDIR)/rngd.socket $(DESTDIR)$(UNITDIR)/rngd-control.socket \
		$(DESTDIR)$(UNITDIR)/rngd-on-clone@.service $(DESTDIR)$(UNITDIR)/rngd-kernel-reseed.service \
		$(DESTDIR)$(SYSUSERSDIR)/rngd.conf \
		$(DESTDIR)$(TMPFILESDIR)/rngd.conf $(DESTDIR)$(CATALOGDIR)/rngd.catalog
	rm -f $(addprefix $(DESTDIR)$(PYTHONDIR)/rngclient/,$(notdir $(PYTHON_FILES)))
	rm -rf $(DESTDIR)$(PYTHONDIR)/rngclient/__pycache__
	-rmdir $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(PYTHONDIR)/rngclient

clean: ## remove what was built
	rm -rf $(BUILD)

help: ## list the targets
	@echo 'make [V=1] [CC=...] [CFLAGS=...] [PREFIX=/usr/local] [DESTDIR=] TARGET'
	@echo '  all            build rngd, rngcli, librngclient.so and .a in $(BUILD)/ (default)'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | \
		while IFS='|' read -r name text; do printf '  %-14s %s\n' "$$name" "$$text"; done

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
