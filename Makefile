# Tools and tests only. The product's command is `ansible-playbook site.yml -i inventories/<env>`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/observer-node
UV_VERSION := 0.13.9
UV := $(CACHE)/tools/uv-$(UV_VERSION)/bin/uv
# One environment per lock file, outside the checkout: a fresh clone finds it made.
VENV := $(CACHE)/tools/venv-$(shell sha256sum uv.lock | cut -c1-16)
PYTHON := $(VENV)/bin/python
KUSTOMIZE_MODULE := sigs.k8s.io/kustomize/kustomize/v5
KUSTOMIZE := $(CACHE)/tools/kustomize-$(shell awk '$$1 == "$(KUSTOMIZE_MODULE)" {print $$2}' testbed/go/kustomize/go.mod)/kustomize
HELM_MODULE := helm.sh/helm/v4
HELM := $(CACHE)/tools/helm-$(shell awk '$$1 == "$(HELM_MODULE)" {print $$2}' testbed/go/helm/go.mod)/helm
BED := PYTHONPATH=testbed $(PYTHON) -m bed
export UV_PROJECT_ENVIRONMENT := $(VENV)
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
export PYTHONDONTWRITEBYTECODE := 1

LOCAL := obs-local
NAME ?= $(LOCAL)
ENV ?= prod
ADDRESS ?=
ARGS ?=
N ?= 1
SNAPSHOT ?= bare

.PHONY: help
help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

$(UV):
	@echo "[setup] uv $(UV_VERSION)" >&2
	@python3 -c 'import ensurepip' 2>/dev/null || { echo "error: python3 has no venv module: apt-get install python3-venv" >&2; exit 1; }
	@python3 -m venv $(CACHE)/tools/uv-$(UV_VERSION)
	@$(CACHE)/tools/uv-$(UV_VERSION)/bin/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r testbed/uv.txt

$(VENV)/.complete: $(UV) uv.lock
	@echo "[setup] Python packages of uv.lock" >&2
	@$(UV) sync --frozen --quiet
	@# Where Python may not write it, it would compile Ansible anew for every command: a second each.
	@$(VENV)/bin/python -m compileall -q -j 0 -x '/(ansible_collections|kubernetes|mypyc?|pygments|tests?)/' \
		$(VENV)/lib/python3*/site-packages >/dev/null || true
	@touch $@

# Without a Go that can build it, the kustomize or kubectl of the machine does as well.
$(KUSTOMIZE):
	@echo "[setup] kustomize" >&2
	@mkdir -p $(@D)
	@{ command -v go >/dev/null && cd testbed/go/kustomize \
		&& CGO_ENABLED=0 GOWORK=off go build -mod=readonly -trimpath -buildvcs=false -ldflags='-s -w' -o $@.new $(KUSTOMIZE_MODULE) \
		&& mv $@.new $@; } || command -v kustomize kubectl >/dev/null \
		|| { echo "error: manifests are rendered with kustomize 5: install it, kubectl, or Go 1.26 (https://go.dev/dl)" >&2; exit 1; }

# For the tests of the contract, which render a chart.
$(HELM):
	@echo "[setup] helm" >&2
	@mkdir -p $(@D)
	@cd testbed/go/helm && CGO_ENABLED=0 GOWORK=off go build -mod=readonly -trimpath -buildvcs=false -ldflags='-s -w' \
		-o $@.new $(HELM_MODULE)/cmd/helm && mv $@.new $@

.PHONY: tools
tools: $(VENV)/.complete $(KUSTOMIZE)

.PHONY: env
env: tools ## eval "$$(make env)" puts Ansible on the PATH
	@echo 'export PATH="$(VENV)/bin:$$PATH"'

# With the Python that is there: nothing has to be installed first.
.PHONY: host-key
host-key: ## a machine's SSH host key, compared with its console's, into known_hosts: ADDRESS=203.0.113.10
	@python3 tools/host_key.py $(ARGS) $(ADDRESS)

.PHONY: setup
setup: tools $(HELM) ## check this machine and install what it lacks
	@$(BED) setup

.PHONY: up
up: tools ## from nothing to a running Observer on a local node; again: what differs is mended
	@$(BED) local

