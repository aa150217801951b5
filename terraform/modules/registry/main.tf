# Two repositories: images, and pipeline templates. What is referenced is a digest, so a tag may move; the digest that is live must never be cleaned away.

variable "project_id" { type = string }
variable "region" { type = string }
variable "name" { type = string }
variable "labels" { type = map(string) }

resource "google_artifact_registry_repository" "docker" {
  #checkov:skip=CKV_GCP_84:Google's own encryption; a key of one's own adds a key that must not be lost, and the images hold no secret
  project       = var.project_id
  location      = var.region
  repository_id = var.name
  format        = "DOCKER"
  description   = "Greenlight's images"
  labels        = var.labels

  cleanup_policy_dry_run = false
  # Images that a release has pushed are tagged with its commit and stay. Left-overs of builds have no tag.
  cleanup_policies {
    id     = "delete-untagged"
    action = "DELETE"
    condition {
      tag_state  = "UNTAGGED"
      older_than = "2592000s" # 30 days
    }
  }
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      tag_state  = "ANY"
      older_than = "31536000s" # a year: longer than any release stays live here
    }
  }
  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 20
    }
  }
  vulnerability_scanning_config {
    enablement_config = "INHERITED"
  }
}

resource "google_artifact_registry_repository" "kfp" {
  #checkov:skip=CKV_GCP_84:As for the images
  project       = var.project_id
  location      = var.region
  repository_id = "${var.name}-pipelines"
  format        = "KFP"
  description   = "Greenlight's pipeline templates"
  labels        = var.labels

  cleanup_policy_dry_run = false
  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      tag_state  = "ANY"
      older_than = "31536000s"
    }
  }
  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"
    most_recent_versions {
      keep_count = 20
    }
  }
}

output "docker_repository" {
  value = { project = var.project_id, location = var.region, name = google_artifact_registry_repository.docker.repository_id }
}
output "kfp_repository" {
  value = { project = var.project_id, location = var.region, name = google_artifact_registry_repository.kfp.repository_id }
}
output "docker_url" { value = "${var.region}-docker.pkg.dev/${var.project_id}/${google_artifact_registry_repository.docker.repository_id}" }
output "kfp_url" { value = "https://${var.region}-kfp.pkg.dev/${var.project_id}/${google_artifact_registry_repository.kfp.repository_id}" }
