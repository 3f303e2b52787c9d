terraform {
  required_version = ">= 1.5"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = ">= 4.60" # `storage_account_id` of queues, `source_resource_id` of topics
    }
  }
}
