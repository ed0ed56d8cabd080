"""The application for a server with lifespans: ``uvicorn asgi:application``."""

import os

from django.core.asgi import get_asgi_application

from a2e_async.integrations.django import with_lifespan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django = get_asgi_application()  # before the models are imported

from videos.waits import a2e, supervisor  # noqa: E402

application = with_lifespan(django, a2e, supervisor)
