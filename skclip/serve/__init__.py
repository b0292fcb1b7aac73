"""HTTP server for saved models, with a page to try them.

Start it with ``python -m skclip.serve model.skclip``. It needs FastAPI and uvicorn
(``pip install 'skclip[serve]'``). Other ASGI servers can run the application that
`create_app` returns::

    gunicorn --preload -w 2 -k uvicorn_worker.UvicornWorker \\
        "skclip.serve:create_app('model.skclip')"
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from skclip._typing import PathLike

if TYPE_CHECKING:
    from fastapi import FastAPI
else:  # it is optional
    FastAPI = Any

__all__ = ["create_app"]

MAX_BODY = 2**20
RELOAD_SECONDS = 2.0


def create_app(
    models: PathLike | Sequence[PathLike],
    titles: PathLike | None = None,
    *,
    reload_seconds: float = RELOAD_SECONDS,
    max_body: int = MAX_BODY,
    rules: PathLike | None = None,
) -> FastAPI:
    """Make the ASGI application that answers requests with saved models.

    This function loads the models, so processes that are forked later share their
    memory. Once the application runs, it watches the files. When a file changes, the
    new model is loaded beside the old one and answers the next requests. If the file
    cannot be loaded, the old model stays. The error is logged and shown by ``/health``.

    Parameters
    ----------
    models : path-like, or list of one or two
        Model files written by `skclip.save`. Each holds a recommender, or a Pipeline
        that ends in one. Item ids must be text or whole numbers. Requests call the
        first model "a" and the second "b".
    titles : path-like, default=None
        CSV file in UTF-8 with a header. The first column has the item ids, and a later
        column ``title`` has the titles. Ids are converted to the type of the model's
        ids. The file is watched, too.
    reload_seconds : float, default=2.0
        Seconds between two checks of the files. With 0, files are not checked.
    max_body : int, default=1048576
        Largest size of a request body, in bytes.
    rules : path-like, default=None
        JSON file with rules for ``/recommend``. Its keys are "boost", "boost_seen",
        "max_per_group", "groups" and "deny", as in ``predict_topk``. For rules per
        model, the file has the keys "a" and "b" with such objects. The file is watched,
        too.

    Returns
    -------
    app : fastapi.FastAPI
        Application whose ``/openapi.json`` describes the requests.

    Raises
    ------
    ImportError
        FastAPI is not installed.
    FileNotFoundError
        A file does not exist.
    ValueError, TypeError, NotFittedError
        An option is out of range. A model file has no fitted recommender, or ids that
        JSON cannot hold. The titles are not as described, or match no item of any
        model. The rules are not JSON, or a model cannot follow them.

    See Also
    --------
    skclip.save : Write model files.

    Notes
    -----
    After a process has used a GPU, its forked processes cannot use the GPU. On a
    machine with a GPU, start ``gunicorn --preload`` with ``CUDA_VISIBLE_DEVICES=""``.

    Examples
    --------
    >>> import os, tempfile, skclip
    >>> from skclip.serve import create_app
    >>> model = skclip.PopularityRecommender().fit([["a", "b"], ["b", "c"]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.skclip")
    ...     skclip.save(model, path)
    ...     app = create_app(path)
    >>> app.title
    'skclip'
    """
    try:
        import fastapi  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "The server needs FastAPI. Install it with: pip install 'skclip[serve]'"
        ) from error
    if not reload_seconds >= 0:
        raise ValueError(
            f"reload_seconds={reload_seconds} is negative. Pass 0 or more."
        )
    if not max_body >= 1:
        raise ValueError(f"max_body={max_body} is less than 1. Pass a number of bytes.")
    from skclip.serve._app import new_app
    from skclip.serve._models import Models

    return new_app(Models(models, titles, rules), reload_seconds, max_body)
