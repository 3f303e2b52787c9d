# As whom ingestd reads, and what it may: nothing but read objects, work on one subscription, and publish dead letters.

resource "google_service_account" "this" {
  count = var.service_account_email == "" ? 1 : 0

  project      = var.project
  account_id   = var.name
  display_name = "ingestd"
}

locals {
  email  = var.service_account_email == "" ? google_service_account.this[0].email : var.service_account_email
  member = "serviceAccount:${local.email}"
}

# Whoever is told to be this account: a pod by its workload identity pool, a workload of another cloud.
resource "google_service_account_iam_member" "workload" {
  for_each = var.service_account_email == "" ? toset(var.workload_principals) : toset([])

  service_account_id = google_service_account.this[0].name
  role               = "roles/iam.workloadIdentityUser"
  member             = each.value
}

resource "google_storage_bucket_iam_member" "read" {
  for_each = toset(var.buckets)

  bucket = each.value
  role   = "roles/storage.objectViewer"
  member = local.member
}
