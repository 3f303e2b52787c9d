variable "name" {
  description = "Name of the source in ingestd, and the beginning of the names of everything made here."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,47}$", var.name))
    error_message = "Letters, digits, \"_\" and \"-\", 48 at most."
  }
}

variable "bucket" {
  description = "Name of the bucket that holds the logs. It has to be there, in this region."
  type        = string
}

variable "prefix" {
  description = "Only objects whose key starts with this are announced, and may be read."
  type        = string
  default     = ""
}

variable "suffix" {
  description = "Only objects whose key ends with this are announced."
  type        = string
  default     = ""
}

variable "log_types" {
  description = "What may be in the objects, e.g. [\"AWS.CloudTrail\"]. Empty: every known log type is tried."
  type        = list(string)
  default     = []
}

variable "manage_notification" {
  description = "Whether to set the bucket's notification. Terraform then owns all of it: set false for a bucket that notifies others too, and add the topic to that configuration."
  type        = bool
  default     = true
}

variable "object_key_arns" {
  description = "ARNs of the KMS keys with which the objects are encrypted. Their key policies have to let this account's IAM policies decide."
  type        = list(string)
  default     = []
}

variable "trusted_principals" {
  description = "ARNs of the principals that may assume the role: the account, role or user as which ingestd runs."
  type        = list(string)

  validation {
    condition     = length(var.trusted_principals) > 0 && !contains(var.trusted_principals, "*")
    error_message = "At least one, and never everybody (\"*\")."
  }
}

variable "external_id" {
  description = "What has to be presented to assume the role: a random text that only you and ingestd know."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@:/_-]{16,}$", var.external_id))
    error_message = "16 characters or more, of letters, digits and + = , . @ : / _ -"
  }
}

variable "external_id_reference" {
  description = "How ingestd finds the external id; it is never written into its configuration."
  type        = string
  default     = "{env: INGESTD_EXTERNAL_ID}"
}

variable "verify_digests" {
  description = "Whether CloudTrail's digest files are to be verified, which needs the trail's public keys."
  type        = bool
  default     = false
}

variable "lease_secs" {
  description = "Visibility timeout of the queue; ingestd asks for its own lease with each receive."
  type        = number
  default     = 300
}

variable "max_receive_count" {
  description = "A backstop: ingestd counts its own failures, and kills and restarts use up receives too."
  type        = number
  default     = 100

  validation {
    condition     = var.max_receive_count >= 50 && var.max_receive_count <= 1000
    error_message = "Between 50 and 1000: with fewer, restarts would set good messages aside."
  }
}

variable "max_age_secs" {
  description = "An alarm is raised when the oldest message has waited for so long."
  type        = number
  default     = 3600
}

variable "alarm_actions" {
  description = "ARNs told of alarms, e.g. a topic."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of everything made here."
  type        = map(string)
  default     = {}
}
