{% include ["templates/scheduler/" ~ cookiecutter.scheduler ~ "/test_beat_schedule.py", "scheduler/" ~ cookiecutter.scheduler ~ "/test_beat_schedule.py"] ignore missing -%}
