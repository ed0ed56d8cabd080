"""The first table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Create the table of videos."""

    initial = True
    operations = [
        migrations.CreateModel(
            "Video",
            [
                ("id", models.CharField(max_length=64, primary_key=True)),
                ("state", models.CharField(default="open", max_length=64)),
            ],
        )
    ]
