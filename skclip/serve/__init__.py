"""An HTTP server for saved models, with a page to try them.

``python -m skclip.serve model.skclip`` starts it. It needs FastAPI and uvicorn
(``pip install 'skclip[serve]'``). Other ASGI servers run what `create_app` returns::

    gunicorn --preload -w 2 -k uvicorn_worker.UvicornWorker \\
        "skclip.serve:create_app('model.skclip')"
"""

__all__ = ["create_app"]

MAX_BODY = 2**20
RELOAD_SECONDS = 2.0


def create_app(
    models,
    titles=None,
    *,
    reload_seconds=RELOAD_SECONDS,
    max_body=MAX_BODY,
    rules=None,
):
    """Make the ASGI application that answers requests with saved models.

    The models are loaded here, so that processes that are forked later share their
    memory. Files are watched from the start of the application on. Where one changes,
    its new model is loaded beside the old one and takes over for the next requests. A
    file that cannot be loaded is logged and shown by ``/health``; the old model stays.

    Parameters
    ----------
    models : path-like, or list of one or two
        Files that `skclip.save` wrote, with a recommender or a Pipeline that ends in
        one. Item ids must be text or whole numbers. Requests call the first model "a"
        and the second "b".
    titles : path-like, default=None
        CSV file in UTF-8 with a header: item ids in the first column, and a column
        ``title``. Ids are converted to the type of the model's. It is watched, too.
    reload_seconds : float, default=2.0
        Seconds between two looks at the files; 0 never looks.
    max_body : int, default=1048576
        Size of the largest request body, in bytes.
    rules : path-like, default=None
        JSON file of rules for ``/recommend``: "boost", "boost_seen", "max_per_group",
        "groups" and "deny", in the sense of ``predict_topk``, or such objects under "a"
        and "b". It is watched, too.

    Returns
    -------
    app : fastapi.FastAPI
        Its ``/openapi.json`` describes the requests.

    Raises
    ------
    ImportError
        FastAPI is not installed.
    FileNotFoundError
        There is no such file.
    ValueError, TypeError, NotFittedError
        An option is out of range. A file holds no fitted recommender, its ids cannot
        stand in JSON, or the titles are not as described or match no item of any model.
        The rules are no JSON, or a model cannot follow them.

    See Also
    --------
    skclip.save : Writes model files.

    Notes
    -----
    Processes that are forked from one that has used a GPU cannot use it. Where there is
    one, start ``gunicorn --preload`` with ``CUDA_VISIBLE_DEVICES=""``.

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
