# lilac: GNU make and pkg-config, no configure step.
#
#   make demo      what lilac does, from a fresh clone     make            build/lilac, build/lilac.so
#   make test      the specs                               make install    PREFIX=/usr/local DESTDIR=
#   make check     format, lint, warnings as errors        make bench      BENCH=name: one of them
#   make asan tsan stress load valgrind tidy               harder tests
#
# SPEC=spec/core/task_spec.lua limits a test to some specs, BUSTED_FLAGS= goes to busted, V=1 shows
# the commands of the build.

FLAVOUR ?= release
TREE    := build/$(FLAVOUR)
BIN     := $(if $(filter release,$(FLAVOUR)),build/lilac,$(TREE)/lilac)

ifeq ($(origin CC),default)
CC      := gcc
endif
LUA     ?= lua5.4
BUSTED  ?= $(or $(shell command -v busted),/usr/bin/busted)
PREFIX  ?= /usr/local
SPEC    ?= spec
VERSION := $(shell sed -n 's/^.define LILAC_VERSION "\(.*\)"/\1/p' src/lilac.h)

# ---- what a Debian machine needs: to build, and to test -----------------------------------------

BUILD_PACKAGES := gcc libc6-dev make pkg-config lua5.4 liblua5.4-dev libuv1-dev \
                  libssl-dev
TEST_PACKAGES  := lua-busted lua-check clang-format netcat-openbsd socat lua-lpeg lua-cjson \
                  lua-filesystem lua-socket valgrind python3 openssl curl

# ---- Lua and libuv: static where they are, so that the binary stands alone ----------------------

pc       = $(shell pkg-config $(1) 2>/dev/null)
LUA_PC  := $(firstword $(foreach n,lua5.4 lua-5.4 lua54,$(if $(call pc,--modversion $(n)),$(n))))
LUA_A   := $(wildcard $(call pc,--variable=libdir $(LUA_PC))/liblua5.4.a)
UV_DIR  := $(call pc,--variable=libdir libuv)
UV_A    := $(firstword $(wildcard $(UV_DIR)/libuv_a.a $(UV_DIR)/libuv.a))
PC_FLAGS := $(call pc,--cflags $(LUA_PC) libuv libssl)

# Whole archives: a C module may call any function of the Lua API, and of libuv (lilac_loop), also
# those that lilac does not call itself.
LIBS := -Wl,--whole-archive $(LUA_A) $(UV_A) -Wl,--no-whole-archive \
        $(if $(LUA_A),,$(call pc,--libs $(LUA_PC))) $(if $(UV_A),,$(call pc,--libs libuv)) \
        -lm -ldl -lpthread -lrt

# ---- flags ----------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all

# A switch between tasks crosses half the files of core/: LTO is worth 18 % there, -O3 nothing.
LTO := $(if $(findstring gcc,$(CC)),-flto=auto)

# A switch runs through a little of much code, and where that stands in the instruction cache is worth
# up to a fifth of it. So functions have whole cache lines, those of a switch stand together (HOT), and
# Lua's begin at a fixed place in a page: one of the better ones, and no change elsewhere moves it.
ALIGN := -falign-functions=64
PLACE := .section .note.GNU-stack; .text; .p2align 12; .skip 1536

FLAGS_release := -O2 $(ALIGN) $(LTO)
FLAGS_strict  := -O2 -Werror
FLAGS_debug   := -O0 -DLILAC_PLAIN_MALLOC
FLAGS_tsan    := -O1 -DLILAC_PLAIN_MALLOC -fno-omit-frame-pointer -fsanitize=thread
FLAGS_asan    := -O1 -DLILAC_PLAIN_MALLOC -fno-omit-frame-pointer $(SANITIZE)

# Hidden by default: a C module's own `buffer_append` must not meet ours.
COMPILE = $(CC) -std=c11 -D_GNU_SOURCE $(WARNINGS) -g $(FLAGS_$(FLAVOUR)) -fvisibility=hidden \
          -Isrc $(PC_FLAGS) $(CPPFLAGS) $(CFLAGS)
LINK    = $(COMPILE) -Wl,--export-dynamic $(LDFLAGS)

# Shows what a rule makes, or with V=1 its commands.
say = $(if $(V),,@echo "  $(1)";)

# ---- build ----------------------------------------------------------------------------------------

