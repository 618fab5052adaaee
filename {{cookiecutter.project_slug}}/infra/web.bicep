// The web process.

param location string = resourceGroup().location

@description('Set by azd.')
param image string

param customDomain string = ''

@description('The certificate of the custom domain, once Azure has made it; see docs/deploy.md.')
param certificateId string = ''

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
  name: 'settings-web'
}

resource web 'Microsoft.App/containerApps@2026-01-01' = {
  name: 'web'
  location: location
  tags: {
    'azd-service-name': 'web'
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
      ingress: {
        external: true
        targetPort: 8000
        transport: 'http'
        allowInsecure: false
        customDomains: empty(certificateId) ? [] : [
          {
            name: customDomain
            bindingType: 'SniEnabled'
            certificateId: certificateId
          }
        ]
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
      // Longer than GUNICORN_GRACEFUL_TIMEOUT.
      terminationGracePeriodSeconds: 45
      containers: [
        {
          name: 'web'
          image: image
          command: {{ cookiecutter.__web_command.split() }}
          env: settings.outputs.environment
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          probes: [
            {
              type: 'Startup'
              httpGet: {
                path: '/health/'
                port: 8000
              }
              initialDelaySeconds: 3
              periodSeconds: 5
              timeoutSeconds: 5
              failureThreshold: 10
            }
            {
              type: 'Liveness'
              httpGet: {
                path: '/health/'
                port: 8000
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
            {
              type: 'Readiness'
              httpGet: {
                path: '/ready/'
                port: 8000
              }
              periodSeconds: 10
              timeoutSeconds: 5
              failureThreshold: 3
            }
          ]
        }
      ]
      scale: {
        minReplicas: 1
        // The connections of the smallest PostgreSQL server are few: infra/platform.bicep counts them.
        maxReplicas: 1
        rules: [
          {
            name: 'requests'
            http: {
              metadata: {
                // A replica answers 8 at a time: 2 processes, each with 4 threads.
                concurrentRequests: '16'
              }
            }
          }
        ]
      }
    }
  }
}
