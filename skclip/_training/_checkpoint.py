"""The state of a training run on disk, bound to its parameters and data."""

import re
from pathlib import Path

import joblib
import numpy as np
import torch

from skclip._container import read_container, write_container
from skclip._sklearn import inside_search
from skclip._training._devices import own_draws_only

_MAGIC = b"\x89skckpt\n"
_HASH = re.compile("[0-9a-f]{32}")


class Checkpoint:
    """Save the state of a run after each epoch, and resume from it.

    Parameters
    ----------
    path : path-like
    bound_to : callable
        Function that returns the parameters and data that identify a run.
    group : Group or Alone
        The processes that train together. The first one reads and writes the file.

    Notes
    -----
    In a search each candidate has its own file beside `path`, named by its hash. The
    file stays after the candidate is done, so that the same search can resume there.
    The fit on all data after the search removes these files.
    """

    def __init__(self, path, bound_to, group):
        self.path, self.group = Path(path), group
        self.hash = group.call_on_first(lambda: joblib.hash((bound_to(), group.size)))
        self.is_candidate = inside_search()
        group.call_on_first(lambda: self._check(path))
        if self.is_candidate:
            self.path = self.path.with_name(f"{self.path.name}.{self.hash}")

    def _check(self, path):
        if self.path.is_dir():
            raise ValueError(
                f"checkpoint={str(path)!r} is a folder. Pass the path of a file in it."
            )
        if self.path.exists() and not self.path.is_file():
            raise ValueError(
                f"checkpoint={str(path)!r} is not a regular file. Pass another path."
            )
        if not self.path.parent.is_dir():
            raise ValueError(
                f"checkpoint={str(path)!r}: the folder {self.path.parent} does not "
                "exist. Create it, or pass another path."
            )

    def save(self, model, best, optimizers, rng, history):
        """Write everything that the next epoch depends on.

        `rng` holds the generators of the order (NumPy's), of samples, and of dropout
        (torch's). The last one differs between the processes of a group.
        """
        order, samples, draws = rng
        of_all = self.group.gather(self._states(model, draws))
        if self.group.rank == 0:
            arrays = {"samples": samples.get_state()}
            for rank, states in enumerate(of_all):
                arrays |= {f"draws.{rank}.{k}": v for k, v in states.items()}
        self.group.call_on_first(
            lambda: self._write(model, best, optimizers, order, history, arrays)
        )

    @staticmethod
    def _states(model, draws):
        """States of the generators that differ between processes."""
        states = {"own": draws.get_state()}
        if not own_draws_only(model):
            states["torch"] = torch.get_rng_state()
            device = model.item_table.device
            if device.type == "cuda":
                states["cuda"] = torch.cuda.get_rng_state(device)
        return states

    def _write(self, model, best, optimizers, order, history, arrays):
        arrays |= {f"model.{k}": v for k, v in model.state_dict().items()}
        if best.state is not None:
            arrays |= {f"best.{k}": v for k, v in best.state.items()}
        numbers = {}
        for i, optimizer in enumerate(optimizers):
            for j, state in optimizer.state_dict()["state"].items():
                for name, value in state.items():
                    key = f"optimizer.{i}.{j}.{name}"
                    if isinstance(value, torch.Tensor):
                        arrays[key] = value
                    else:
                        numbers[key] = value
        document = {
            "hash": self.hash,
            "history": history,
            "best": {"score": best.score, "epoch": best.epoch},
            "rng": order.bit_generator.state,
            "numbers": numbers,
        }
        arrays = {k: v.detach().cpu().numpy() for k, v in arrays.items()}
        write_container(self.path, _MAGIC, document, arrays)

    def resume(self, model, best, optimizers, rng):
        """Restore all parts from the file; return its history, empty without a file."""
        document, arrays = self.group.call_on_first(self._read)
        if document is None:
            return []
        device = model.item_table.device
        tensors = {k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}

        def part(prefix, to=device):
            return {
                k.removeprefix(prefix): v.to(to)
                for k, v in tensors.items()
                if k.startswith(prefix)
            }

        model.load_state_dict(part("model."))
        best.state = part("best.") or None
        best.score, best.epoch = document["best"]["score"], document["best"]["epoch"]
        for i, optimizer in enumerate(optimizers):
            states = {}
            values = part(f"optimizer.{i}.")
            for key, value in document["numbers"].items():
                if key.startswith(f"optimizer.{i}."):
                    values[key.removeprefix(f"optimizer.{i}.")] = value
            for key, value in values.items():
                j, name = key.split(".")
                states.setdefault(int(j), {})[name] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": states, "param_groups": groups})
        order, samples, draws = rng
        order.bit_generator.state = document["rng"]
        samples.set_state(tensors["samples"])
        states = part(f"draws.{self.group.rank}.", to="cpu")
        draws.set_state(states["own"])
        if "torch" in states:
            torch.set_rng_state(states["torch"])
        if "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], device)
        return document["history"]

    def _read(self):
        """Return document and arrays of the file, or None for both without a file."""
        if not self.path.exists():
            return None, None
        document, arrays = read_container(self.path, _MAGIC, "skclip checkpoint")
        if document["hash"] != self.hash:
            raise ValueError(
                f"{self.path} is the checkpoint of another run: parameters, data, "
                "versions or the number of processes differ. Pass the same ones to "
                "continue it. To start again, pass another path or delete the file."
            )
        return document, arrays

    def finish(self):
        """Remove the file, and the files of a search before, after the run."""
        if not self.is_candidate:
            self.group.call_on_first(self._remove)

    def _remove(self):
        self.path.unlink(missing_ok=True)
        for path in self.path.parent.iterdir():
            name, _, digest = path.name.rpartition(".")
            if name == self.path.name and _HASH.fullmatch(digest):
                path.unlink(missing_ok=True)
