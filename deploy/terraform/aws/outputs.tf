output "source_yml" {
  description = "A file for sources.d: terraform output -raw source_yml > /etc/ingestd/sources.d/NAME.yml"
  value       = <<-EOT
    # Made by Terraform for the bucket ${var.bucket}. The external id is read from where `external_id` says.
    sources:
      ${var.name}:
        type: aws_sqs
        queue_url: ${aws_sqs_queue.this.url}
        dead_letter_queue_url: ${aws_sqs_queue.dead_letters.url}
        region: ${data.aws_region.this.name}
        lease_secs: ${var.lease_secs}
        assume_role:
          arn: ${aws_iam_role.this.arn}
          external_id: ${var.external_id_reference}
        routes:
          - prefix: ${jsonencode(var.prefix)}
            log_types: ${jsonencode(var.log_types)}
  EOT
}

output "queue_url" {
  description = "The queue that ingestd receives from."
  value       = aws_sqs_queue.this.url
}

output "dead_letter_queue_url" {
  description = "The queue for what was set aside."
  value       = aws_sqs_queue.dead_letters.url
}

output "topic_arn" {
  description = "The topic that the bucket notifies: to be added to the bucket's notification when it is not managed here."
  value       = aws_sns_topic.this.arn
}

output "role_arn" {
  description = "The role as which ingestd reads."
  value       = aws_iam_role.this.arn
}
