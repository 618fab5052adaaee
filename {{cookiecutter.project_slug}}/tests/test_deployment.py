{% include ["templates/" ~ cookiecutter.hosting ~ "/test_deployment.py", cookiecutter.hosting ~ "/test_deployment.py"] -%}
