# Thin on purpose: each target is a CMake preset or a script, so an editor, a desk and a build
# server do the same. The program is build/dial; everything else stays under build/PRESET/.
PREFIX ?= /usr/local
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
FUZZ_SECONDS ?= 60

all: build
.PHONY: all build deps deps-dev test test-long test-peers fuzz bench bench-peers asan tsan format lint \
        demo experiments install clean

build: build/release/build.ninja
	@cmake --build build/release -j $(JOBS)
	@ln -sf release/dial build/dial

build/%/build.ninja: | CMakePresets.json
	@cmake --preset $* || { echo "if a library is missing: make deps"; exit 1; }

deps:
	@sh tools/deps.sh

deps-dev:
	@sh tools/deps.sh dev

# make would run these side by side under -j; each needs the one before.
test: deps
	@$(MAKE) --no-print-directory build
	ctest --test-dir build/release -j $(JOBS) -LE long --output-on-failure

# With the released models, which make test skips where they are not in the cache folder.
test-long: deps
	@$(MAKE) --no-print-directory build
	sh demo/fetch_model.sh smollm2
	sh demo/fetch_model.sh gemma3
	ctest --test-dir build/release -j $(JOBS) -R real --output-on-failure
	ctest --test-dir build/release -j $(JOBS) -L long --output-on-failure

test-peers: deps
	@$(MAKE) --no-print-directory build
	sh tests/peers/run.sh

asan: deps-dev
	@$(MAKE) --no-print-directory build/asan-ubsan/build.ninja
	@cmake --build build/asan-ubsan -j $(JOBS)
	ctest --test-dir build/asan-ubsan -j $(JOBS) -LE long --output-on-failure

# The server's threads; a kernel's are OpenMP's, which the thread sanitizer cannot see into.
tsan: deps-dev
	@$(MAKE) --no-print-directory build/tsan/build.ninja
	@cmake --build build/tsan -j $(JOBS)
	ctest --test-dir build/tsan -j $(JOBS) -R '^serve_' -LE long --output-on-failure

# A finding is left as build/fuzz/crash-*; commit it to tests/fuzz/corpus/NAME/ with the fix.
fuzz: deps-dev
	@$(MAKE) --no-print-directory build/fuzz/build.ninja
	@cmake --build build/fuzz -j $(JOBS) --target fuzz
	sh tools/fuzz.sh build/fuzz $(FUZZ_SECONDS)

bench: deps
	@$(MAKE) --no-print-directory build
	sh bench/run.sh

bench-peers: deps
	@$(MAKE) --no-print-directory build
	sh bench/peers.sh
	sh bench/serve_peers.sh

demo: deps
	@$(MAKE) --no-print-directory build
	sh demo/run.sh

# All of experiments/, resumable (docs/experiments.md); hours. DIAL_DATA: data that is not shipped.
experiments: deps
	@$(MAKE) --no-print-directory build
	sh demo/fetch_model.sh smollm2
	sh experiments/run.sh

format: deps-dev
	find src include tests bench -name '*.[ch]' | xargs clang-format -i

lint: deps-dev
	@$(MAKE) --no-print-directory build
	sh tools/lint.sh all

install: build
	cmake --install build/release --prefix $(PREFIX)

clean:
	rm -rf build
