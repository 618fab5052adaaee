{% include ["templates/email/" ~ cookiecutter.email_provider ~ "/tracking.py", "email/" ~ cookiecutter.email_provider ~ "/tracking.py"] ignore missing -%}
