"""What an ASGI server such as uvicorn serves."""

from django.core.asgi import get_asgi_application

from . import environment

environment.select_settings("production")

application = get_asgi_application()
