"""The database of the application."""

from django.db import models


class Video(models.Model):
    """A video that was paid, by the id of its task."""

    id = models.CharField(max_length=64, primary_key=True)
    state = models.CharField(max_length=64, default="open")
