"""Staging: production, with e-mail marked as such and HTTPS promised for a minute only."""

from .production import *
from .production import SERVICE_NAME, env

SECURE_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", default=60)
EMAIL_SUBJECT_PREFIX = f"[{SERVICE_NAME} staging] "
