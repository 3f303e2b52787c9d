output "source_yml" {
  description = "The source, ready to be written to sources.d/."
  value = yamlencode({
    sources = {
      (var.name) = {
        type              = "gcp_pubsub"
        subscription      = google_pubsub_subscription.events.id
        dead_letter_topic = google_pubsub_topic.dead.id
        routes            = [for route in var.routes : { prefix = route.prefix, log_types = route.log_types }]
      }
    }
  })
}

output "service_account_email" {
  description = "Service account that the roles were given to: the annotation of the pod's, or `impersonate`."
  value       = local.email
}

output "topic" {
  description = "Topic for the destinations of log sinks, after pubsub.googleapis.com/."
  value       = google_pubsub_topic.events.id
}
