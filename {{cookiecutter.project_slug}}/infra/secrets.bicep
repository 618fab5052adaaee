// Secrets of the key vault. Its names allow no underscore: SECRET_KEY is kept as secret-key.

param vaultName string
@secure()
param values object

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: vaultName
}

resource secrets 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = [for item in items(values): {
  parent: vault
  name: toLower(replace(item.key, '_', '-'))
  properties: {
    value: item.value
  }
}]
