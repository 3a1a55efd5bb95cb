# The four commands. The installer is uv, which pip brings into .venv; nothing else is assumed.
PYTHON ?= python3
UV := .venv/bin/uv

demo: .venv/.default
	$(UV) pip install -q --python .venv -e '.[demo]'
	.venv/bin/mien demo demo/sample.mp4
	.venv/bin/mien analyze demo/sample.mp4 out=demo/run

test: .venv/.default
	$(UV) pip install -q --python .venv -e '.[demo]' --group dev
	.venv/bin/pytest

setup: .venv/.default
	$(UV) pip install --python .venv -e '.[demo,full]' --group dev

lint: .venv/.default
	$(UV) pip install -q --python .venv -e . --group dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	PATH=$(CURDIR)/.venv/bin:$$PATH .venv/bin/pyright

.venv/.default: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q --upgrade uv
	$(UV) pip install --python .venv --compile-bytecode -e .
	touch $@

.PHONY: demo test setup lint