.PHONY: twin
twin: tools ## the newest backup of an inventory, restored into the local node and verified: ENV=prod
	@$(VENV)/bin/ansible-playbook playbooks/twin.yml -i inventories/$(ENV) -e twin_confirm=$(LOCAL) $(ARGS)
	@$(VENV)/bin/ansible-playbook playbooks/verify.yml -i inventories/local

.PHONY: node
node: tools ## a new bare node: NAME=n1 ARGS='--oci-firewall --data-disk 5 --no-outward --address ... --hostname ...'
	@$(BED) node up $(NAME) $(ARGS)

.PHONY: node-down node-stop node-start node-cut node-reboot node-ssh
node-down: tools ## take a node away: NAME=n1
	@$(BED) node down $(NAME)
node-stop: tools ## shut a node down
	@$(BED) node stop $(NAME)
node-start: tools ## switch a node on
	@$(BED) node start $(NAME)
node-cut: tools ## cut a node's power
	@$(BED) node cut $(NAME)
node-reboot: tools ## reboot a node
	@$(BED) node reboot $(NAME)
node-ssh: tools ## log in on a node, or run ARGS there
	@$(BED) node ssh $(NAME) $(ARGS)

.PHONY: machine machine-down machine-stop machine-start machine-cut machine-reboot machine-ssh machine-site machines
machine: tools ## a new bare emulated arm64 machine, slow, with a kernel of its own: NAME=m1 ARGS='--oci-firewall'
	@$(BED) machine up $(NAME) $(ARGS)
machine-down: tools ## take an emulated machine away: NAME=m1
	@$(BED) machine down $(NAME)
machine-stop machine-start machine-cut machine-reboot: machine-%: tools
	@$(BED) machine $* $(NAME)
machine-ssh: tools ## log in on an emulated machine, or run ARGS there
	@$(BED) machine ssh $(NAME) $(ARGS)
machine-site: tools ## run site.yml on an emulated machine
	@$(BED) machine site $(NAME)
machines: tools ## list emulated machines and their snapshots
	@$(BED) machine list

.PHONY: machine-save machine-resume
machine-save: tools ## keep an emulated machine as it is: NAME=m1 SNAPSHOT=converged
	@$(BED) machine save $(NAME) $(SNAPSHOT)
machine-resume: tools ## go on from what was kept, in seconds: NAME=m1 SNAPSHOT=bare
	@$(BED) machine resume $(NAME) $(SNAPSHOT)

.PHONY: nodes
nodes: tools ## list nodes
	@$(BED) node list

.PHONY: mirror
mirror: tools ## build the release mirror: ARGS='--arch arm64' for the other architecture
	@$(BED) build $(ARGS)

.PHONY: down
down: tools ## take nodes, services and networks away, and put the machine's settings back
	@$(BED) down

.PHONY: clean-cache
clean-cache: tools ## remove everything that was built
	@$(BED) clean-cache

.PHONY: lint
lint: tools ## ruff, mypy, yamllint, shellcheck, gofmt, go vet
	@$(PYTHON) testbed/tests/run.py lint

.PHONY: bench
bench: setup ## first provision and second run, beside what they are compared with; into bench/results.json
	@$(PYTHON) testbed/tests/run.py bench

.PHONY: bench-contract
bench-contract: tools ## what a check against the contract costs, beside kubectl, kubeconform and kube-score; needs no node
	@$(PYTHON) -m bench.contract
	@$(PYTHON) tools/claims.py

.PHONY: drill
drill: setup ## lose a node with 2 GiB under load, N times, and bring it back; into bench/drill.json. ARGS='--mode archive'; --add goes on with a series
	@status=0; PYTHONPATH=testbed:tests:tests/on_node $(PYTHON) -m drill series -n $(N) $(ARGS) || status=$$?; \
		$(PYTHON) tools/claims.py; exit $$status

.PHONY: arm64
arm64: setup ## the main job on an emulated arm64 machine: provision, reboot, power cut, restore; into bench/results.json
	@$(PYTHON) testbed/tests/run.py arm64

.PHONY: test-all
test-all: setup ## as `make test`, with every fault on nodes, even if nothing has changed that the tests depend on
	@ALL=1 $(PYTHON) testbed/tests/run.py

.PHONY: test
test: setup ## everything that CI runs; times and sizes go to bench/results.json
	@$(PYTHON) testbed/tests/run.py

