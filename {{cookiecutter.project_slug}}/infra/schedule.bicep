// The periodic tasks: a job for each, which sends the task to its queue and ends.

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
  name: 'settings-schedule'
}

// The entries of {{ cookiecutter.project_slug }}/schedule.py; a test compares them. Azure reads the fields in UTC.
var schedule = [
  {
    name: 'heartbeat'
    cron: '*/5 * * * *'
  }
  {
    name: 'clear-expired-sessions'
    cron: '30 3 * * *'
  }
  {
    name: 'delete-old-failures'
    cron: '40 3 * * *'
  }
  {
    name: 'failure-digest'
    cron: '0 6 * * *'
  }
]

resource jobs 'Microsoft.App/jobs@2026-01-01' = [for entry in schedule: {
  name: 'cron-${entry.name}'
  location: location
  // On one job alone: azd refuses to deploy a service if it finds this tag twice.
  tags: entry.name == 'heartbeat' ? {
    'azd-service-name': 'schedule'
  } : {}
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
      triggerType: 'Schedule'
      scheduleTriggerConfig: {
        cronExpression: entry.cron
        parallelism: 1
        replicaCompletionCount: 1
      }
      // In seconds; the second try, too, is over before the next heartbeat.
      replicaTimeout: 120
      // For a broker that was away for a moment. Tasks bear to be sent twice.
      replicaRetryLimit: 1
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
          name: 'enqueue'
          image: image
          command: ['python', 'manage.py', 'enqueue', entry.name]
          env: settings.outputs.environment
          resources: {
            cpu: json('0.25')
            memory: '0.5Gi'
          }
        }
      ]
    }
  }
}]
