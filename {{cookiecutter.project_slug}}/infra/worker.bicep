// The worker. It listens on no port, and the platform probes only ports: its log and `doctor` tell
// whether it works.

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

resource redis 'Microsoft.Cache/redisEnterprise@2025-07-01' existing = {
  name: 'redis-${uniqueString(resourceGroup().id)}'
}

module settings 'settings.bicep' = {
  name: 'settings-worker'
}

// As in CELERY_TASK_QUEUES.
var queues = [
  'default'
  'notifications'
  'maintenance'
]

resource worker 'Microsoft.App/containerApps@2026-01-01' = {
  name: 'worker'
  location: location
  tags: {
    'azd-service-name': 'worker'
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
      // Longer than CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT.
      terminationGracePeriodSeconds: 30
      containers: [
        {
          name: 'worker'
          image: image
          command: {{ cookiecutter.__worker_command.split() }}
          env: settings.outputs.environment
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
        }
      ]
      scale: {
        // Never none: the rules see the tasks that wait, not those that are running.
        minReplicas: 1
        // The connections of the smallest PostgreSQL server are few: infra/platform.bicep counts them.
        maxReplicas: 1
        rules: [for queue in queues: {
          name: queue
          custom: {
            type: 'redis'
            metadata: {
              address: '${redis.properties.hostName}:10000'
              enableTLS: 'true'
              databaseIndex: '0'
              listName: queue
              // Tasks that wait, for each replica.
              listLength: '20'
            }
            auth: [
              {
                secretRef: 'redis-password'
                triggerParameter: 'password'
              }
            ]
          }
        }]
      }
    }
  }
}
