"""Settings for several worker processes that share the memory of one model.

pip install gunicorn uvicorn-worker
SKCLIP_MODEL=model.skclip gunicorn -c gunicorn.conf.py
"""

import logging
import os

wsgi_app = f"skclip.serve:create_app({os.environ['SKCLIP_MODEL']!r})"
bind = "127.0.0.1:8000"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "uvicorn_worker.UvicornWorker"

# Load the model before forking the workers. They share it until it is replaced.
preload_app = True

timeout = 60  # replace a worker that does not respond for this many seconds
graceful_timeout = 30  # seconds for open requests to finish
control_socket_disable = True  # the socket needs a home directory

logging.basicConfig(
    level=logging.INFO
)  # logs which models were loaded and which failed
