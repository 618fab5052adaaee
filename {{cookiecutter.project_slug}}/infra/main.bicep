{%- macro parameter(name) -%}
{{ name.split("_")[0]|lower }}{{ name.split("_")[1:]|map("capitalize")|join }}
{%- endmacro -%}
// What `azd provision` makes: everything but the processes, which `azd deploy` makes.
// The values of the parameters come from the azd environment; see main.parameters.json. azd asks for
// those that are not there, the keys of the e-mail, and keeps them outside this folder.

targetScope = 'subscription'

@minLength(1)
@maxLength(64)
@description('The name of the azd environment.')
param environmentName string

@minLength(1)
@description('The Azure region.')
param location string

@minLength(1)
@description('The account that runs azd; it may read and write the secrets.')
param principalId string

@description('The PostgreSQL server, if it is another than the one that was made first.')
param databaseServer string = ''

@secure()
@minLength(15)
@description('From the key vault; the first time azd makes it, of 15 letters and digits.')
param databasePassword string

@secure()
@minLength(15)
@description('From the key vault; the first time azd makes it, of 15 letters and digits.')
param secretKey string

@secure()
@description('What makes a new secret key long enough for Django.')
param secretKeyPadding string = newGuid()

{% if cookiecutter.use_prometheus -%}
@secure()
@minLength(15)
@description('What Prometheus shows; from the key vault, and made like the secret key.')
param metricsToken string

@secure()
@description('What makes a new token of the metrics long enough.')
param metricsTokenPadding string = newGuid()

{% endif -%}
@description('The host name that visitors use besides the platform\'s own.')
param customDomain string = ''
{%- if cookiecutter.__email_public %}

@minLength(1)
@description('What {{ cookiecutter.__email_name }} needs to know: {{ cookiecutter.__email_public }}.')
param {{ parameter(cookiecutter.__email_public) }} string
{%- endif %}
{%- for name in cookiecutter.__email_entered.split() %}

@secure()
@minLength(1)
@description('What opens the way to {{ cookiecutter.__email_name }}: {{ name }}.')
param {{ parameter(name) }} string
{%- endfor %}
{%- if cookiecutter.use_flower %}

@secure()
@minLength(18)
@description('What opens Flower: user:password.')
param flowerBasicAuth string
{%- endif %}

@minLength(1)
@description('Who hears of tasks that failed for good, separated by commas.')
param alertRecipients string

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: {
    'azd-env-name': environmentName
  }
}

module platform 'platform.bicep' = {
  name: 'platform'
  scope: group
  params: {
    location: location
    principalId: principalId
    databaseServer: databaseServer
    databasePassword: databasePassword
    // Django wants 50 characters. Once the key is in the vault, it stays as it is.
    secretKey: length(secretKey) < 50 ? '${secretKey}${secretKeyPadding}' : secretKey
{%- if cookiecutter.use_prometheus %}
    metricsToken: length(metricsToken) < 32 ? '${metricsToken}${metricsTokenPadding}' : metricsToken
{%- endif %}
    customDomain: customDomain
{%- if cookiecutter.__email_public %}
    {{ parameter(cookiecutter.__email_public) }}: {{ parameter(cookiecutter.__email_public) }}
{%- endif %}
{%- for name in cookiecutter.__email_entered.split() %}
    {{ parameter(name) }}: {{ parameter(name) }}
{%- endfor %}
{%- if cookiecutter.use_flower %}
    flowerBasicAuth: flowerBasicAuth
{%- endif %}
    alertRecipients: alertRecipients
  }
}

output AZURE_RESOURCE_GROUP string = group.name
output AZURE_CONTAINER_REGISTRY_ENDPOINT string = platform.outputs.registryEndpoint
output AZURE_KEY_VAULT_NAME string = platform.outputs.vaultName
output DATABASE_SERVER string = platform.outputs.databaseServer
output WEB_HOST string = platform.outputs.webHost
