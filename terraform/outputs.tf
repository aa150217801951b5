output "kubernetes_cluster_name" {
  description = "Name of the GKE cluster."
  value       = module.cluster.name
}

output "region" {
  description = "Region of all resources."
  value       = var.region
}

output "project_id" {
  description = "Google Cloud project of all resources."
  value       = var.project_id
}

output "model_storage_bucket" {
  description = "Bucket of the models and the history: `--history gs://BUCKET/greenlight`."
  value       = module.storage.models_bucket
}

output "pipeline_root" {
  description = "gs:// prefix where runs on Vertex AI keep their files."
  value       = "gs://${module.storage.runs_bucket}/runs"
}

output "target" {
  description = "Value for `greenlight --target`, which names this cluster."
  value       = "projects/${var.project_id}/locations/${var.region}/clusters/${module.cluster.name}"
}

output "docker_registry" {
  description = "Registry that images are pushed to: the REGION-docker.pkg.dev/PROJECT/greenlight of k8s/overlays."
  value       = module.registry.docker_url
}

output "kfp_registry" {
  description = "Registry that pipeline templates are uploaded to."
  value       = module.registry.kfp_url
}

output "pipeline_service_account" {
  description = "Service account that runs on Vertex AI work as. Bind it, and its unique id, to the Role greenlight-pipeline: docs/cloud.md."
  value       = module.identity.pipeline_service_account
}

output "pipeline_service_account_unique_id" {
  description = "Unique id of the service account that runs on Vertex AI work as. Kubernetes sees it instead of the e-mail address when a token has no email scope."
  value       = module.identity.pipeline_service_account_unique_id
}

output "github" {
  description = "The variables that the workflows read. Null without github_repository."
  value       = one(module.ci[*].variables)
}
