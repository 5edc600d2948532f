# The everyday commands. Each installs what it needs; `make help` lists them.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
MEMBERS := protos libs/rpckit libs/rpckit_envoy libs/fusion libs/suite embedder_service search_service gateway training cli loadtest
PIP := -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help setup browser demo test coverage test-slow accept e2e-lite e2e-milvus images images-test bench bench-publish bench-check bench-growth check fmt gen docs pins contract-release clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(VENV)/.done ## make .venv with everything that the checkout needs

$(VENV)/.done: requirements/dev.txt $(MEMBERS:%=%/pyproject.toml)
	@echo "setup: installing into $(VENV), a few minutes on a fresh machine"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) install --require-hashes -r requirements/dev.txt
	$(BIN)/python $(PIP) install --no-build-isolation --no-deps $(MEMBERS:%=-e ./%)
	@touch $@

# A real Milvus server for the tests. Where its wheel cannot be had the tests that need it say so and skip.
.venv-milvus/.done: requirements/milvus-server.txt
	@echo "setup: installing a real Milvus server into .venv-milvus"
	@$(PYTHON) -m venv .venv-milvus
	@.venv-milvus/bin/python $(PIP) install --require-hashes -r requirements/milvus-server.txt \
		&& touch $@ \
		|| echo "setup: no Milvus server for this machine; its tests will be skipped"

# A browser for the test of the report page. Where none can be had that test says so and skips.
CHROMIUM := chromium chromium-browser google-chrome google-chrome-stable
browser: setup ## have a Chromium: the machine's own, by apt-get as root, or Playwright's
	@{ $(CHROMIUM:%=command -v % ||) false; } >/dev/null \
		|| { [ "$$(id -u)" = 0 ] && apt-get -qq update \
			&& apt-get -qq install --yes --no-install-recommends chromium >/dev/null; } \
		|| $(BIN)/playwright install chromium \
		|| echo "setup: no Chromium for this machine; its test will be skipped"

demo: setup ## train, index, start the three services, recommend, stop
	$(BIN)/marquee demo

test: setup .venv-milvus/.done browser ## all tests but the slow ones
	$(BIN)/python -m pytest -m "not slow and not images"

coverage: setup .venv-milvus/.done browser ## the same tests, and which lines they reach: half as long again
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not slow and not images"
	$(BIN)/coverage combine -q && $(BIN)/coverage report

test-slow: setup .venv-milvus/.done ## the tests that take minutes each
	$(BIN)/python -m pytest -m slow

accept: setup .venv-milvus/.done ## what was promised, in minutes: RMSE on MovieLens-1M, restarts that fail no call, all engines alike
	$(BIN)/python -m pytest -m slow tests/e2e/test_training_movielens.py tests/e2e/test_rolling_restart.py tests/contract

e2e-lite: setup browser ## the processes that a user starts, on Milvus Lite
	$(BIN)/python -m pytest tests/e2e -m "not slow and not images" -k "not server"

e2e-milvus: setup .venv-milvus/.done ## the same on a real Milvus server
	$(BIN)/python -m pytest tests/e2e -m "not slow and not images" -k server

images: setup ## build all images without a Docker engine: buildah, and root the first time
	$(BIN)/python deploy/images/build.py

images-test: images .venv-milvus/.done ## run the built images as containers would, up to Recommend
	$(BIN)/python -m pytest -m images

# What is measured: the model at hand, or one of the same size, trained for one epoch on made data.
BENCH_BUNDLE := $(firstword $(wildcard build/bundle) build/bench/bundle)
build/bench/bundle: | setup
	$(BIN)/marquee data --synthetic --out build/bench/data
	$(BIN)/marquee train --data build/bench/data --out build/bench/training --epochs 1 --bundle $@

bench: setup .venv-milvus/.done $(BENCH_BUNDLE) ## measure the published set; needs h2load and an idle machine for 20 minutes
	$(BIN)/marquee bench published --bundle $(BENCH_BUNDLE)

bench-publish: setup ## make the last `make bench` the published one: docs/performance-results.md
	$(BIN)/marquee bench publish
	$(BIN)/python docs/generate.py

bench-check: setup .venv-milvus/.done $(BENCH_BUNDLE) ## measure shorter, and fail when a ratio is far out of its bounds
	$(BIN)/marquee bench published --bundle $(BENCH_BUNDLE) --quick --check --out build/bench/check.json

bench-growth: setup .venv-milvus/.done ## measure search with 4,000, 100,000 and a million movies; an hour
	$(BIN)/marquee bench growth

check: setup ## lint, format, types, contract, generated code and pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf format -d --exit-code
	cd protos && ../$(BIN)/buf breaking --against released.binpb
	cd protos && ../$(BIN)/python generate.py --check
	$(BIN)/python docs/generate.py --check

fmt: setup ## rewrite the code in the agreed format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd protos && ../$(BIN)/buf format -w

gen: setup ## make protos/gen anew from the .proto files
	cd protos && ../$(BIN)/python generate.py

docs: setup ## write the pages that are made from the code: settings, errors, metrics, results
	$(BIN)/python docs/generate.py

contract-release: setup ## accept today's contract as what `make check` compares with
	cd protos && ../$(BIN)/buf build -o released.binpb

COMPILE := ../$(BIN)/pip-compile -q --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
pins: setup ## compile requirements/*.in into hashed pins; every image gets dev.txt's versions
	cd requirements && $(COMPILE) -o dev.txt dev.in
	cd requirements && for name in build gateway search embedder training jobs; do \
		cp dev.txt $$name.txt && $(COMPILE) -o $$name.txt $$name.in || exit 1; done
	cd requirements && $(COMPILE) -o milvus-server.txt milvus-server.in

clean: ## remove what the targets made, the environments included
	rm -rf $(VENV) .venv-milvus build .mypy_cache .pytest_cache .ruff_cache .hypothesis
