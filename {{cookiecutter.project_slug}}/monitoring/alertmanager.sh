{%- set of = "EMAIL_" if cookiecutter.email_provider == "smtp" else "SMTP_" -%}
#!/bin/sh
# Starts Alertmanager in its container. It reads no variables, so its configuration is made of them:
# who gets mail, and by which server (docs/metrics.md).
set -eu

quoted() {
  printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"
}

: "${ALERT_RECIPIENTS:?is missing in alerts.env}" "${ {{- of }}HOST:?is missing in alerts.env}"
port=${ {{- of }}PORT:-587}
starttls=${ {{- of }}USE_TLS:-true}
if [ "$port" = 465 ]; then
  starttls=false # it is TLS from the first byte
fi

umask 077
cat > /tmp/alertmanager.yml <<END
global:
  smtp_smarthost: $(quoted "${{ of }}HOST:$port")
  smtp_from: $(quoted "${DEFAULT_FROM_EMAIL:-noreply@{{ cookiecutter.domain_name }}}")
  smtp_auth_username: $(quoted "${ {{- of }}HOST_USER:-}")
  smtp_auth_password: $(quoted "${ {{- of }}HOST_PASSWORD:-}")
  smtp_require_tls: $starttls

route:
  receiver: mail
  group_by: [alertname]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 12h

receivers:
  - name: mail
    email_configs:
      - to: $(quoted "$ALERT_RECIPIENTS")
        send_resolved: true
END

exec alertmanager --config.file=/tmp/alertmanager.yml "$@"
