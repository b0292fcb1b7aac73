"""The typed script runs. Whether its types hold, mypy says, in ``.ci/run types``."""

import runpy
from pathlib import Path


def test_the_script_runs() -> None:
    script = runpy.run_path(str(Path(__file__).with_name("user_script.py")))
    script["main"]()
