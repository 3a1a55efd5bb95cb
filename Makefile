# The commands. The installer is uv, which pip brings into .venv; nothing else is assumed.
PYTHON ?= python3
UV := .venv/bin/uv

demo: .venv/.default
	$(UV) pip install -q --python .venv -e '.[demo]'
	.venv/bin/mien demo demo/sample.mp4
	.venv/bin/mien analyze demo/sample.mp4 out=demo/run

test: .venv/.default
	$(UV) pip install -q --python .venv -e '.[demo]' --group dev
	OMP_NUM_THREADS=1 .venv/bin/pytest -m "not ray and not browser" -n 2
	.venv/bin/pytest -m "ray or browser"

# Every model package, for the profiles beyond `embedded`. On a GPU machine follow it with
# `.venv/bin/uv pip install -e '.[vllm]'` where Qwen2-VL is wanted.
setup: .venv/.default
	$(UV) pip install --python .venv -e '.[demo,full]' --group dev

# The tests of the real models, in an environment of their own: 7 GB; vLLM is its CPU build.
test-models: .venv-full/.ready
	OMP_NUM_THREADS=1 .venv-full/bin/pytest -m "models and not ray" -n 2 --dist loadfile
	.venv-full/bin/pytest -m "models and ray"

lint: .venv-full/.ready
	.venv-full/bin/ruff check .
	.venv-full/bin/ruff format --check .
	PATH=$(CURDIR)/.venv-full/bin:$$PATH .venv-full/bin/pyright

.venv/.default: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q --upgrade uv
	$(UV) pip install --python .venv --compile-bytecode -e .
	touch $@

.venv-full/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-full
	.venv-full/bin/pip install -q --upgrade uv
	.venv-full/bin/uv pip install -q --python .venv-full --compile-bytecode -e '.[demo,full,hume,mlflow]' --group dev --group engine
	touch $@

.PHONY: demo test test-models setup lint
