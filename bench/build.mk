# The C programs of bench/: the limits (bare Lua, bare libuv) and what drives and measures the others.
# bench/switch/limit.c becomes build/bench/switch/limit; a new bench/*/*.c is picked up by itself.
# Included by the Makefile, and complete in itself: make -f bench/build.mk

BENCH_PROGRAMS := $(patsubst %.c,build/%,$(wildcard bench/*/*.c))
BENCH_LUA      := $(or $(LUA_PC),lua5.4)

# The static archive of a package where there is one, as in lilac itself, else the shared library.
bench_library = $(or $(wildcard $(shell pkg-config --variable=libdir $(1))/$(2)),$(shell \
                  pkg-config --libs $(1)))
BENCH_LIBS   := $(call bench_library,$(BENCH_LUA),liblua5.4.a) \
                $(call bench_library,libuv,libuv_a.a) -lm -ldl -lpthread -lrt
BENCH_CFLAGS := -std=c11 -D_GNU_SOURCE -O2 $(or $(WARNINGS),-Wall -Wextra) \
                $(shell pkg-config --cflags $(BENCH_LUA) libuv)

.PHONY: bench-limits
bench-limits: $(BENCH_PROGRAMS)

build/bench/tls/% build/bench/idle/%: BENCH_LIBS += $(shell pkg-config --libs libssl libcrypto)

$(BENCH_PROGRAMS): build/%: %.c $(wildcard bench/*.h) bench/build.mk
	@mkdir -p $(@D)
	$(call say,cc $@)$(CC) $(BENCH_CFLAGS) -o $@ $< $(BENCH_LIBS)
