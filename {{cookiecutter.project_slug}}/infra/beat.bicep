{% if cookiecutter.scheduler == "redbeat" -%}
// Beat. One is enough: a second one would only wait for the lock of the first.
{%- else -%}
// Beat. Exactly one: two would send every periodic task twice.
{%- endif %}

param location string = resourceGroup().location

@description('Set by azd.')
param image string

resource environment 'Microsoft.App/managedEnvironments@2026-01-01' existing = {
  name: 'environment'
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: 'processes'
}

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' existing = {
  name: 'registry${uniqueString(resourceGroup().id)}'
}

module settings 'settings.bicep' = {
  name: 'settings-beat'
}

resource beat 'Microsoft.App/containerApps@2026-01-01' = {
  name: 'beat'
  location: location
  tags: {
    'azd-service-name': 'beat'
  }
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    environmentId: environment.id
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      registries: [
        {
          server: registry.properties.loginServer
          identity: identity.id
        }
      ]
      secrets: settings.outputs.secrets
    }
    template: {
      terminationGracePeriodSeconds: 30
      containers: [
        {
          name: 'beat'
          image: image
          command: {{ cookiecutter.__beat_command.split() }}
          env: settings.outputs.environment
          resources: {
            cpu: json('0.25')
            memory: '0.5Gi'
          }
        }
      ]
      scale: {
        minReplicas: 1
        maxReplicas: 1
      }
    }
  }
}
