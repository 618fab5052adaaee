#!/bin/sh
# Starts Prometheus in its container. It takes the token from a file only.
set -eu

(umask 077 && printf %s "${METRICS_TOKEN:?is not set}" > /tmp/metrics-token)

exec prometheus --config.file="$(dirname "$0")/prometheus.yml" "$@"
