{%- macro parameter(name) -%}
{{ name.split("_")[0]|lower }}{{ name.split("_")[1:]|map("capitalize")|join }}
{%- endmacro -%}
// Logs, image registry, key vault, PostgreSQL, Redis, and the room that the processes run in.

param location string
param principalId string
param databaseServer string
@secure()
param databasePassword string
@secure()
param secretKey string
{%- if cookiecutter.use_prometheus %}
@secure()
param metricsToken string
{%- endif %}
param customDomain string
{%- if cookiecutter.__email_public %}
param {{ parameter(cookiecutter.__email_public) }} string
{%- endif %}
{%- for name in cookiecutter.__email_entered.split() %}
@secure()
param {{ parameter(name) }} string
{%- endfor %}
{%- if cookiecutter.use_flower %}
@secure()
param flowerBasicAuth string
{%- endif %}
param alertRecipients string

// These names are unique in all of Azure.
var token = uniqueString(resourceGroup().id)

resource logs 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: 'logs'
  location: location
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: 30
  }
}

resource environment 'Microsoft.App/managedEnvironments@2026-01-01' = {
  name: 'environment'
  location: location
  properties: {
    appLogsConfiguration: {
      destination: 'log-analytics'
      logAnalyticsConfiguration: {
        customerId: logs.properties.customerId
        sharedKey: logs.listKeys().primarySharedKey
      }
    }
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
  }
}

// --- Who may do what -----------------------------------------------------------------------------

// The processes pull their image and read their secrets as this identity, which is there before
// they are: a process's own identity would come too late for its first image.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'processes'
  location: location
}

resource registry 'Microsoft.ContainerRegistry/registries@2025-11-01' = {
  name: 'registry${token}'
  location: location
  sku: {
    name: 'Basic'
  }
  properties: {
    adminUserEnabled: false
  }
}

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
  name: 'vault-${token}'
  location: location
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
  }
}

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var acrPull = '7f951dda-4ed3-4680-a7ca-43fe172d538d'
var keyVaultSecretsUser = '4633458b-17de-408a-b874-0445c86b69e6'
var keyVaultSecretsOfficer = 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'

resource processesPullImages 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, identity.id, acrPull)
  scope: registry
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', acrPull)
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

resource processesReadSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, identity.id, keyVaultSecretsUser)
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyVaultSecretsUser)
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

// azd reads the generated secrets back, so that the next provision keeps them.
resource operatorKeepsSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, principalId, keyVaultSecretsOfficer)
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyVaultSecretsOfficer)
    principalId: principalId
  }
}

// --- PostgreSQL ----------------------------------------------------------------------------------

// Standard_B1ms lets 35 connections in. A web replica holds up to 10 (2 processes, each with 4
// threads and a probe), a worker 4, {% if cookiecutter.scheduler == "platform" %}release and a job of the schedule 2 each{% else %}beat and release 2 each{% endif %}, and a deployment doubles
// them for a moment: more replicas need a larger server.
resource postgres 'Microsoft.DBforPostgreSQL/flexibleServers@2025-08-01' = {
  name: empty(databaseServer) ? 'postgres-${token}' : databaseServer
  location: location
  sku: {
    name: 'Standard_B1ms'
    tier: 'Burstable'
  }
  properties: {
    version: '17'
    administratorLogin: 'django'
    administratorLoginPassword: databasePassword
    storage: {
      // Storage can't shrink: if it grew by itself, the next provision would ask for less and fail.
      storageSizeGB: 32
      autoGrow: 'Disabled'
    }
    backup: {
      backupRetentionDays: 14
      geoRedundantBackup: 'Disabled'
    }
    highAvailability: {
      mode: 'Disabled'
    }
    network: {
      publicNetworkAccess: 'Enabled'
    }
  }
}

resource database 'Microsoft.DBforPostgreSQL/flexibleServers/databases@2025-08-01' = {
  parent: postgres
  name: '{{ cookiecutter.project_slug }}'
  properties: {
    charset: 'UTF8'
    collation: 'en_US.utf8'
  }
}

// 0.0.0.0 stands for every address in Azure, also of other customers: password and TLS protect the
// server. A virtual network would keep them out.
resource azureOnly 'Microsoft.DBforPostgreSQL/flexibleServers/firewallRules@2025-08-01' = {
  parent: postgres
  name: 'azure-only'
  properties: {
    startIpAddress: '0.0.0.0'
    endIpAddress: '0.0.0.0'
  }
  dependsOn: [
    database // the server takes one change at a time
  ]
}

// --- Redis: broker, results and cache ------------------------------------------------------------

resource redis 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: 'redis-${token}'
  location: location
  sku: {
    name: 'Balanced_B0'
  }
  properties: {
    minimumTlsVersion: '1.2'
    publicNetworkAccess: 'Enabled'
  }
}

resource broker 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: redis
  name: 'default'
  properties: {
    clientProtocol: 'Encrypted'
    port: 10000
    // Celery uses several keys in one command, which a cluster refuses.
    clusteringPolicy: 'NoCluster'
    // A broker must not throw tasks away to make room.
    evictionPolicy: 'NoEviction'
    accessKeysAuthentication: 'Enabled'
  }
}

// --- What the processes get ----------------------------------------------------------------------

var webHost = 'web.${environment.properties.defaultDomain}'
var redisPassword = broker.listKeys().primaryKey
// The image's bundle of certificate authorities; without it the server would not be verified.
var tls = 'sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt'

// settings.bicep makes variables of them.
module secrets 'secrets.bicep' = {
  name: 'secrets'
  params: {
    vaultName: vault.name
    values: {
      ALERT_RECIPIENTS: alertRecipients
      ALLOWED_HOSTS: empty(customDomain) ? webHost : '${webHost},${customDomain}'
      DATABASE_PASSWORD: databasePassword
      DATABASE_URL: 'postgres://django:${uriComponent(databasePassword)}@${postgres.properties.fullyQualifiedDomainName}:5432/${database.name}?${tls}'
{%- if cookiecutter.__email_public %}
      {{ cookiecutter.__email_public }}: {{ parameter(cookiecutter.__email_public) }}
{%- endif %}
{%- for name in cookiecutter.__email_entered.split() %}
      {{ name }}: {{ parameter(name) }}
{%- endfor %}
{%- if cookiecutter.use_flower %}
      FLOWER_BASIC_AUTH: flowerBasicAuth
{%- endif %}
{%- if cookiecutter.use_prometheus %}
      METRICS_TOKEN: metricsToken
{%- endif %}
      REDIS_PASSWORD: redisPassword
      REDIS_URL: 'rediss://:${uriComponent(redisPassword)}@${redis.properties.hostName}:10000/0'
      SECRET_KEY: secretKey
      SITE_DOMAIN: empty(customDomain) ? webHost : customDomain
    }
  }
}

output registryEndpoint string = registry.properties.loginServer
output vaultName string = vault.name
output databaseServer string = postgres.name
output webHost string = webHost
