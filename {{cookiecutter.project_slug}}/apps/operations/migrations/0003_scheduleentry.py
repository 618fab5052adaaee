from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("operations", "0002_runningbeat")]

    operations = [
        migrations.CreateModel(
            name="ScheduleEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=200, unique=True)),
                ("definition", models.JSONField()),
                ("retired", models.BooleanField(default=False)),
                ("was_enabled", models.BooleanField(default=True)),
            ],
            options={"verbose_name_plural": "schedule entries"},
        ),
    ]
