"""How gunicorn serves the site. https://docs.gunicorn.org/en/stable/settings.html"""

import os
from pathlib import Path

from django.conf import settings

{% if cookiecutter.use_prometheus -%}
from apps.operations.metrics.processes import (  # noqa: F401 (gunicorn's hooks)
    child_exit,
    on_exit,
    on_starting,
    post_fork,
    pre_fork,
)
{% endif -%}
from apps.operations.slow_clients import (  # noqa: F401 (gunicorn's hooks)
    post_request,
    pre_request,
)

from {{ cookiecutter.project_slug }}.environment import Environment, message_alone, start

# If the settings are wrong, stop here with one message, and not in each worker again.
start("production")

env = Environment(os.environ)

bind = f"0.0.0.0:{env.port('PORT', default=8000)}"
# gthread, which answers probes also while requests hang in all threads.
worker_class = "apps.operations.serving.ProbedWorker"
# Not derived from the number of processors: in a container that is the host's. Each worker and
# thread may hold a database connection: workers x threads, and one more per worker for probes{% if cookiecutter.use_prometheus %},
# and a further one during a scrape{% endif %}.
workers = env.integer("WEB_CONCURRENCY", default=2, minimum=1)
threads = env.integer("GUNICORN_THREADS", default=4, minimum=1)

# In seconds. The platform's grace period must be longer than graceful_timeout.
timeout = env.integer("GUNICORN_TIMEOUT", default=120, minimum=1)
graceful_timeout = env.integer("GUNICORN_GRACEFUL_TIMEOUT", default=30, minimum=1)

# Workers are replaced after so many requests, at different times, which bounds leaks. Each time the
# site has one worker fewer for about a second, so not too often.
max_requests = env.integer("GUNICORN_MAX_REQUESTS", default=50_000)
max_requests_jitter = max_requests // 10

# The longest first line and the longest header, in bytes, and how many headers there may be: all
# are held in memory. A session's cookie and what proxies add are far shorter.
limit_request_line = 4094
limit_request_field_size = 8190
limit_request_fields = 100

# The heartbeat file of a worker must not wait for a disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# It wants a writable home, and nothing here uses it.
control_socket_disable = True

logconfig_dict = settings.LOGGING
# The path without its query, which may carry tokens.
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(B)s bytes %(M)s ms'

with message_alone():
    env.complete()
