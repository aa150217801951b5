# Vertex AI, and its service agent: a schedule starts its runs when nobody is there, so the agent must be let to act as the pipeline's account.

terraform {
  required_providers {
    google-beta = {
      source = "hashicorp/google-beta"
    }
  }
}

variable "project_id" { type = string }
variable "pipeline_service_account" { type = string }

resource "google_project_service" "aiplatform" {
  project            = var.project_id
  service            = "aiplatform.googleapis.com"
  disable_on_destroy = false
}

# Made by Google at the first use otherwise, and IAM refuses a member that does not exist yet.
resource "google_project_service_identity" "aiplatform" {
  provider = google-beta
  project  = var.project_id
  service  = google_project_service.aiplatform.service
}

resource "google_service_account_iam_member" "schedules" {
  service_account_id = var.pipeline_service_account
  role               = "roles/iam.serviceAccountUser"
  member             = google_project_service_identity.aiplatform.member
}
