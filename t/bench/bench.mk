# Benchmarks, in BUILD/bench; not part of "make test".  Included by Makefile,
# uses its variables.  bench_NAME.c is a program; chaingen*.c are one, load*.c
# another.

bench_c := $(sort $(wildcard t/bench/bench_*.c))
chaingen_c := $(sort $(wildcard t/bench/chaingen*.c))
load_c := $(sort $(wildcard t/bench/load*.c))
bench_o := $(call obj,$(bench_c) $(chaingen_c) $(load_c))

.PHONY: bench bench-serve bench-all
bench: $(bench_c:t/bench/%.c=$(BUILD)/bench/%) $(BUILD)/bench/chaingen \
       $(BUILD)/bench/load

# The table of docs/performance.md, "Serving": SERVE_ARGS='--txs 200000' for a
# shorter chain, --help for more.
bench-serve: all bench
	$(Q)perl -It/lib -It/bench t/bench/serve.pl $(SERVE_ARGS)

# All of them, one table at the end: BENCH_ALL='--parts serve,latency' and more,
# see t/bench/all.pl.
bench-all: all bench | nodes
	$(Q)ELECTRUMX_BUILD=$(BUILD) perl -It/bench t/bench/all.pl $(BENCH_ALL)

# The same chain everywhere: no fused multiply-add.
$(call obj,$(chaingen_c)): bench_flags = -ffp-contract=off

$(bench_o): $(BUILD)/obj/%.o: %.c $(BUILD)/flags
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(c_flags) $(bench_flags) $(pkg_cflags) -It/lib $(dep_flags) \
	    -c -o $@ $<

$(BUILD)/bench/bench_%: $(BUILD)/obj/t/bench/bench_%.o $(BUILD)/libindexer.a \
                        $(BUILD)/libexi.a
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CXX) $(ld_flags) -o $@ $^ $(pkg_libs)

# BENCH_SYNC: options of t/bench/sync.pl.
.PHONY: bench-sync
bench-sync: all $(BUILD)/bench/chaingen | nodes
	$(Q)t/bench/sync.pl --build $(BUILD) --nodes build/nodes $(BENCH_SYNC)

$(BUILD)/bench/chaingen: $(call obj,$(chaingen_c)) $(BUILD)/libexi.a
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CXX) $(ld_flags) -o $@ $^ $(pkg_libs)

$(BUILD)/bench/load: $(call obj,$(load_c)) $(BUILD)/libexi.a
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CXX) $(ld_flags) -o $@ $^ $(pkg_libs) -lssl

-include $(bench_o:.o=.d)

# From the node to the wallet, and a large mempool.
.PHONY: bench-latency
bench-latency: all $(BUILD)/bench/bench_live
	@perl -It/lib -It/bench t/bench/latency.pl
	@dir=$$(mktemp -d); $(BUILD)/bench/bench_live $$dir; rc=$$?; \
	    rm -rf $$dir; exit $$rc
