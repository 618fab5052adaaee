"""What Prometheus reads of this service at ``/metrics`` (docs/metrics.md lists it)."""
