# Benchmarks, in BUILD/bench; not part of "make test".  Included by Makefile,
# uses its variables.  bench_NAME.c is a program; chaingen*.c are one.

bench_c := $(sort $(wildcard t/bench/bench_*.c))
chaingen_c := $(sort $(wildcard t/bench/chaingen*.c))
bench_o := $(call obj,$(bench_c) $(chaingen_c))

.PHONY: bench
bench: $(bench_c:t/bench/%.c=$(BUILD)/bench/%) $(BUILD)/bench/chaingen

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

-include $(bench_o:.o=.d)
