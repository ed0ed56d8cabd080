"""Settings of Django."""

import os
import pathlib
import secrets

SECRET_KEY = os.environ.get("SECRET_KEY") or secrets.token_urlsafe()
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["videos"]
MIDDLEWARE = ["a2e_async.integrations.django.A2EErrorMiddleware"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": pathlib.Path("videos.sqlite")}}
