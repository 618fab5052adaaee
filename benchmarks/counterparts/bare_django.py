"""A Django view and nothing around it: no middleware, no template, no database."""

import time

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path

settings.configure(SECRET_KEY="bare" * 16, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)


def home(request):
    return HttpResponse("<h1>My Project</h1>")


def enqueue(request):
    from bare_celery import nothing

    started = time.perf_counter()
    nothing.delay()
    return JsonResponse({"seconds": time.perf_counter() - started})


urlpatterns = [path("", home), path("enqueue/", enqueue)]
application = get_wsgi_application()
