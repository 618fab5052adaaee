{% include ["templates/scheduler/" ~ cookiecutter.scheduler ~ "/beat.py", "scheduler/" ~ cookiecutter.scheduler ~ "/beat.py"] ignore missing -%}
