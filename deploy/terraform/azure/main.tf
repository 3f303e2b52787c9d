# What happens to an account's blobs, on its way to ingestd:
#
#   blobs ──► system topic ──► queue ──► ingestd, by roles
#                                └─────► poison queue

data "azurerm_storage_account" "logs" {
  name                = var.storage_account_name
  resource_group_name = var.resource_group_name
}

locals {
  account_id      = data.azurerm_storage_account.logs.id
  poison_name     = "${var.name}-poison"
  queue_scope     = "${local.account_id}/queueServices/default/queues/${azurerm_storage_queue.events.name}"
  poison_scope    = "${local.account_id}/queueServices/default/queues/${azurerm_storage_queue.poison.name}"
  container_scope = [for name in var.containers : "${local.account_id}/blobServices/default/containers/${name}"]
}

# --- queues ---

resource "azurerm_storage_queue" "events" {
  name               = var.name
  storage_account_id = local.account_id
}

resource "azurerm_storage_queue" "poison" {
  name               = local.poison_name
  storage_account_id = local.account_id
}

# --- events ---

resource "azurerm_eventgrid_system_topic" "this" {
  count = var.system_topic_name == "" ? 1 : 0

  name                = var.name
  resource_group_name = var.resource_group_name
  location            = data.azurerm_storage_account.logs.location
  source_resource_id  = local.account_id
  topic_type          = "Microsoft.Storage.StorageAccounts"
  tags                = var.tags
}

resource "azurerm_eventgrid_system_topic_event_subscription" "this" {
  name                  = var.name
  system_topic          = var.system_topic_name == "" ? azurerm_eventgrid_system_topic.this[0].name : var.system_topic_name
  resource_group_name   = var.resource_group_name
  event_delivery_schema = "CloudEventSchemaV1_0"

  # What was written, what was renamed to its final name, what came back from the archive.
  included_event_types = [
    "Microsoft.Storage.BlobCreated",
    "Microsoft.Storage.BlobRenamed",
    "Microsoft.Storage.BlobTierChanged",
  ]

  storage_queue_endpoint {
    storage_account_id                    = local.account_id
    queue_name                            = azurerm_storage_queue.events.name
    queue_message_time_to_live_in_seconds = -1 # by default a message is gone after a week, read or not
  }

  dynamic "advanced_filter" {
    for_each = length(var.containers) == 0 ? [] : [1]

    content {
      string_begins_with {
        key    = "subject"
        values = [for name in var.containers : "/blobServices/default/containers/${name}/"]
      }
    }
  }

  retry_policy {
    max_delivery_attempts = 30
    event_time_to_live    = 1440
  }
}
