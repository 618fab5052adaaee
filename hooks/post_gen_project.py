"""Remove what the answers do not ask for, then say how to go on.

Cookiecutter fills in the answers and runs this file inside the new project.
"""

import shutil
from pathlib import Path

SCHEDULER = "{{ cookiecutter.scheduler }}"
PROCESS_MANAGER = "{{ cookiecutter.process_manager }}"
CI = "{{ cookiecutter.ci }}"
LICENSE = "{{ cookiecutter.license }}"

# Path -> whether the answers keep it. `_exclude` in copier.yml says the same for Copier.
CONDITIONAL_PATHS = {
    ".copier-answers.yml": False,  # only Copier can update a project
    ".github": CI == "github",
    ".gitlab-ci.yml": CI == "gitlab",
    "LICENSE": LICENSE != "Proprietary",
    "apps/operations/migrations/0002_scheduleentry.py": SCHEDULER == "database",
    "apps/operations/schedule_sync.py": SCHEDULER == "database",
    "apps/operations/management/commands/server.py": PROCESS_MANAGER == "prodserver",
    "apps/operations/management/commands/worker.py": PROCESS_MANAGER == "prodserver",
    "apps/operations/management/processes.py": PROCESS_MANAGER == "prodserver",
    "tests/test_processes.py": PROCESS_MANAGER == "prodserver",
    "tests/test_beat_lock.py": SCHEDULER == "redbeat",
    "tests/test_schedule_sync.py": SCHEDULER == "database",
}

NEXT_STEPS = """
{{ cookiecutter.project_slug }} is ready. Next:

  cd {{ cookiecutter.project_slug }}
  git init
  uv sync                         # makes uv.lock: commit it
  uv run manage.py migrate
  uv run manage.py runserver      # http://localhost:8000

Or with PostgreSQL, a broker, a worker and beat in containers: docker compose up
"""


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, and the parent folders that become empty.

    Args:
        path: Relative to the project, which is the working directory.
    """
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    for parent in path.parents[:-1]:
        if any(parent.iterdir()):
            break
        parent.rmdir()


for name, kept in CONDITIONAL_PATHS.items():
    if not kept:
        remove(Path(name))
print(NEXT_STEPS)
