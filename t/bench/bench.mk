# Benchmarks: BUILD/bench/NAME for each t/bench/NAME.c; not part of "make test".
# To be included by Makefile; uses its variables.

bench_c := $(sort $(wildcard t/bench/*.c))
bench_names := $(bench_c:t/bench/%.c=%)

.PHONY: bench
bench: $(bench_names:%=$(BUILD)/bench/%)

$(call obj,$(bench_c)): $(BUILD)/obj/%.o: %.c $(BUILD)/flags
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(c_flags) $(pkg_cflags) -It/lib $(dep_flags) -c -o $@ $<

$(BUILD)/bench/%: $(BUILD)/obj/t/bench/%.o $(BUILD)/libindexer.a $(BUILD)/libexi.a
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CXX) $(ld_flags) -o $@ $^ $(pkg_libs)

-include $(patsubst %.o,%.d,$(call obj,$(bench_c)))
