terraform {
  required_version = ">= 1.9" # validations that look at other variables

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
    # For one resource, that makes Vertex AI's service agent: modules/vertex.
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "~> 6.50"
    }
  }

  # Bucket and prefix come with `terraform init -backend-config=…`: a backend takes no variables, and every installation has its own bucket.
  backend "gcs" {}
}

provider "google" {
  project = var.project_id
  region  = var.region
}
