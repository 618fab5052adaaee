"""What gunicorn serves."""

from django.core.wsgi import get_wsgi_application

from apps.operations.middleware import HealthApplication

from . import environment

environment.select_settings("production")

application = HealthApplication(get_wsgi_application())
