# As whom ingestd reads, and what it may: nothing but read blobs, work on one queue, and send to another.

resource "azurerm_user_assigned_identity" "this" {
  count = var.principal_id == "" ? 1 : 0

  name                = var.name
  resource_group_name = var.resource_group_name
  location            = data.azurerm_storage_account.logs.location
  tags                = var.tags
}

resource "azurerm_federated_identity_credential" "kubernetes" {
  count = var.principal_id == "" && var.kubernetes != null ? 1 : 0

  name                = var.name
  resource_group_name = var.resource_group_name
  parent_id           = azurerm_user_assigned_identity.this[0].id
  audience            = ["api://AzureADTokenExchange"]
  issuer              = var.kubernetes.issuer_url
  subject             = "system:serviceaccount:${var.kubernetes.namespace}:${var.kubernetes.service_account}"
}

locals {
  principal_id = var.principal_id == "" ? azurerm_user_assigned_identity.this[0].principal_id : var.principal_id
}

resource "azurerm_role_assignment" "read" {
  for_each = toset(length(var.containers) == 0 ? [local.account_id] : local.container_scope)

  scope                = each.value
  role_definition_name = "Storage Blob Data Reader"
  principal_id         = local.principal_id
}

# Message Processor would do but for one thing: it may not update a message, and a lease is extended by an update.
resource "azurerm_role_assignment" "receive" {
  scope                = local.queue_scope
  role_definition_name = "Storage Queue Data Contributor"
  principal_id         = local.principal_id
}

resource "azurerm_role_assignment" "poison" {
  scope                = local.poison_scope
  role_definition_name = "Storage Queue Data Message Sender"
  principal_id         = local.principal_id
}
