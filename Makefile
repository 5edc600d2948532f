# The everyday commands. Each installs what it needs; `make help` lists them.
# The first of these that runs and is new enough; the images have 3.11.
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3; do \
	$$each -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$each && break; done)
# The newest that runs, by itself or by pyenv: the tests pass on it too.
NEWEST_PYTHON ?= $(shell for each in python3.13 $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python) \
	python3.12 $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python) $(PYTHON); do \
	$$each -c '' 2>/dev/null && echo $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
MEMBERS := protos libs/rpckit libs/rpckit_envoy libs/fusion libs/suite embedder_service search_service gateway training cli loadtest
PIP := -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help setup browser demo evaluate test test-newest coverage test-slow accept e2e-lite e2e-milvus images images-test bench bench-publish bench-check bench-growth check fmt gen docs pins contract-release clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(VENV)/.done ## create .venv with everything that the checkout needs

$(VENV)/.done: requirements/dev.txt $(MEMBERS:%=%/pyproject.toml)
	$(if $(PYTHON),,$(error setup: no Python 3.11, 3.12 or 3.13 here; name one with PYTHON=/path/to/python))
	@echo "setup: installing into $(VENV), a few minutes on a fresh machine"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) install --require-hashes -r requirements/dev.txt
	$(BIN)/python $(PIP) install --no-build-isolation --no-deps $(MEMBERS:%=-e ./%)
	@touch $@

# A real Milvus server for the tests. Tests that need it are skipped where its wheel cannot be installed.
.venv-milvus/.done: requirements/milvus-server.txt
	@echo "setup: installing a real Milvus server into .venv-milvus"
	@$(PYTHON) -m venv .venv-milvus
	@.venv-milvus/bin/python $(PIP) install --require-hashes -r requirements/milvus-server.txt \
		&& touch $@ \
		|| echo "setup: no Milvus server for this machine; its tests will be skipped"

# A browser for the tests of the report page, which are skipped where none can be installed.
CHROMIUM := chromium chromium-browser google-chrome google-chrome-stable
browser: setup ## find or install Chromium: the machine's own, by apt-get as root, or Playwright's
	@{ $(CHROMIUM:%=command -v % ||) false; } >/dev/null \
		|| { [ "$$(id -u)" = 0 ] && apt-get -qq update \
			&& apt-get -qq install --yes --no-install-recommends chromium >/dev/null; } \
		|| $(BIN)/playwright install chromium \
		|| echo "setup: no Chromium for this machine; its tests will be skipped"

demo: setup ## train, index, start the three services, recommend, stop
	$(BIN)/marquee demo

evaluate: setup ## compare models and baselines, on MovieLens-1M within 15 minutes, into build/evaluate
	$(BIN)/marquee data --out build/evaluate/data
	$(BIN)/marquee evaluate --data build/evaluate/data --out build/evaluate

test: setup .venv-milvus/.done browser ## all tests but the slow ones
	$(BIN)/python -m pytest -m "not slow and not images"

test-newest: setup ## the same tests on the newest Python that is installed, if that is not the one of .venv
	@version='import sys; print(sys.version_info[:2])'; \
	if [ "$$($(NEWEST_PYTHON) -c "$$version")" = "$$($(BIN)/python -c "$$version")" ]; then \
		echo "test-newest: $(VENV) has the newest Python here"; \
	else \
		$(MAKE) test VENV=.venv-newest PYTHON=$(NEWEST_PYTHON); \
	fi

coverage: setup .venv-milvus/.done browser ## the same tests, and the lines that they reach; takes 1.5 times as long
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not slow and not images"
	$(BIN)/coverage combine -q && $(BIN)/coverage report

test-slow: setup .venv-milvus/.done ## the tests that take minutes each
	$(BIN)/python -m pytest -m slow

accept: setup .venv-milvus/.done ## acceptance, in minutes: RMSE on MovieLens-1M, restarts that fail no call, an index rebuilt 20 times, all engines against one oracle
	$(BIN)/python -m pytest -m slow tests/e2e/test_training_movielens.py tests/e2e/test_rolling_restart.py tests/e2e/test_rebuilds.py tests/contract

e2e-lite: setup browser ## end-to-end tests on Milvus Lite
	$(BIN)/python -m pytest tests/e2e -m "not slow and not images" -k "not server"

e2e-milvus: setup .venv-milvus/.done ## end-to-end tests on a real Milvus server
	$(BIN)/python -m pytest tests/e2e -m "not slow and not images" -k server

images: setup ## build all images without a Docker engine: needs buildah, or root to install it
	$(BIN)/python deploy/images/build.py

images-test: images .venv-milvus/.done ## run the built images as containers would, up to Recommend
	$(BIN)/python -m pytest -m images

# The model to measure: that of build/bundle, or one of the same size, trained for one epoch on synthetic data.
BENCH_BUNDLE := $(firstword $(wildcard build/bundle) build/bench/bundle)
build/bench/bundle: | setup
	$(BIN)/marquee data --synthetic --out build/bench/data
	$(BIN)/marquee train --data build/bench/data --out build/bench/training --epochs 1 --bundle $@

bench: setup .venv-milvus/.done $(BENCH_BUNDLE) ## measure the published set; needs h2load and an idle machine for 20 minutes
	$(BIN)/marquee bench published --bundle $(BENCH_BUNDLE)

bench-publish: setup ## publish the last `make bench` in docs/performance-results.md
	$(BIN)/marquee bench publish
	$(BIN)/python docs/generate.py

bench-check: setup .venv-milvus/.done $(BENCH_BUNDLE) ## a shorter measurement that fails if a ratio is outside of its generous bounds
	$(BIN)/marquee bench published --bundle $(BENCH_BUNDLE) --quick --check --out build/bench/check.json

bench-growth: setup .venv-milvus/.done ## measure search with 4,000, 100,000 and a million movies; takes an hour
	$(BIN)/marquee bench growth

check: setup ## lint, format, types, contract, generated code and pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf format -d --exit-code
	cd protos && ../$(BIN)/buf breaking --against released.binpb
	cd protos && ../$(BIN)/python generate.py --check
	$(BIN)/python docs/generate.py --check

fmt: setup ## reformat the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd protos && ../$(BIN)/buf format -w

gen: setup ## regenerate protos/gen from the .proto files
	cd protos && ../$(BIN)/python generate.py

docs: setup ## regenerate the pages that follow from the code: settings, errors, metrics, results
	$(BIN)/python docs/generate.py

contract-release: setup ## accept the current contract as the one that `make check` compares with
	cd protos && ../$(BIN)/buf build -o released.binpb

COMPILE := ../$(BIN)/pip-compile -q --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
pins: setup ## compile requirements/*.in into hashed pins; images get the versions of dev.txt
	cd requirements && $(COMPILE) -o dev.txt dev.in
	cd requirements && for name in build gateway search embedder training jobs; do \
		cp dev.txt $$name.txt && $(COMPILE) -o $$name.txt $$name.in || exit 1; done
	cd requirements && $(COMPILE) -o milvus-server.txt milvus-server.in

clean: ## remove everything that the targets made, including the environments
	rm -rf $(VENV) .venv-newest .venv-milvus build .mypy_cache .pytest_cache .ruff_cache .hypothesis
