"""Measurements that several scripts take: training steps, memory, fresh processes."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks._results import ROOT


def peak_gib():
    """Largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def started_by(pid):
    """Processes that a process has started; Linux only."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def counted(spec, steps):
    """A backbone of this class that notes (seconds, prefixes) as each step begins.

    A network reads each mini-batch once in training, so that its `encode` counts the
    steps. The class of the network is replaced, not the method of one object: copies
    of a network count as well.
    """

    class Counted(spec):
        def build(self, *sizes):
            network = super().build(*sizes)
            plain = type(network)

            def encode(self, x, batch):
                if self.training:
                    steps.append((time.perf_counter(), len(batch.targets)))
                return plain.encode(self, x, batch)

            network.__class__ = type(plain.__name__, (plain,), {"encode": encode})
            return network

    return Counted()


def prefixes_per_second(steps):
    """Rate over whole steps, from the beginning of the first to that of the last."""
    (begun, _), (ended, _) = steps[0], steps[-1]
    return sum(n for _, n in steps[:-1]) / (ended - begun)


def in_fresh_process(module, *arguments, python=sys.executable, checkout=ROOT):
    """What ``python -m module`` of a checkout prints last, as JSON."""
    command = [python, "-W", "ignore", "-m", module, *map(str, arguments)]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=checkout
    )
    if run.returncode:
        sys.exit(f"{command} failed:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])
