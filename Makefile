# ngx_electrumx: electrumx-indexer, electrumx-ctl, ngx_electrumx_module.so
#
#   make              all three, in build/
#   make run          installs what is missing, builds, runs (README.md)
#   make test         installs what is missing, builds, runs every test
#   make help         all targets
#
# Settings: BUILD CC CXX OPT CFLAGS CXXFLAGS LDFLAGS SANITIZE NGX_SRC
# PREFIX DESTDIR NGINX_MODULES_DIR TESTS TEST_JOBS V=1

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

BUILD ?= build
OPT ?= -O2 -g
PREFIX ?= /usr/local
TEST_JOBS ?= 2
# An nginx source tree, 1.22 or later; the default is the one of Debian's
# package nginx-dev, which fits the nginx of the distribution.
NGX_SRC ?= /usr/share/nginx/src
CLANG_FORMAT ?= clang-format
INSTALL ?= install

ifeq ($(origin CXX),default)
ifneq (,$(findstring clang,$(CC)))
CXX = $(patsubst clang%,clang++%,$(CC))
endif
endif

ifeq ($(V),1)
Q =
say = @:
else
Q = @
say = @printf '  %-7s %s\n'
endif

# ---- sources: what the directories hold ----

lib_c := $(sort $(wildcard indexer/lib/*.c))
ctl_c := $(wildcard indexer/ctl.c)
indexer_c := $(sort $(filter-out $(ctl_c),$(wildcard indexer/*.c)))
indexer_cc := $(sort $(wildcard indexer/*.cc))
module_c := $(sort $(wildcard ngx_electrumx_module/*.c))
module_files := $(sort $(wildcard ngx_electrumx_module/*.[ch]))
lib_h := $(sort $(wildcard indexer/lib/*.h))
# The module's files that call no nginx function: unit tests link them alone.
pure_c := $(wildcard $(foreach f,args json line ws,\
                     ngx_electrumx_module/ngx_electrumx_$(f).c))
unit_c := $(sort $(wildcard t/unit/*.c))
unit_t := $(unit_c:t/unit/%.c=$(BUILD)/t/%.t)
testlib_c := $(sort $(wildcard t/lib/*.c))
fuzz_c := $(sort $(wildcard t/fuzz/fuzz_*.c))
fuzz_names := $(fuzz_c:t/fuzz/fuzz_%.c=%)
fuzz_t := $(fuzz_names:%=$(BUILD)/t/600-fuzz-%.t)

obj = $(patsubst %,$(BUILD)/obj/%.o,$(basename $(1)))
lib_o := $(call obj,$(lib_c))
indexer_o := $(call obj,$(indexer_c) $(indexer_cc))
ctl_o := $(call obj,$(ctl_c))
pure_o := $(call obj,$(pure_c))
testlib_o := $(call obj,$(testlib_c))
fuzz_o := $(call obj,$(fuzz_c))

# ---- flags ----

# pkg-config is asked when the first object is made, and once. LevelDB and LMDB
# have no .pc file in every release.
once = $(eval $(1) := $(2))$($(1))
PKG_CONFIG ?= pkg-config
pkgs_needed = jansson libcurl libcrypto
pkgs_extra = $(foreach p,libzmq libsystemd,$(shell $(PKG_CONFIG) --exists $(p) && echo $(p)))
pkgs = $(call once,pkgs,$(pkgs_needed) $(pkgs_extra))
pkg_cflags = $(call once,pkg_cflags,$(shell $(PKG_CONFIG) --cflags $(pkgs)) \
    $(if $(filter libzmq,$(pkgs)),-DHAVE_ZMQ=1) \
    $(if $(filter libsystemd,$(pkgs)),-DHAVE_SYSTEMD=1))
pkg_libs = $(call once,pkg_libs,$(shell $(PKG_CONFIG) --libs $(pkgs)) -lleveldb -llmdb)

warn = -Wall -Wextra -Werror -Wshadow -Wvla -Wwrite-strings
warn_c = $(warn) -Wmissing-prototypes -Wstrict-prototypes
harden = -fstack-protector-strong
ifeq ($(SANITIZE),)
ifneq (,$(filter -O1 -O2 -O3 -Os,$(OPT)))
harden += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif
else
sanitize = -fsanitize=$(SANITIZE) -fno-omit-frame-pointer
# Our own code ends at a finding; nginx goes on, the tests read its log.
strict = $(if $(findstring undefined,$(SANITIZE)),-fno-sanitize-recover=undefined)
endif

base = $(OPT) -fPIC -pthread -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
       $(harden) $(sanitize) $(strict) -Iindexer -Iindexer/lib
c_flags = -std=gnu11 $(warn_c) $(base) $(CPPFLAGS) $(CFLAGS)
cc_flags = -std=c++17 -fno-rtti -fno-exceptions $(warn) $(base) $(CPPFLAGS) $(CXXFLAGS)
ld_flags = -pthread -Wl,-z,relro,-z,now -Wl,--as-needed $(sanitize) $(LDFLAGS)
dep_flags = -MMD -MP

# The nginx tree is copied, configured and built below build/.
ngx = $(BUILD)/nginx-src
ngx_makefile = $(ngx)/objs/Makefile
ngx_includes = $(addprefix -isystem $(ngx)/,src/core src/event src/event/modules src/event/quic \
               src/os/unix objs)
# No -Wwrite-strings: the list of modules that nginx generates breaks it.
ngx_cc_opt = $(OPT) -fPIC $(harden) $(sanitize) -Wshadow -Wvla \
             -Wmissing-prototypes -Wstrict-prototypes $(CFLAGS)
ngx_ld_opt = -Wl,-z,relro -Wl,-z,now -fPIC $(sanitize) $(LDFLAGS)

# ---- targets ----

.PHONY: all indexer ctl module check check-units check-source test test-long \
        lint run asan tsan fuzz install uninstall format clean distclean deps nodes clients help FORCE

all: indexer ctl module
indexer: $(BUILD)/electrumx-indexer
ctl: $(BUILD)/electrumx-ctl
module: $(BUILD)/ngx_electrumx_module.so

help:
	@printf '%s\n' \
	'all           indexer, ctl and module (default)' \
	'run           the whole server, in the foreground; with no DAEMON_URL on a' \
	'              regtest node of its own; README.md has the variables' \
	'test          every test but those of t/9*.t;  TESTS="t/200-x.t" picks' \
	'test-long     the long ones too' \
	'check         the C units and the checks of the sources, in seconds' \
	'check-source  only the checks of the sources' \
	'bench         programs of t/bench, in build/bench' \
	'bench-sync    the initial sync of a generated chain from a real node;' \
	'              BENCH_SYNC="--txs 200000" and more, see t/bench/sync.pl' \
	'bench-serve, bench-latency   what a request costs, how long until a' \
	'              wallet is told: t/bench/serve.pl, latency.pl' \
	'bench-all     all of these and more, one table of targets at the end' \
	'fuzz          the fuzz targets for libFuzzer, in build/fuzzer/fuzzer' \
	'asan          all of it and nginx with ASan and UBSan, in build/asan' \
	'tsan          the indexer with TSan, in build/tsan' \
	'install       PREFIX, DESTDIR, NGINX_MODULES_DIR; uninstall removes it' \
	'deps nodes clients   only what run and test do first' \
	'format        clang-format over indexer/ and t/' \
	'lint          clang-tidy, cppcheck, gcc -fanalyzer over the C sources' \
	'clean         build/ but what was fetched and the data of "make run"' \
	'distclean     build/'

# A change of flags or compiler rebuilds what depends on it.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(CC) $(CXX)' '$(c_flags)' '$(cc_flags)' '$(pkg_cflags)' >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(c_flags) $(pkg_cflags) $(dep_flags) -c -o $@ $<

$(BUILD)/obj/%.o: %.cc $(BUILD)/flags
	$(say) CXX $<
	@mkdir -p $(@D)
	$(Q)$(CXX) $(cc_flags) $(pkg_cflags) $(dep_flags) -c -o $@ $<

$(pure_o): $(BUILD)/obj/%.o: %.c $(BUILD)/flags $(ngx_makefile)
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(c_flags) $(ngx_includes) $(dep_flags) -c -o $@ $<

# An archive is made anew, so that a removed source leaves no member. The
# list of members is a prerequisite for the same reason.
define archive
$(BUILD)/$(1): $(2) $(BUILD)/$(1).list
	$$(say) AR $$@
	@rm -f $$@
	$$(Q)$$(AR) rcs $$@ $(2)
$(BUILD)/$(1).list: FORCE
	@mkdir -p $$(@D)
	@echo $(2) >$$@.new
	@if cmp -s $$@.new $$@; then rm $$@.new; else mv $$@.new $$@; fi
endef
# All of the indexer but main(), for the unit tests.
libindexer_o := $(filter-out $(BUILD)/obj/indexer/main.o,$(indexer_o))
$(eval $(call archive,libexi.a,$(lib_o)))
$(eval $(call archive,libindexer.a,$(libindexer_o)))
$(eval $(call archive,libpure.a,$(pure_o)))

$(BUILD)/electrumx-indexer: $(indexer_o) $(BUILD)/libexi.a
	$(say) LINK $@
	$(Q)$(CXX) $(ld_flags) -o $@ $^ $(pkg_libs)

$(BUILD)/electrumx-ctl: $(ctl_o) $(BUILD)/libindexer.a $(BUILD)/libexi.a
	$(say) LINK $@
	$(Q)$(CXX) $(ld_flags) -o $@ $^ $(pkg_libs)

# ---- the module ----

# Copied and configured again only when the tree, the flags, config or the set
# of files changes; a changed file is nginx's own makefile's affair.
$(BUILD)/nginx.stamp: FORCE
	@mkdir -p $(@D)
	@{ printf '%s\n' '$(abspath $(NGX_SRC))' '$(CC)' '$(ngx_cc_opt)' \
	    '$(ngx_ld_opt)' '$(module_files)'; \
	  cksum config indexer/tools/nginx-tree.sh '$(NGX_SRC)/src/core/nginx.h' \
	    '$(NGX_SRC)/configure'; } >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(ngx_makefile): $(BUILD)/nginx.stamp | $(BUILD)/libexi.a
	$(say) CONF $(ngx)
	$(Q)CC='$(CC)' ELECTRUMX_BUILD='$(abspath $(BUILD))' \
	    indexer/tools/nginx-tree.sh '$(NGX_SRC)' '$(ngx)' \
	    '$(ngx_cc_opt)' '$(ngx_ld_opt)' $(NGX_CONFIGURE)
	@touch $@

$(BUILD)/ngx_electrumx_module.so: $(ngx_makefile) $(module_files) $(lib_h) \
                                  $(BUILD)/libexi.a
	$(say) MODULE $@
	@rm -f $(ngx)/objs/ngx_electrumx_module.so
	+$(Q)$(MAKE) --no-print-directory $(if $(Q),-s) -C $(ngx) -f objs/Makefile \
	    objs/ngx_electrumx_module.so
	@cp $(ngx)/objs/ngx_electrumx_module.so $@.new
	@mv $@.new $@

# nginx itself, of the same tree: only the sanitizer build needs it.
.PHONY: nginx
sanitizer_o := $(call obj,indexer/tools/sanitizer.c)
nginx: $(ngx_makefile) $(BUILD)/ngx_electrumx_module.so $(if $(SANITIZE),$(sanitizer_o))
	$(say) NGINX $(BUILD)/nginx
	+$(Q)$(MAKE) --no-print-directory $(if $(Q),-s) -C $(ngx) -f objs/Makefile \
	    binary objs/ngx_stream_module.so \
	    LINK='$(CC) $(if $(SANITIZE),$(abspath $(sanitizer_o)))'
	@cp $(ngx)/objs/ngx_stream_module.so $(BUILD)/ngx_stream_module.so.new
	@mv $(BUILD)/ngx_stream_module.so.new $(BUILD)/ngx_stream_module.so
	@cp $(ngx)/objs/nginx $(BUILD)/nginx.new
	@mv $(BUILD)/nginx.new $(BUILD)/nginx

# ELECTRUMX_BUILD=build/asan makes the tests use it.
asan:
	@indexer/tools/nginx-source.sh build/nginx-full
	+$(Q)$(MAKE) --no-print-directory BUILD=build/asan NGX_SRC=build/nginx-full \
	    SANITIZE=address,undefined OPT='-O1 -g' all bench nginx check-units

# ELECTRUMX_INDEXER=build/tsan/electrumx-indexer makes the tests use it.
tsan:
	+$(Q)$(MAKE) --no-print-directory BUILD=build/tsan SANITIZE=thread \
	    OPT='-O1 -g' CFLAGS=-Wno-maybe-uninitialized indexer

# ---- tests ----

$(BUILD)/t/%.t: t/unit/%.c $(BUILD)/libindexer.a $(BUILD)/libexi.a \
                $(BUILD)/libpure.a $(testlib_o) $(ngx_makefile) $(BUILD)/flags
	$(say) UNIT $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(c_flags) -Wno-unused-result $(pkg_cflags) -It/lib \
	    -Ingx_electrumx_module $(ngx_includes) $(dep_flags) -MF $(@:.t=.d) -c -o $(@:.t=.o) $<
	$(Q)$(CXX) $(ld_flags) -o $@ $(@:.t=.o) $(testlib_o) $(BUILD)/libpure.a \
	    $(BUILD)/libindexer.a $(BUILD)/libexi.a $(pkg_libs)

# Here each allocation of ours can be made to fail (t/lib/nomem.h).
$(BUILD)/t/087-nomem.t: ld_flags += -Wl,--wrap=malloc,--wrap=calloc \
                                    -Wl,--wrap=realloc,--wrap=strdup,--wrap=free

# A fuzz target replays its corpus, and damaged copies of it, in every build.
$(call obj,t/fuzz/replay.c) $(fuzz_o): $(BUILD)/obj/%.o: %.c $(BUILD)/flags \
                                       $(ngx_makefile)
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(c_flags) $(pkg_cflags) -It/lib -It/fuzz -Ingx_electrumx_module \
	    $(ngx_includes) $(dep_flags) -c -o $@ $<

fuzz_libs := $(BUILD)/libpure.a $(BUILD)/libindexer.a $(BUILD)/libexi.a
$(BUILD)/fuzz/%: $(BUILD)/obj/t/fuzz/fuzz_%.o $(call obj,t/fuzz/replay.c) $(fuzz_libs)
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CXX) $(ld_flags) -o $@ $^ $(pkg_libs)

$(BUILD)/t/600-fuzz-%.t: $(BUILD)/fuzz/% Makefile
	@mkdir -p $(@D)
	@printf '#!/bin/sh\nREPLAY_MORE=200 exec %s %s\n' '$<' 't/fuzz/corpus/$*' >$@
	@chmod 755 $@

# The same targets for libFuzzer: build/fuzzer/fuzzer/NAME, to be run by hand,
# with a directory for new inputs before that of the corpus.
$(BUILD)/fuzzer/%: $(BUILD)/obj/t/fuzz/fuzz_%.o $(fuzz_libs)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(ld_flags) -fsanitize=fuzzer -o $@ $^ $(pkg_libs)

fuzz:
	+$(Q)$(MAKE) --no-print-directory BUILD=build/fuzzer CC=clang CXX=clang++ \
	    SANITIZE=fuzzer-no-link,address,undefined OPT='-O1 -g' \
	    $(fuzz_names:%=build/fuzzer/fuzzer/%)

# Benchmarks, run by hand (docs/performance.md).
-include t/bench/bench.mk

check-units: $(unit_t) $(fuzz_t)

check: check-units
	@prove -j$(TEST_JOBS) $(wildcard t/0*.t) $(unit_t) $(fuzz_t)

check-source:
	@prove $(wildcard t/0*.t)
	@if command -v $(CLANG_FORMAT) >/dev/null; then \
	    $(CLANG_FORMAT) --dry-run -Werror $(formatted) && echo 'formatting: ok'; \
	else echo 'formatting: not checked, $(CLANG_FORMAT) is not installed'; fi

# Static analysis, some minutes; by hand or by "make test-long".  What was judged
# to be no fault is in indexer/tools/lint.known; LINT_TOOLS=cppcheck picks.
LINT_TOOLS ?=
lint: $(ngx_makefile)
	@indexer/tools/lint.sh $(BUILD)/lint $(TEST_JOBS) $(ngx) $(LINT_TOOLS)

# The last tests take longest: they begin first, so that no core idles at the
# end.
order = $(shell printf '%s\n' $(1) | sed 's|\(.*/\)\(.*\)|\2 \1\2|' | sort -r | cut -d' ' -f2-)
TESTS ?= $(call order,$(filter-out t/9%,$(wildcard t/*.t)) $(unit_t) $(fuzz_t))

define run_tests
@indexer/tools/deps.sh build run test browser clients
@indexer/tools/nodes.sh --electrum
@indexer/tools/npm.sh
+$(Q)$(MAKE) --no-print-directory all bench check-units
@prove -j$(TEST_JOBS) --state=save --statefile=$(BUILD)/prove.state $(TESTS) || \
    $(if $(CI),{ echo '*** what failed is run once more and alone:'; \
    prove -v --state=failed --statefile=$(BUILD)/prove.state; },false)
endef

test:
	$(run_tests)

test-long: TESTS = $(call order,$(wildcard t/*.t) $(unit_t) $(fuzz_t))
test-long: export TEST_LONG = 1
test-long:
	@indexer/tools/deps.sh tools
	$(run_tests)

# ---- run ----

# make dies with the shell that called it: so does the server.
run:
	@exec setpriv --pdeathsig TERM indexer/tools/run.sh

deps:
	@indexer/tools/deps.sh build run test browser clients
nodes:
	@indexer/tools/nodes.sh --electrum
clients:
	@indexer/tools/npm.sh

# ---- install ----

# Where nginx looks for "load_module modules/...".
NGINX_MODULES_DIR ?= $(or $(shell { nginx -V || /usr/sbin/nginx -V; } 2>&1 \
    | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p' | head -n 1),/usr/lib/nginx/modules)
docdir = $(PREFIX)/share/doc/ngx-electrumx

install: all
	$(INSTALL) -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(NGINX_MODULES_DIR)' \
	    '$(DESTDIR)$(docdir)'
	$(INSTALL) -m 755 $(BUILD)/electrumx-indexer $(BUILD)/electrumx-ctl \
	    '$(DESTDIR)$(PREFIX)/bin'
	$(INSTALL) -m 644 $(BUILD)/ngx_electrumx_module.so '$(DESTDIR)$(NGINX_MODULES_DIR)'
	$(INSTALL) -m 644 README.md LICENSE $(wildcard docs/*.md) '$(DESTDIR)$(docdir)'

uninstall:
	rm -f '$(DESTDIR)$(PREFIX)/bin/electrumx-indexer' \
	    '$(DESTDIR)$(PREFIX)/bin/electrumx-ctl' \
	    '$(DESTDIR)$(NGINX_MODULES_DIR)/ngx_electrumx_module.so'
	rm -rf '$(DESTDIR)$(docdir)'

# ---- the rest ----

formatted = $(wildcard indexer/*.[ch] indexer/*.cc indexer/lib/*.[ch] \
            indexer/*.hh t/unit/*.[ch] t/lib/*.[ch] t/fuzz/*.c)

format:
	$(CLANG_FORMAT) -i $(formatted)

clean:
	@[ ! -d $(BUILD) ] || find $(BUILD) -mindepth 1 -maxdepth 1 \
	    ! -name nodes ! -name npm ! -name run \
	    ! -name 'nginx-full*' -exec rm -rf {} +

distclean:
	rm -rf build $(BUILD)

-include $(lib_o:.o=.d) $(indexer_o:.o=.d) $(ctl_o:.o=.d) $(pure_o:.o=.d) $(testlib_o:.o=.d) $(unit_t:.t=.d) \
         $(fuzz_o:.o=.d)
