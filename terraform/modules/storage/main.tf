# Two buckets. `models` holds the history and the models, what is live among them: nothing there expires but old versions. `runs` holds the working files of
# Vertex runs, which do.

variable "project_id" { type = string }
variable "region" { type = string }
variable "name" { type = string }
variable "labels" { type = map(string) }
variable "runs_kept_days" { type = number }
variable "force_destroy" { type = bool }

resource "google_storage_bucket" "models" {
  #checkov:skip=CKV_GCP_62:Who reads and writes is in Cloud Audit Logs, once data access logs are on; logs of usage would need a bucket that is open to Google's writer
  project                     = var.project_id
  name                        = "${var.project_id}-${var.name}-models" # a bucket's name is the whole world's; the project's id makes it ours
  location                    = var.region
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.force_destroy
  labels                      = var.labels

  # What is overwritten or deleted by mistake is there for a month.
  versioning {
    enabled = true
  }
  soft_delete_policy {
    retention_duration_seconds = 0 # versions are the second chance; both would be paid twice
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
  }
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }
}

resource "google_storage_bucket" "runs" {
  #checkov:skip=CKV_GCP_62:As for the models
  project                     = var.project_id
  name                        = "${var.project_id}-${var.name}-runs"
  location                    = var.region
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = var.force_destroy
  labels                      = var.labels

  versioning {
    enabled = true
  }
  soft_delete_policy {
    retention_duration_seconds = 0
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = var.runs_kept_days
      matches_prefix = ["runs/"]
      with_state     = "LIVE"
    }
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 7
      with_state                 = "ARCHIVED"
    }
  }
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }
}

output "models_bucket" { value = google_storage_bucket.models.name }
output "runs_bucket" { value = google_storage_bucket.runs.name }
