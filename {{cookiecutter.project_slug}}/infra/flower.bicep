// Flower, which shows workers and tasks in a browser; see docs/flower.md.

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
  name: 'settings-flower'
}

resource flower 'Microsoft.App/containerApps@2026-01-01' = {
  name: 'flower'
  location: location
  tags: {
    'azd-service-name': 'flower'
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
      // Open to the world, behind the login; ipSecurityRestrictions can name who may ask for it.
      ingress: {
        external: true
        targetPort: 5555
        transport: 'http'
        allowInsecure: false
      }
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
          name: 'flower'
          image: image
          command: {{ cookiecutter.__flower_command.split() }}
          env: settings.outputs.environment
          resources: {
            cpu: json('0.25')
            memory: '0.5Gi'
          }
          probes: [
            {
              type: 'Startup'
              httpGet: {
                path: '/flower/healthcheck'
                port: 5555
              }
              initialDelaySeconds: 3
              periodSeconds: 5
              timeoutSeconds: 5
              failureThreshold: 10
            }
            {
              type: 'Liveness'
              httpGet: {
                path: '/flower/healthcheck'
                port: 5555
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
          ]
        }
      ]
      // One: each would know only what it has seen itself.
      scale: {
        minReplicas: 1
        maxReplicas: 1
      }
    }
  }
}
