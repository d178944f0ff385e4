# `make help` lists the targets. Everything they need is made by tools/bootstrap first.
PYTHON_OF_TREE = .venv/bin/python
SETUP = $(PYTHON_OF_TREE) -W ignore setup.py -q
PYTEST = $(PYTHON_OF_TREE) -m pytest
# Workers that share the tests, each in namespaces of its own (tests/helpers/apart.py).
WORKERS ?= $(shell nproc)
PYTEST_PARALLEL = $(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder
ARGS ?=

ifdef CI
export CAPSULE_WERROR = 1
export CAPSULE_REQUIRE ?= root,runtime,stop,noseal,busybox,gcc,qemu,debootstrap,podman,buildah,docker,containerd,tini,cni,iptables,uidmap,pasta,slirp4netns,tun,firewalld,systemd,registry,skopeo,umoci,mariadb,redis,pymysql,nft,ip,ps,make,mirror,bash,zsh,fish,man,devbpf
endif

.DEFAULT_GOAL := help
.PHONY: help bootstrap build build-test test test-unit test-all test-engines test-vm guest-image guest-build demo bench bench-engines lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What a target needs beyond the build: `tools/bootstrap` is told its name.
bootstrap-%:
	@tools/bootstrap $*

bootstrap: ## make .venv, and install missing Debian packages when root
	@tools/bootstrap

build: bootstrap ## build the extensions and the launcher, build/capsule
	@$(SETUP) build_ext --inplace
	@$(SETUP) build_launcher --flavours=capsule

build-test: bootstrap-tests ## build, with the test variants: capsule-stop, capsule-noseal
	@$(SETUP) build_ext --inplace
	@$(SETUP) build_launcher --flavours=capsule,capsule-stop,capsule-noseal

test: build-test ## run the tests (as root: all; otherwise those that need no root); ARGS="-k word"
	@$(PYTEST_PARALLEL) $(ARGS)

test-unit: build ## run the tests that need neither root nor containers
	@$(PYTEST_PARALLEL) tests/unit tests/repo $(ARGS)

test-all: build-test ## run everything there is: stress, fuzzing, sanitizers, each Python, engines; ARGS="STEP ..."
	@$(PYTHON_OF_TREE) tools/test-all $(ARGS)

test-engines: bootstrap-engines build ## run podman, Docker, containerd and buildah on capsule, runc and crun
	@CAPSULE_ENGINES=$${CAPSULE_ENGINES:-capsule,runc,crun} $(PYTEST) tests/engines $(ARGS)

test-vm: bootstrap-test-vm ## run the tests of control groups and ordinary users in guests of every kind: ARGS="WORLD ..."
	@$(MAKE) --no-print-directory -j2 guest-image guest-build
	@$(PYTHON_OF_TREE) vagrant/test-vm $(ARGS)

# Debian's archive and the compilers keep different parts of a machine busy.
guest-image:
	@vagrant/rig image >/dev/null

guest-build:
	@$(SETUP) build_ext --inplace
	@$(SETUP) build_launcher --flavours=capsule,capsule-stop

demo: bootstrap-demo build ## run sandboxes, and an image of the host's busybox, and look at them (root)
	@$(PYTHON_OF_TREE) tools/demo

bench: bootstrap-bench build ## compare with the installed runc and crun
	@$(PYTHON_OF_TREE) bench $(ARGS)

bench-engines: bootstrap-engines build ## compare podman and Docker on capsule, runc and crun
	@$(PYTHON_OF_TREE) -m bench.engines $(ARGS)

lint: bootstrap-lint ## check style: ruff, mypy, clang-format
	@$(PYTHON_OF_TREE) -m pip install -q --disable-pip-version-check -r requirements-lint.txt
	@$(PYTHON_OF_TREE) -m ruff check . tools/cgroup-table tools/conformance tools/demo tools/test-all vagrant/rig vagrant/test-vm
	@$(PYTHON_OF_TREE) -m mypy
	@command -v clang-format >/dev/null || { echo "lint: csrc is not checked: no clang-format" >&2; exit 1; }
	@clang-format --dry-run --Werror csrc/*.c csrc/*.h

clean: ## remove what the build made; .venv stays
	rm -rf build dist *.egg-info capsule/_ext/*.so
	find capsule tests build_support -name __pycache__ -prune -exec rm -rf {} +
