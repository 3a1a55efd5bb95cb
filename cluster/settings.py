"""What Ray reads from the environment when it is imported: this module goes before it."""

import os

VARIABLES = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # `uv run mien` must not build an environment per worker
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # nothing starts a second Ray behind our back
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what matters of a worker's death stands in the row
}

for _name, _value in VARIABLES.items():
    os.environ.setdefault(_name, _value)
