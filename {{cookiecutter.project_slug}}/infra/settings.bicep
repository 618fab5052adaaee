// The environment of every process. To add a variable, name it here and give it its value among
// the secrets in platform.bicep.

var variables = [
  'ALERT_RECIPIENTS'
  'ALLOWED_HOSTS'
  'DATABASE_URL'
{%- if cookiecutter.__email_public %}
  '{{ cookiecutter.__email_public }}'
{%- endif %}
{%- for name in cookiecutter.__email_entered.split() %}
  '{{ name }}'
{%- endfor %}
{%- if cookiecutter.use_flower %}
  'FLOWER_BASIC_AUTH'
{%- endif %}
{%- if cookiecutter.use_prometheus %}
  'METRICS_TOKEN'
{%- endif %}
  'REDIS_URL'
  'SECRET_KEY'
  'SITE_DOMAIN'
]

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: 'vault-${uniqueString(resourceGroup().id)}'
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: 'processes'
}

// The worker's scale rules need the password by itself.
output secrets array = map(concat(variables, ['REDIS_PASSWORD']), name => {
  name: toLower(replace(name, '_', '-'))
  keyVaultUrl: '${vault.properties.vaultUri}secrets/${toLower(replace(name, '_', '-'))}'
  identity: identity.id
})

output environment array = concat(
  [
    {
      name: 'DJANGO_ENVIRONMENT'
      value: 'production'
    }
  ],
  map(variables, name => {
    name: name
    secretRef: toLower(replace(name, '_', '-'))
  })
)
