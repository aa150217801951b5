output "kubernetes_cluster_name" {
  description = "Name of the GKE cluster."
  value       = module.cluster.name
}

output "region" {
  description = "Region of everything."
  value       = var.region
}

output "project_id" {
  description = "Project of everything."
  value       = var.project_id
}

output "model_storage_bucket" {
  description = "Bucket of the models and the history: `--history gs://BUCKET/greenlight`."
  value       = module.storage.models_bucket
}

output "pipeline_root" {
  description = "Where Vertex puts the files of its runs."
  value       = "gs://${module.storage.runs_bucket}/runs"
}

output "target" {
  description = "The cluster as `greenlight --target` takes it."
  value       = "projects/${var.project_id}/locations/${var.region}/clusters/${module.cluster.name}"
}

output "docker_registry" {
  description = "Where images go: the REGION-docker.pkg.dev/PROJECT/greenlight of k8s/overlays."
  value       = module.registry.docker_url
}

output "kfp_registry" {
  description = "Where pipeline templates go."
  value       = module.registry.kfp_url
}

output "pipeline_service_account" {
  description = "Account that runs on Vertex work as. Bind it, and its unique id, to the Role greenlight-pipeline: docs/cloud.md."
  value       = module.identity.pipeline_service_account
}

output "pipeline_service_account_unique_id" {
  description = "Its number: Kubernetes sees that instead of the address where a token carries no email scope."
  value       = module.identity.pipeline_service_account_unique_id
}

output "github" {
  description = "The variables that the workflows read. Null without github_repository."
  value       = one(module.ci[*].variables)
}
