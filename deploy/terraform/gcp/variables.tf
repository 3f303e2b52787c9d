variable "project" {
  description = "Project of the buckets, where topics, subscriptions and the service account are made too."
  type        = string
}

variable "name" {
  description = "Name of topic, subscription and service account, and beginning of the names of the dead letters."
  type        = string
  default     = "ingestd-events"

  validation {
    condition     = can(regex("^[a-z](-?[a-z0-9]){5,29}$", var.name)) && length(var.name) <= 30
    error_message = "A service account's name is 6 to 30 lower-case letters, digits and single hyphens."
  }
}

variable "buckets" {
  description = "Buckets whose objects are to be read. Empty: only log sinks send."
  type        = list(string)
  default     = []
}

variable "sink_writers" {
  description = "Writer identities of log sinks that send to the topic, each with serviceAccount: before it."
  type        = list(string)
  default     = []
}

variable "routes" {
  description = "Which log types are under which beginning of an object's name; log entries have none and need an empty prefix."
  type        = list(object({ prefix = string, log_types = list(string) }))
}

variable "service_account_email" {
  description = "Service account that ingestd runs as. Empty: one is made, see the outputs."
  type        = string
  default     = ""
}

variable "workload_principals" {
  description = "Who may be the service account made here: principals of workload identity pools, each with its prefix."
  type        = list(string)
  default     = []
}

variable "labels" {
  description = "Labels of everything that can have some."
  type        = map(string)
  default     = {}
}
