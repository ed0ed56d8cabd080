"""The paths of the service."""

from django.urls import path

from videos import views

urlpatterns = [
    path("videos", views.start),
    path("videos/<str:id>", views.show),
    path("videos/<str:id>/events", views.events),
    path("videos/<str:id>/video", views.video),
]
