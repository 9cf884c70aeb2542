# Two commands do everything on a fresh machine with Python 3.11 or newer:
#   make train    creates .venv, installs Tatami, trains on the digits that travel in the package
#   make test     creates .venv, installs Tatami and the test tools, runs every check
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help train test test-sanitize test-arm format clean

help:
	@echo "make train    install into $(VENV) and train on the digits in the package"
	@echo "make test     install into $(VENV) with the test tools and run every check"
	@echo "make test-sanitize  run the kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer,"
	@echo "              the thread pool under ThreadSanitizer"
	@echo "make test-arm the kernels compiled for 64-bit Arm, against plain loops, under an emulator"
	@echo "make format   let ruff mend the layout of the sources"
	@echo "make clean    remove $(VENV) and everything that can be made again"

# The environment is complete only when the last line has run; an interrupted start is repeated.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tatami needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

train: $(VENV)/.created
	$(PIP) '.[plot]'
	$(BIN)/tatami train digits

# The package is installed, not linked, so that the checks see what a user gets; pip builds it anew from the
# sources each time. PYTHONPATH is emptied so that nothing but the installed copy can be imported.
test: export PYTHONPATH :=
test: $(VENV)/.created
	$(PIP) '.[test]'
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile --cov=tatami tatami tests

# The kernels once more with every memory access and every arithmetic checked, the thread pool with every access from two
# threads; takes some minutes to build and run. What a sanitizer has to say goes past pytest's capture.
SANITIZE := build/sanitize
SANITIZE_SITE := $(CURDIR)/$(SANITIZE)/site
SANITIZE_CMAKE = -DTATAMI_SANITIZE=ON -DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$(SANITIZE_SITE)/tatami/native \
	-DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python
RACE_SOURCES := src/tatami/native/cpp/threads.cpp tests/native/thread_pool_race.cpp
RACE_FLAGS := -std=c++20 -O1 -g -fopenmp -fsanitize=thread -Wall -Wextra -Werror
test-sanitize: $(VENV)/.created
	$(PIP) '.[test]' nanobind
	rm -rf $(SANITIZE_SITE)
	mkdir -p $(SANITIZE_SITE)
	cp -r src/tatami $(SANITIZE_SITE)/
	rm -f $(SANITIZE_SITE)/tatami/native/*.so
	cmake -S . -B $(SANITIZE) $(SANITIZE_CMAKE)
	cmake --build $(SANITIZE) --parallel 2
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=$(SANITIZE_SITE) \
		$(BIN)/python -m pytest --capture=sys -p no:cacheprovider -m 'not slow' tests/native
	$(CXX) $(RACE_FLAGS) -o $(SANITIZE)/thread_pool_race $(RACE_SOURCES) -pthread
	$(SANITIZE)/thread_pool_race

# The kernels and the engine compiled for 64-bit Arm (NEON) and compared with plain loops under an emulator: Debian's
# g++-aarch64-linux-gnu and qemu-user. Where they are missing nothing is checked, and the reason is said.
ARM_CXX ?= aarch64-linux-gnu-g++
ARM_RUN ?= qemu-aarch64 -L /usr/aarch64-linux-gnu
ARM := build/arm
CPP := src/tatami/native/cpp
ARM_SOURCES := $(filter-out $(CPP)/module.cpp,$(wildcard $(CPP)/*.cpp))
ARM_FLAGS := -std=c++20 -O2 -Wall -Wextra -Werror -Wno-psabi -Wno-maybe-uninitialized -Wno-unused-function \
	-ffp-contract=off -fno-math-errno
test-arm:
	@if ! command -v $(ARM_CXX) >/dev/null || ! command -v $(firstword $(ARM_RUN)) >/dev/null; then \
		echo "skipped: $(ARM_CXX) and $(firstword $(ARM_RUN)) are needed to compile for Arm and to run it here"; \
	else \
		$(MAKE) --no-print-directory $(ARM)/kernel_check && $(ARM_RUN) $(ARM)/kernel_check; \
	fi

$(ARM)/kernel_check: $(ARM_SOURCES:$(CPP)/%.cpp=$(ARM)/%.o) $(ARM)/kernel_check.o
	$(ARM_CXX) -static -o $@ $^ -pthread

$(ARM)/kernels.o $(ARM)/tile_kernels.o: ARM_FLAGS += -DTATAMI_KERNELS=baseline_kernels -DTATAMI_NAME='"baseline"' \
	-DTATAMI_TILES=emulated_tiles_baseline -DTATAMI_TILES_EMULATED
$(ARM)/kernel_check.o: tests/native/kernel_check.cpp $(wildcard $(CPP)/*.hpp)
	@mkdir -p $(ARM)
	$(ARM_CXX) $(ARM_FLAGS) -c -o $@ $<
$(ARM)/%.o: $(CPP)/%.cpp $(wildcard $(CPP)/*.hpp)
	@mkdir -p $(ARM)
	$(ARM_CXX) $(ARM_FLAGS) -c -o $@ $<

format: $(VENV)/.created
	$(PIP) '.[test]'
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
