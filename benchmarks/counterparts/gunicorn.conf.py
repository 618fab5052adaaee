"""The settings of a project's own gunicorn.conf.py, its log included, without its Django."""

import json
import os

from my_project.logs import logging_config

globals().update(json.loads(os.environ["GUNICORN_SETTINGS"]))
bind = f"127.0.0.1:{os.environ['PORT']}"
logconfig_dict = logging_config("INFO", "json", json.loads(os.environ["SECRETS"]))
