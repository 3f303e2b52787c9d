# What is written to buckets, on its way to ingestd:
#
#   bucket ──► topic ──► subscription ──► ingestd, by roles
#                             └─────────► dead-letter topic and its subscription

data "google_storage_project_service_account" "this" {
  project = var.project
}

data "google_project" "this" {
  project_id = var.project
}

locals {
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

# --- events ---

resource "google_pubsub_topic" "events" {
  project = var.project
  name    = var.name
  labels  = var.labels
}

# Whoever may publish here chooses what is read: nobody but Cloud Storage, and the log sinks that are named.
resource "google_pubsub_topic_iam_binding" "publish" {
  project = var.project
  topic   = google_pubsub_topic.events.name
  role    = "roles/pubsub.publisher"
  members = concat(
    ["serviceAccount:${data.google_storage_project_service_account.this.email_address}"],
    var.sink_writers,
  )
}

resource "google_storage_notification" "this" {
  for_each = toset(var.buckets)

  bucket         = each.value
  topic          = google_pubsub_topic.events.id
  payload_format = "JSON_API_V1"
  event_types    = ["OBJECT_FINALIZE"]

  depends_on = [google_pubsub_topic_iam_binding.publish]
}

resource "google_pubsub_subscription" "events" {
  project                    = var.project
  name                       = var.name
  topic                      = google_pubsub_topic.events.id
  ack_deadline_seconds       = 60 # until ingestd sets its own
  message_retention_duration = "604800s"
  labels                     = var.labels

  expiration_policy {
    ttl = "" # never: a subscription that nobody reads for a month is deleted otherwise
  }

  # For what kills whoever reads it. Restarts count as deliveries, so this is the highest that there is.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead.id
    max_delivery_attempts = 100
  }
}

# --- what cannot be worked on ---

resource "google_pubsub_topic" "dead" {
  project = var.project
  name    = "${var.name}-dead"
  labels  = var.labels
}

resource "google_pubsub_subscription" "dead" {
  project                    = var.project
  name                       = "${var.name}-dead"
  topic                      = google_pubsub_topic.dead.id
  message_retention_duration = "604800s"
  labels                     = var.labels

  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_topic_iam_binding" "dead" {
  project = var.project
  topic   = google_pubsub_topic.dead.name
  role    = "roles/pubsub.publisher"
  members = [local.pubsub_agent, local.member]
}

# Pub/Sub itself moves messages to the dead letters, and acknowledges them.
resource "google_pubsub_subscription_iam_binding" "receive" {
  project      = var.project
  subscription = google_pubsub_subscription.events.name
  role         = "roles/pubsub.subscriber"
  members      = [local.pubsub_agent, local.member]
}
