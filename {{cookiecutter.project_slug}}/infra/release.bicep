// The release, which infra/release.sh starts once per deployment.

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
  name: 'settings-release'
}

resource release 'Microsoft.App/jobs@2026-01-01' = {
  name: 'release'
  location: location
  tags: {
    'azd-service-name': 'release'
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
      triggerType: 'Manual'
      manualTriggerConfig: {
        parallelism: 1
        replicaCompletionCount: 1
      }
      // In seconds; azd waits 20 minutes for a service.
      replicaTimeout: 900
      replicaRetryLimit: 0
      registries: [
        {
          server: registry.properties.loginServer
          identity: identity.id
        }
      ]
      secrets: settings.outputs.secrets
    }
    template: {
      containers: [
        {
          name: 'release'
          image: image
          command: {{ cookiecutter.__release_command.split() }}
          env: settings.outputs.environment
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
        }
      ]
    }
  }
}
