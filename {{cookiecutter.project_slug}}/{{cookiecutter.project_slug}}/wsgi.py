"""What gunicorn serves."""

from django.core.wsgi import get_wsgi_application

from . import environment

environment.select_settings("production")

application = get_wsgi_application()
