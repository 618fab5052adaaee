"""Remove what the answers do not ask for, then say how to go on.

Cookiecutter fills in the answers and runs this file inside the new project.
"""

import shutil
from pathlib import Path

HOSTING = "{{ cookiecutter.hosting }}"
EMAIL_PROVIDER = "{{ cookiecutter.email_provider }}"
SCHEDULER = "{{ cookiecutter.scheduler }}"
PROCESS_MANAGER = "{{ cookiecutter.process_manager }}"
USE_FLOWER = "{{ cookiecutter.use_flower }}" == "True"
USE_PROMETHEUS = "{{ cookiecutter.use_prometheus }}" == "True"
CI = "{{ cookiecutter.ci }}"
LICENSE = "{{ cookiecutter.license }}"

# Path -> whether the answers keep it. `_exclude` in copier.yml says the same for Copier.
CONDITIONAL_PATHS = {
    ".copier-answers.yml": False,  # only Copier can update a project
    ".do": HOSTING == "digitalocean",
    ".github": CI == "github",
    ".github/workflows/deploy.yml": CI == "github" and HOSTING == "digitalocean",
    ".gitlab-ci.yml": CI == "gitlab",
    "LICENSE": LICENSE != "Proprietary",
    "Procfile": HOSTING == "dokku",
    "app.json": HOSTING == "dokku",
    "apps/operations/last_runs.py": SCHEDULER != "platform",
    "apps/operations/migrations/0002_runningbeat.py": SCHEDULER in ("database", "code"),
    "apps/operations/migrations/0003_scheduleentry.py": SCHEDULER == "database",
    "apps/operations/presence.py": SCHEDULER in ("database", "code"),
    "apps/operations/schedule_sync.py": SCHEDULER == "database",
    "apps/operations/beat.py": SCHEDULER != "platform",
    "static/readable_crontab.js": SCHEDULER == "database",
    "templates/admin": SCHEDULER == "database",
    "tests/test_schedule_admin.py": SCHEDULER == "database",
    "apps/operations/management/commands/enqueue.py": SCHEDULER == "platform",
    "azure.yaml": HOSTING == "azure",
    "compose.production.yml": HOSTING == "compose",
    "deploy": HOSTING in ("compose", "digitalocean"),
    "deploy/Caddyfile": HOSTING == "compose",
    "deploy/backup.sh": HOSTING == "compose",
    "deploy/redis.conf": HOSTING == "compose",
    "deploy/restore.sh": HOSTING == "compose",
    "deploy/spec.py": HOSTING == "digitalocean",
    "infra": HOSTING == "azure",
    "infra/beat.bicep": HOSTING == "azure" and SCHEDULER != "platform",
    "infra/beat.parameters.json": HOSTING == "azure" and SCHEDULER != "platform",
    "infra/schedule.bicep": HOSTING == "azure" and SCHEDULER == "platform",
    "infra/schedule.parameters.json": HOSTING == "azure" and SCHEDULER == "platform",
    "apps/operations/metrics": USE_PROMETHEUS,
    "docs/metrics.md": USE_PROMETHEUS,
    "monitoring": USE_PROMETHEUS,
    "monitoring/alertmanager.sh": USE_PROMETHEUS and HOSTING == "compose",
    "monitoring/grafana": USE_PROMETHEUS and HOSTING == "compose",
    "monitoring/prometheus.sh": USE_PROMETHEUS and HOSTING == "compose",
    "monitoring/prometheus.yml": USE_PROMETHEUS and HOSTING == "compose",
    "tests/test_metrics.py": USE_PROMETHEUS,
    "apps/notifications/admin.py": EMAIL_PROVIDER != "smtp",
    "apps/notifications/migrations": EMAIL_PROVIDER != "smtp",
    "apps/notifications/models.py": EMAIL_PROVIDER != "smtp",
    "apps/notifications/suppression.py": EMAIL_PROVIDER != "smtp",
    "apps/notifications/tracking.py": EMAIL_PROVIDER != "smtp",
    "apps/notifications/urls.py": EMAIL_PROVIDER != "smtp",
    "tests/provider.py": EMAIL_PROVIDER != "smtp",
    "tests/test_notifications_suppression.py": EMAIL_PROVIDER != "smtp",
    "apps/operations/management/commands/server.py": PROCESS_MANAGER == "prodserver",
    "apps/operations/management/commands/worker.py": PROCESS_MANAGER == "prodserver",
    "apps/operations/management/processes.py": PROCESS_MANAGER == "prodserver",
    "tests/test_processes.py": PROCESS_MANAGER == "prodserver",
    "tests/test_beat.py": SCHEDULER != "platform",
    "tests/test_beat_lock.py": SCHEDULER == "redbeat",
    "tests/test_enqueue.py": SCHEDULER == "platform",
    "tests/test_beat_schedule.py": SCHEDULER != "platform",
    "tests/test_last_runs.py": SCHEDULER != "platform",
    "tests/test_presence.py": SCHEDULER in ("database", "code"),
    "tests/test_schedule_sync.py": SCHEDULER == "database",
    "flower.conf.py": USE_FLOWER,
    "docs/flower.md": USE_FLOWER,
    "tests/test_flower.py": USE_FLOWER,
    "infra/flower.bicep": HOSTING == "azure" and USE_FLOWER,
    "infra/flower.parameters.json": HOSTING == "azure" and USE_FLOWER,
}

NEXT_STEPS = """
{{ cookiecutter.project_slug }} is ready. Next:

  cd {{ cookiecutter.project_slug }}
  git init
  uv sync                         # makes uv.lock: commit it
  uv run manage.py migrate
  uv run manage.py runserver      # http://localhost:8000

Or with real services in containers: docker compose up
"""


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, and the parent folders that become empty.

    Args:
        path: Relative to the project, which is the working directory.
    """
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)  # its folder may have gone before
    for parent in path.parents[:-1]:
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()


for name, kept in CONDITIONAL_PATHS.items():
    if not kept:
        remove(Path(name))
print(NEXT_STEPS)
