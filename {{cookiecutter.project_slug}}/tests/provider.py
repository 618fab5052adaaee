{% include ["templates/email/" ~ cookiecutter.email_provider ~ "/provider.py", "email/" ~ cookiecutter.email_provider ~ "/provider.py"] ignore missing -%}
