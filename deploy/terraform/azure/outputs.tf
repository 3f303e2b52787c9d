output "source_yml" {
  description = "The source, ready to be written to sources.d/."
  value = yamlencode({
    sources = {
      (var.name) = {
        type         = "azure_queue"
        account_url  = trimsuffix(data.azurerm_storage_account.logs.primary_queue_endpoint, "/")
        queue        = azurerm_storage_queue.events.name
        poison_queue = azurerm_storage_queue.poison.name
        routes       = [for route in var.routes : { prefix = route.prefix, log_types = route.log_types }]
      }
    }
  })
}

output "client_id" {
  description = "Client id of the managed identity made here: AZURE_CLIENT_ID, or the annotation of the service account. Empty where an identity was given."
  value       = var.principal_id == "" ? azurerm_user_assigned_identity.this[0].client_id : ""
}

output "principal_id" {
  description = "Object id of the identity that the roles were given to."
  value       = local.principal_id
}
