# make demo and make test are all that a newcomer needs: Python 3.11+ and make, no root, nothing outside .venv.
PYTHON ?= python3
BIN := .venv/bin
LAB_PACKAGES := systemd-container mmdebstrap debian-archive-keyring dpkg-dev nftables iproute2 openssh-client util-linux postgresql nginx strace faketime
# Ubuntu's chromium is a snap, which a container cannot run: the tests in a browser are skipped there.
LAB_PACKAGES += $(shell . /etc/os-release && [ "$$ID" = debian ] && echo chromium)
LAB ?= lab and not long
.DEFAULT_GOAL := help
.PHONY: help demo test lint golden test-lab drill bench requirements clean

help: ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name one: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "a virtual environment could not be made; on Debian: apt-get install python3-venv" >&2; exit 1; }

.venv/kit: requirements/kit.txt pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/kit.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev: requirements/dev.txt .venv/kit
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

demo: .venv/kit ## Install into .venv, render an example and explain it
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

lint: .venv/dev ## Every linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=kit/restante/checks:kit/restante/spec $(BIN)/mypy --config-file pyproject.toml --explicit-package-bases kit/restante/checks/*.py
	$(BIN)/lint-imports
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline -q roles
	$(BIN)/yamllint --strict -d "{extends: .yamllint, rules: {document-start: disable}}" examples
	$(BIN)/yamllint --strict roles .yamllint .ansible-lint
	$(BIN)/shellcheck examples/demo.sh .ci/run tests/golden/*/hosts/*/usr/local/lib/restante/tls-reload tests/golden/*/hosts/*/usr/local/lib/restante/tls-take tests/golden/*/hosts/*/usr/local/lib/restante/move-sockets tests/golden/*/hosts/*/usr/local/lib/restante/restart-delay \
		$(addprefix tests/golden/ha/hosts/store-1/usr/local/lib/restante/,etcd-state identity store-setup) tests/golden/*/hosts/*/usr/local/lib/restante/floating-interface

test: lint ## Lint, unit, golden, bad specs, contract; no root
	$(BIN)/pytest -n 2 -m "not lab" tests

golden: .venv/dev ## Write the golden trees and generated references anew; read the diff before you commit it
	RESTANTE_GOLDEN=write $(BIN)/pytest -q tests/golden tests/bad_specs tests/unit/test_docs.py

test-lab: .venv/dev ## Real hosts; needs root on Debian or Ubuntu. With LAB=lab also the faults that take longest
	@[ "$$(id -u)" = 0 ] || { echo "make test-lab boots real hosts and needs root" >&2; exit 1; }
	@# Nothing that is installed here is to start here: invoke-rc.d asks this file, where the machine's owner has none.
	policy=/usr/sbin/policy-rc.d; [ -e $$policy ] || { trap "rm $$policy" EXIT; printf '#!/bin/sh\nexit 101\n' | install -m 755 /dev/stdin $$policy; }; \
	apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install $(LAB_PACKAGES) >/dev/null
	$(BIN)/pytest -n 2 --dist loadfile -m "$(LAB) and not alone" tests/lab tests/server tests/unit/test_monitoring.py
	$(BIN)/pytest -m "$(LAB) and alone" tests/lab
	$(BIN)/pytest -q -n 2 tests/store_contract

drill: .venv/kit ## Every cause of silence on real hosts, needs root. Long clocks and three seeds; in eight minutes with DRILL=--quick
	@[ "$$(id -u)" = 0 ] || { echo "make drill boots real hosts and needs root" >&2; exit 1; }
	apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install $(LAB_PACKAGES) >/dev/null
	$(BIN)/restante drill run $(DRILL)

bench: .venv/dev ## Speed, against a peer or a ceiling of the same run; names what a part lacks, such as root, postfix, dovecot or postgresql
	$(BIN)/python -m bench

requirements: ## Pin anew, with hashes (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade --extra kit --extra server pyproject.toml requirements/build.in -o requirements/kit.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade --extra kit --extra server pyproject.toml requirements/build.in requirements/dev.in -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade --extra server pyproject.toml -o requirements/server.txt

clean: ## Remove what was made here
	rm -rf .venv build dist
