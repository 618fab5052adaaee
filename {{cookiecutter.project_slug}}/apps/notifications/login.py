{% include ["templates/email/" ~ cookiecutter.email_provider ~ "/login.py", "email/" ~ cookiecutter.email_provider ~ "/login.py"] -%}
