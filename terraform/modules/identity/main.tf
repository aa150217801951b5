# Who may do what. In the cluster a pod is its Kubernetes service account, to which Google gives roles directly: no Google account stands in between, no
# annotation has to fit, and there is no key. Pipelines on Vertex AI are no pods of ours, so they have a Google service account.

variable "project_id" { type = string }
variable "name" { type = string }
variable "environment" { type = string }
variable "project_number" { type = string }
variable "workload_pool" { type = string }
variable "namespace" { type = string }
variable "models_bucket" { type = string }
variable "runs_bucket" { type = string }
variable "docker_repository" { type = object({ project = string, location = string, name = string }) }
variable "kfp_repository" { type = object({ project = string, location = string, name = string }) }

locals {
  pod = {
    for name in ["llm-inference", "greenlight-benchmark", "greenlight-pipeline"] : name =>
    "principal://iam.googleapis.com/projects/${var.project_number}/locations/global/workloadIdentityPools/${var.workload_pool}/subject/ns/${var.namespace}/sa/${name}"
  }
  # Steps as pods of Kubeflow Pipelines, where that is installed: k8s/kubeflow.
  kubeflow = "principal://iam.googleapis.com/projects/${var.project_number}/locations/global/workloadIdentityPools/${var.workload_pool}/subject/ns/kubeflow/sa/greenlight-pipeline"
  # Servers read models, from where the history keeps them and from where Vertex left them. A benchmark reads its order and leaves its samples beside it.
  bucket_roles = {
    serving_models   = { bucket = var.models_bucket, role = "roles/storage.objectViewer", member = local.pod["llm-inference"] }
    serving_runs     = { bucket = var.runs_bucket, role = "roles/storage.objectViewer", member = local.pod["llm-inference"] }
    benchmark_models = { bucket = var.models_bucket, role = "roles/storage.objectUser", member = local.pod["greenlight-benchmark"] }
    pod_models       = { bucket = var.models_bucket, role = "roles/storage.objectUser", member = local.pod["greenlight-pipeline"] }
    pod_runs         = { bucket = var.runs_bucket, role = "roles/storage.objectUser", member = local.pod["greenlight-pipeline"] }
    kubeflow_models  = { bucket = var.models_bucket, role = "roles/storage.objectUser", member = local.kubeflow }
    kubeflow_runs    = { bucket = var.runs_bucket, role = "roles/storage.objectUser", member = local.kubeflow }
    vertex_models    = { bucket = var.models_bucket, role = "roles/storage.objectUser", member = google_service_account.pipeline.member }
    vertex_runs      = { bucket = var.runs_bucket, role = "roles/storage.objectUser", member = google_service_account.pipeline.member }
    # Vertex looks whether the bucket of a pipeline root is there before it starts a run.
    vertex_bucket = { bucket = var.runs_bucket, role = "roles/storage.bucketViewer", member = google_service_account.pipeline.member }
  }
}

resource "google_service_account" "pipeline" {
  project      = var.project_id
  account_id   = "${var.name}-pipeline"
  display_name = "Greenlight pipeline on Vertex AI"
}

resource "google_storage_bucket_iam_member" "this" {
  for_each = local.bucket_roles
  bucket   = each.value.bucket
  role     = each.value.role
  member   = each.value.member
}

resource "google_artifact_registry_repository_iam_member" "images" {
  project    = var.docker_repository.project
  location   = var.docker_repository.location
  repository = var.docker_repository.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.pipeline.member
}

resource "google_artifact_registry_repository_iam_member" "templates" {
  project    = var.kfp_repository.project
  location   = var.kfp_repository.location
  repository = var.kfp_repository.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.pipeline.member
}

# Find the cluster and get through its DNS endpoint, and not one permission on what is in it: that is the Role greenlight-pipeline of k8s/base/rbac.yaml.
# Google's smallest role for this also reads all objects of all clusters.
resource "google_project_iam_custom_role" "cluster_user" {
  project     = var.project_id
  role_id     = "greenlight_${var.environment}_cluster_user"
  title       = "Greenlight ${var.environment}: reach the cluster"
  description = "Find a GKE cluster and connect to its DNS-based endpoint. What may be done there is up to its RBAC."
  permissions = ["container.clusters.get", "container.clusters.connect"]
}

resource "google_project_iam_member" "cluster" {
  project = var.project_id
  role    = google_project_iam_custom_role.cluster_user.name
  member  = google_service_account.pipeline.member
}

# Vertex has no finer place to give these than the project.
resource "google_project_iam_member" "vertex" {
  for_each = toset(["roles/aiplatform.user", "roles/logging.logWriter"])
  project  = var.project_id
  role     = each.key
  member   = google_service_account.pipeline.member
}

# Who starts a run as this account must be let to act as it, also when that is the account itself.
resource "google_service_account_iam_member" "self" {
  service_account_id = google_service_account.pipeline.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.pipeline.member
}

output "pipeline_service_account" { value = google_service_account.pipeline.email }
output "pipeline_service_account_name" { value = google_service_account.pipeline.name }
output "pipeline_service_account_unique_id" { value = google_service_account.pipeline.unique_id }