SOURCES     := $(sort $(wildcard src/*.c src/core/*.c src/modules/*.c))
LUA_SOURCES := $(sort $(shell find lua/lilac -name '*.lua' 2>/dev/null))
OBJECTS     := $(SOURCES:src/%.c=$(TREE)/%.o) $(TREE)/embedded.o
PIC_OBJECTS := $(patsubst $(TREE)/%,build/pic/%,$(filter-out $(TREE)/main.o,$(OBJECTS)))

.PHONY: all
all: $(BIN) $(if $(filter release,$(FLAVOUR)),build/lilac.so)

$(BIN): $(OBJECTS) $(TREE)/place.o $(TREE)/sources
	$(call say,link $@)$(LINK) -o $@ $(OBJECTS) $(TREE)/place.o $(LIBS)

# For `require "lilac"` in any other Lua 5.4 host, which brings the Lua API itself. libuv is shared
# here: Debian's archive is not position-independent.
build/lilac.so: $(PIC_OBJECTS) $(TREE)/sources
	$(call say,link $@)$(LINK) -shared -o $@ $(PIC_OBJECTS) $(call pc,--libs libuv)

$(TREE)/%.o: src/%.c $(TREE)/flags
	@mkdir -p $(@D)
	$(call say,cc $@)$(COMPILE) -MMD -MP -c -o $@ $<

build/pic/%.o: src/%.c $(TREE)/flags
	@mkdir -p $(@D)
	$(call say,cc $@)$(COMPILE) -fPIC -MMD -MP -c -o $@ $<

$(TREE)/place.o: Makefile
	@mkdir -p $(@D)
	$(call say,as $@)echo '$(PLACE)' | $(CC) -x assembler -c -o $@ -

$(TREE)/embedded.o: $(TREE)/embedded.c $(TREE)/flags
	$(call say,cc $@)$(COMPILE) -MMD -MP -c -o $@ $<

build/pic/embedded.o: $(TREE)/embedded.c $(TREE)/flags
	@mkdir -p $(@D)
	$(call say,cc $@)$(COMPILE) -fPIC -MMD -MP -c -o $@ $<

$(TREE)/embedded.c: $(TREE)/embed $(LUA_SOURCES) $(TREE)/sources
	$(call say,embed lua/)$(TREE)/embed $(LUA_SOURCES) > $@.new && mv $@.new $@

$(TREE)/embed: tools/embed.c $(TREE)/flags
	$(call say,cc $@)$(CC) -std=c11 -O1 -o $@ $<

# Stamps that change with their text, so that other flags or a removed file cause a rebuild.
stamp = @mkdir -p $(@D); echo '$(subst ','\'',$(1))' | cmp -s - $@ || \
        echo '$(subst ','\'',$(1))' > $@

$(TREE)/flags: FORCE
	$(if $(and $(LUA_PC),$(UV_DIR),$(call pc,--modversion libssl)),,$(error Lua 5.4, libuv or OpenSSL is missing for pkg-config: make deps))
	$(call stamp,$(COMPILE) $(LIBS))

$(TREE)/sources: FORCE
	$(call stamp,$(SOURCES) $(LUA_SOURCES))

.PHONY: FORCE
FORCE:

-include $(OBJECTS:.o=.d) $(PIC_OBJECTS:.o=.d)

# ---- first steps ----------------------------------------------------------------------------------

# The packages come first and the build in a make of its own: what pkg-config says changes with them.

.PHONY: deps build-deps demo
deps:
	@tools/deps.sh $(BUILD_PACKAGES) $(TEST_PACKAGES)

build-deps:
	@tools/deps.sh $(BUILD_PACKAGES)

demo: build-deps
	@tools/deps.sh netcat-openbsd
	@$(MAKE) --no-print-directory all
	$(BIN) examples/tour.lua
	examples/chat_demo.sh $(BIN)

# ---- tests ----------------------------------------------------------------------------------------

# The specs run under the binary they test, and start others through $LILAC. No signal is ignored,
# not even where make itself runs in the background.
SPEC_ENV   = env --default-signal LILAC=$(abspath $(BIN))
BUSTED_RUN = $(BIN) $(BUSTED) --ignore-lua $(BUSTED_FLAGS) $(SPEC)
SEED      ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')

export ASAN_OPTIONS  ?= detect_leaks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS ?= print_stacktrace=1

export TSAN_OPTIONS  ?= halt_on_error=1:second_deadlock_stack=1:suppressions=$(abspath tools/tsan.supp)

.PHONY: test specs asan tsan stress load valgrind
test: deps
	@$(MAKE) --no-print-directory specs

specs: all
	$(SPEC_ENV) $(BUSTED_RUN)

asan:
	@$(MAKE) --no-print-directory FLAVOUR=asan specs asan-examples

.PHONY: asan-examples
asan-examples: all
	$(BIN) examples/tour.lua > /dev/null
	examples/chat_demo.sh $(BIN) > /dev/null

# Lua and libuv are not instrumented: what is watched is what lilac shares between threads.
THREAD_SPECS := spec/modules/thread_spec.lua spec/modules/channel_spec.lua \
                spec/modules/transfer_spec.lua spec/modules/dns_spec.lua \
                spec/modules/signal_spec.lua \
                spec/lua/thread_map_spec.lua spec/lua/workers_spec.lua

tsan:
	@$(MAKE) --no-print-directory FLAVOUR=tsan specs \
	    SPEC="$(if $(filter command line,$(origin SPEC)),$(SPEC),$(THREAD_SPECS))"

# A full collection before every resume and a shuffled ready queue. `make stress SEED=n` repeats a
# run; `make stress FLAVOUR=asan` is the hardest test there is.
stress: seed := $(SEED)
stress: all
	@echo "stress: SEED=$(seed)"
	$(SPEC_ENV) LILAC_STRESS=1 LILAC_SHUFFLE=$(seed) $(BUSTED_RUN) || \
	    { echo "stress: failed with SEED=$(seed)"; exit 1; }

# At full size: a GiB through streams of every kind, and 10,000 connections at once.
load: SPEC = spec/modules/transports_spec.lua spec/core/faults_spec.lua
load: all
	ulimit -n $$(ulimit -Hn) && $(SPEC_ENV) LILAC_LOAD=10000 $(BUSTED_RUN)

# The specs, and then what those start that are about whole programs: the examples, and the exit at
# each await point. Not what is tagged #native: under valgrind posix_spawn tells of no failure, and
# the size of a process says nothing.
VALGRIND_FLAGS := --quiet --leak-check=full --show-leak-kinds=definite \
                  --errors-for-leak-kinds=definite --error-exitcode=99
PROGRAM_SPECS  := spec/examples_spec.lua spec/docs_spec.lua spec/core/anywhere_spec.lua \
                  spec/core/deadlock_exit_spec.lua spec/core/report_spec.lua

valgrind:
	@$(MAKE) --no-print-directory FLAVOUR=debug valgrind-specs

.PHONY: valgrind-specs
valgrind-specs: all
	$(SPEC_ENV) valgrind $(VALGRIND_FLAGS) $(BUSTED_RUN) --exclude-tags=native
	printf '#!/bin/sh\nexec valgrind $(VALGRIND_FLAGS) $(abspath $(BIN)) "$$@"\n' > $(BIN).valgrind
	chmod +x $(BIN).valgrind
	$(if $(filter command line,$(origin SPEC)),,$(SPEC_ENV).valgrind $(BIN) $(BUSTED) --ignore-lua \
	    $(BUSTED_FLAGS) $(PROGRAM_SPECS))

# ---- the house rules ------------------------------------------------------------------------------

C_FILES   = $(wildcard src/*.[ch] src/*/*.[ch] tools/*.[ch] bench/*.[ch] bench/*/*.[ch] \
              examples/*/*.[ch])
LUA_TREES = $(wildcard lua spec bench examples tools)
LINTS     = floors sizes names specs

# Not those that mistake taste, an array of pointers, or a va_list in the second file of a run.
comma       := ,
empty       :=
TIDY_CHECKS := clang-analyzer-* bugprone-* performance-* \
               -bugprone-easily-swappable-parameters -bugprone-assignment-in-if-condition \
               -bugprone-sizeof-expression -performance-no-int-to-ptr \
               -clang-analyzer-valist.Uninitialized \
               -clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling
TIDY_CHECKS := $(subst $(empty) $(empty),$(comma),$(strip $(TIDY_CHECKS)))

.PHONY: check lint luacheck format format-check strict tidy
check: lint luacheck format-check strict

lint:
	@status=0; for l in $(LINTS); do $(LUA) tools/$$l.lua || status=1; done; exit $$status

luacheck:
	@luacheck --quiet $(LUA_TREES)

format:
	clang-format -i $(C_FILES)

format-check:
	@clang-format --dry-run -Werror $(C_FILES)

strict:
	@$(MAKE) --no-print-directory FLAVOUR=strict all

tidy:
	clang-tidy --quiet --warnings-as-errors='*' --checks='-*,$(TIDY_CHECKS)' $(SOURCES) -- \
	    -std=c11 -D_GNU_SOURCE -Isrc $(PC_FLAGS) -include tools/tidy.h

# ---- benchmarks: bench/build.mk builds the peers in C as bench-limits ------------------------------

ifneq ($(filter bench%,$(MAKECMDGOALS)),)
-include bench/build.mk
endif

.PHONY: bench bench-limits
bench: all bench-limits
	$(LUA) bench/run.lua $(BENCH)

# ---- install ----------------------------------------------------------------------------------------

bindir     = $(DESTDIR)$(PREFIX)/bin
includedir = $(DESTDIR)$(PREFIX)/include
pcdir      = $(DESTDIR)$(PREFIX)/lib/pkgconfig
cmoddir    = $(DESTDIR)$(PREFIX)/lib/lua/5.4
mandir     = $(DESTDIR)$(PREFIX)/share/man/man1

.PHONY: install uninstall clean
install: all
	install -d $(bindir) $(includedir) $(pcdir) $(cmoddir) $(mandir)
	install -m 755 $(BIN) $(bindir)/lilac
	install -m 644 build/lilac.so $(cmoddir)/lilac.so
	install -m 644 src/lilac.h $(includedir)/lilac.h
	install -m 644 docs/lilac.1 $(mandir)/lilac.1
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@CFLAGS@|$(PC_FLAGS)|' \
	    lilac.pc.in > $(pcdir)/lilac.pc

uninstall:
	rm -f $(bindir)/lilac $(cmoddir)/lilac.so $(includedir)/lilac.h $(pcdir)/lilac.pc \
	    $(mandir)/lilac.1

clean:
	rm -rf build
