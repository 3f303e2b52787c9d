variable "name" {
  description = "Name of the queue, and beginning of the names of everything else: lower case, digits and single hyphens."
  type        = string
  default     = "ingestd-blob-events"

  validation {
    condition     = can(regex("^[a-z0-9](-?[a-z0-9]){2,50}$", var.name))
    error_message = "A queue's name is 3 to 52 lower-case letters, digits and single hyphens."
  }
}

variable "resource_group_name" {
  description = "Resource group of the storage account, where the rest is made too."
  type        = string
}

variable "storage_account_name" {
  description = "Storage account whose blobs are to be read. It holds the queues too."
  type        = string
}

variable "containers" {
  description = "Containers to read, e.g. insights-logs-signinlogs. Empty: every container of the account."
  type        = list(string)
  default     = []
}

variable "routes" {
  description = "Which log types are under which prefix: container and beginning of the blob's name."
  type        = list(object({ prefix = string, log_types = list(string) }))
}

variable "system_topic_name" {
  description = "Event Grid system topic of the account, where there is one already: an account can have no second. Empty: one is made."
  type        = string
  default     = ""
}

variable "principal_id" {
  description = "Object id of the identity that ingestd runs as. Empty: a managed identity is made, see the outputs."
  type        = string
  default     = ""
}

variable "kubernetes" {
  description = "Issuer, namespace and service account of the cluster that ingestd runs in, for the managed identity made here. Empty: none."
  type        = object({ issuer_url = string, namespace = string, service_account = string })
  default     = null
}

variable "action_group_ids" {
  description = "Action groups that are told when events were dropped before they reached the queue."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of everything that can have some."
  type        = map(string)
  default     = {}
}
