"""Production: every variable is required to be right, and nothing falls back."""

import logging

from .base import *
from .base import ALLOWED_HOSTS, DATABASES, MIDDLEWARE, env

SECRET_KEY = env.secret_key()
env.require("SECRET_KEY", "ALLOWED_HOSTS")
if not DATABASES["default"]:
    env.require("DATABASE_URL")
{% if cookiecutter.use_flower -%}
env.require("FLOWER_BASIC_AUTH")
{% endif -%}
env.require("REDIS_URL"{% for name in cookiecutter.__email_required.split() %}, "{{ name }}"{% endfor %})
{%- if cookiecutter.use_prometheus %}
env.require("METRICS_TOKEN")
{%- endif %}

# Static files are served by the web process itself, before anything that needs a session.
position = MIDDLEWARE.index("django.middleware.security.SecurityMiddleware") + 1
MIDDLEWARE.insert(position, "whitenoise.middleware.WhiteNoiseMiddleware")

{% if cookiecutter.hosting == "digitalocean" -%}
# App Platform tells the visitor's address here, and those of its own proxies in X-Forwarded-For.
CLIENT_ADDRESS_HEADER = "HTTP_DO_CONNECTING_IP"
{%- else -%}
# How many proxies stand before the web process, each of which adds the address that it sees.
CLIENT_ADDRESS_HEADER = "HTTP_X_FORWARDED_FOR"
TRUSTED_PROXIES = env.integer("TRUSTED_PROXIES", default=1, minimum=1)
{%- endif %}

# Every target's proxy ends TLS and sets this header itself, so a client can't forge it.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = env.flag("SECURE_SSL_REDIRECT", default=True)
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
CSRF_TRUSTED_ORIGINS = env.items(
    "CSRF_TRUSTED_ORIGINS",
    default=[f"https://{'*' if host.startswith('.') else ''}{host}" for host in ALLOWED_HOSTS],
)

# Start with an hour; a year (31536000) once HTTPS is there to stay. Browsers remember the promise,
# so subdomains and the preload list are a decision of your own.
SECURE_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", default=3600)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.flag("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.flag("SECURE_HSTS_PRELOAD", default=False)
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# What libraries warn about becomes log lines.
logging.captureWarnings(capture=True)

env.complete()
