#!/bin/sh
# Start the release job, which azd has just given the new image, and wait until it has succeeded.
# azd sets AZURE_RESOURCE_GROUP and AZURE_SUBSCRIPTION_ID; if this fails, it deploys nothing else.
set -eu

# A little longer than replicaTimeout in release.bicep, in seconds.
patience=960
interval=5

job() {
    az containerapp job "$@" --name release --resource-group "$AZURE_RESOURCE_GROUP" \
        --subscription "$AZURE_SUBSCRIPTION_ID" --output tsv
}

execution=$(job start --query name)
echo "Release $execution has started."

status=Unknown
waited=0
while [ "$waited" -lt "$patience" ]; do
    # One question that Azure does not answer is no reason to give up.
    status=$(job execution show --job-execution-name "$execution" --query properties.status) || status=Unknown
    case $status in
        Succeeded)
            echo "Release $execution has succeeded."
            exit 0
            ;;
        Failed | Stopped | Degraded)
            break
            ;;
    esac
    sleep "$interval"
    waited=$((waited + interval))
done

echo "Release $execution has not succeeded: $status. Its output is in the logs; see docs/deploy.md." >&2
exit 1
