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

# The model is loaded before the workers are forked. They share it until it is replaced.
preload_app = True

timeout = 60  # seconds without a sign of life after which a worker is replaced
graceful_timeout = 30  # seconds that open requests have to end
control_socket_disable = True  # it would need a home directory

logging.basicConfig(level=logging.INFO)  # which models were loaded, and which were not
