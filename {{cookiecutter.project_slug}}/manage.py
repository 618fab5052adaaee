#!/usr/bin/env python
"""Django's command line."""

import sys

from django.core.management import execute_from_command_line

from {{ cookiecutter.project_slug }} import environment


def main() -> None:
    """Run the command with development settings unless the environment picks others."""
    environment.start("development")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
