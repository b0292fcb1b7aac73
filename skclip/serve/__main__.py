"""Command line of the server: ``python -m skclip.serve model.skclip``."""

from __future__ import annotations

import argparse
import contextlib
import copy
import ipaddress
import json
import logging
import logging.config
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from skclip.serve import MAX_BODY, RELOAD_SECONDS, create_app

if TYPE_CHECKING:
    from fastapi import FastAPI

logger: logging.Logger = logging.getLogger("skclip.serve")

_SETTINGS = "SKCLIP_SERVE"  # where worker processes find the arguments of create_app


def app_from_environment() -> FastAPI:
    """Make the application of a worker process, once its files can be read.

    A worker that replaces a dead one may find a damaged file. It then waits for a valid
    file, while the other workers answer requests.
    """
    settings = json.loads(os.environ[_SETTINGS])
    told = None
    with _ended_by_signals():
        while True:
            try:
                return create_app(**settings)
            except Exception as error:
                if told != str(error):
                    told = str(error)
                    logger.error(
                        "A new worker cannot read its files and tries again: %s", told
                    )
            time.sleep(settings["reload_seconds"] or RELOAD_SECONDS)


@contextlib.contextmanager
def _ended_by_signals():
    """Let signals end the process at once. The handlers of uvicorn would wait."""
    stopping = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, signal.SIG_DFL) for each in stopping]
    try:
        yield
    finally:
        for each, handler in zip(stopping, before, strict=True):
            signal.signal(each, handler)


def main(arguments: Sequence[str] | None = None) -> None:
    try:
        import uvicorn
    except ImportError:
        sys.exit(
            "The server needs uvicorn. Install it with: pip install 'skclip[serve]'"
        )
    options = _parser().parse_intermixed_args(arguments)
    _check_address(options.host, options.port)
    settings = {
        "models": options.models,
        "titles": options.titles,
        "reload_seconds": options.reload_seconds,
        "max_body": options.max_body,
        "rules": options.rules,
    }
    log_config = _log_config(uvicorn.config.LOGGING_CONFIG)
    logging.config.dictConfig(log_config)
    try:  # also with workers, each of which would repeat the error
        app = create_app(**settings)
    except OSError as error:
        sys.exit(f"skclip.serve: {error.filename}: {error.strerror}.")
    except (ValueError, TypeError, ImportError) as error:
        sys.exit(f"skclip.serve: {error}")
    if not _is_loopback(options.host):
        logger.warning(
            "Everyone who can reach %s can use the server, because it has no password.",
            options.host,
        )
    if options.workers > 1:
        os.environ[_SETTINGS] = json.dumps(settings)
        app = "skclip.serve.__main__:app_from_environment"
    uvicorn.run(
        app,
        factory=options.workers > 1,
        host=options.host,
        port=options.port,
        workers=options.workers,
        log_config=log_config,
        timeout_graceful_shutdown=options.stop_seconds,
        timeout_worker_healthcheck=60,  # a worker may be busy with large requests
        server_header=False,
    )


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m skclip.serve",
        description="Answer HTTP requests with models that skclip.save wrote. The "
        "server watches the files and loads new models without a restart.",
    )
    add = parser.add_argument
    add(
        "models",
        nargs="+",
        metavar="model.skclip",
        help="model file; the page compares a second model with the first",
    )
    add("--titles", metavar="CSV", help="file with item ids and a column 'title'")
    add("--rules", metavar="JSON", help="file with boosts, group limits, exclusions")
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s)",
    )
    add("--port", type=_port, default=8000, help="port (default: %(default)s)")
    add(
        "--workers",
        type=_at_least(1),
        default=1,
        help="number of processes, each with its own copy of the models (default: "
        "%(default)s)",
    )
    add(
        "--reload-seconds",
        type=_seconds,
        default=RELOAD_SECONDS,
        metavar="S",
        help="seconds between two checks of the files; 0 turns them off (default: "
        "%(default)s)",
    )
    add(
        "--max-body",
        type=_at_least(1),
        default=MAX_BODY,
        metavar="BYTES",
        help="largest size of a request body (default: %(default)s)",
    )
    add(
        "--stop-seconds",
        type=_at_least(1),
        default=30,
        metavar="S",
        help="seconds for open requests to end when the server stops (default: "
        "%(default)s)",
    )
    return parser


def _at_least(least):
    def whole_number(text):
        number = _number(text, int)
        if number < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return number

    return whole_number


def _port(text):
    number = _number(text, int)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 65535")
    return number


def _seconds(text):
    number = _number(text, float)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(
            f"{text} is not a number of seconds, 0 or more"
        )
    return number


def _number(text, kind):
    try:
        return kind(text)
    except ValueError:
        what = "whole number" if kind is int else "number"
        raise argparse.ArgumentTypeError(f"{text!r} is not a {what}") from None


def _check_address(host, port):
    """Exit if the server could not listen, before models are loaded."""
    try:
        family, kind, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            if os.name == "posix":  # elsewhere it would hide another listener
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        sys.exit(
            f"skclip.serve: cannot listen on {host}, port {port}: {error.strerror}. "
            "Pass another --port or --host, or stop the program that uses this one."
        )


def _is_loopback(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _log_config(of_uvicorn):
    """Return uvicorn's log configuration, extended by the logger of skclip."""
    config = copy.deepcopy(of_uvicorn)
    config["loggers"]["skclip.serve"] = {"handlers": ["default"], "level": "INFO"}
    return config


if __name__ == "__main__":
    main()
