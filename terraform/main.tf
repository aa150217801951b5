# The cloud that Greenlight runs in, a module a concern. What runs in the cluster is in ../k8s, applied by kubectl.

locals {
  name   = "greenlight-${var.environment}"
  labels = { app = "greenlight", environment = var.environment, managed-by = "terraform" }
  # As in ../k8s/base: a binding names a Kubernetes service account by these, and a wrong name is refused by nobody.
  namespace = "llm-serving"
}

resource "google_project_service" "api" {
  for_each = toset([
    "artifactregistry.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "compute.googleapis.com",
    "container.googleapis.com",
    "containerscanning.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "storage.googleapis.com",
    "sts.googleapis.com",
  ])
  project            = var.project_id
  service            = each.key
  disable_on_destroy = false # others in the project may use it
}

data "google_project" "this" {
  project_id = var.project_id
  depends_on = [google_project_service.api]
}

module "network" {
  source     = "./modules/network"
  project_id = var.project_id
  region     = var.region
  name       = local.name
  depends_on = [google_project_service.api]
}

module "registry" {
  source     = "./modules/registry"
  project_id = var.project_id
  region     = var.region
  name       = local.name
  labels     = local.labels
  depends_on = [google_project_service.api]
}

module "storage" {
  source         = "./modules/storage"
  project_id     = var.project_id
  region         = var.region
  name           = local.name
  labels         = local.labels
  runs_kept_days = var.runs_kept_days
  force_destroy  = !var.deletion_protection
  depends_on     = [google_project_service.api]
}

module "cluster" {
  source              = "./modules/cluster"
  project_id          = var.project_id
  region              = var.region
  zones               = var.zones
  name                = local.name
  labels              = local.labels
  network             = module.network.network
  subnetwork          = module.network.subnetwork
  pods_range          = module.network.pods_range
  services_range      = module.network.services_range
  min_nodes           = var.gke_num_nodes
  max_nodes           = var.gke_max_nodes
  machine_type        = var.machine_type
  spot                = var.spot
  spot_machine_type   = coalesce(var.spot_machine_type, var.machine_type)
  gpu_type            = var.gpu_type
  gpu_count           = var.gpu_count
  gpu_machine_type    = var.gpu_machine_type
  gpu_max_nodes       = var.gpu_max_nodes
  gpu_spot            = var.gpu_spot
  docker_repository   = module.registry.docker_repository
  deletion_protection = var.deletion_protection
}

module "identity" {
  source            = "./modules/identity"
  project_id        = var.project_id
  name              = local.name
  environment       = var.environment
  project_number    = data.google_project.this.number
  workload_pool     = module.cluster.workload_pool
  namespace         = local.namespace
  models_bucket     = module.storage.models_bucket
  runs_bucket       = module.storage.runs_bucket
  docker_repository = module.registry.docker_repository
  kfp_repository    = module.registry.kfp_repository
}

module "vertex" {
  source                   = "./modules/vertex"
  project_id               = var.project_id
  pipeline_service_account = module.identity.pipeline_service_account_name
  depends_on               = [google_project_service.api]
}

module "ci" {
  source                   = "./modules/ci"
  count                    = var.github_repository == "" ? 0 : 1
  project_id               = var.project_id
  name                     = local.name
  environment              = var.environment
  github_repository        = var.github_repository
  state_bucket             = var.state_bucket
  docker_repository        = module.registry.docker_repository
  pipeline_service_account = module.identity.pipeline_service_account_name
  node_service_account     = module.cluster.node_service_account_name
  depends_on               = [google_project_service.api]
}

module "monitoring" {
  source       = "./modules/monitoring"
  project_id   = var.project_id
  environment  = var.environment
  alert_emails = var.alert_emails
  daily_runs   = var.daily_runs
  depends_on   = [google_project_service.api]
}

module "budget" {
  source          = "./modules/budget"
  count           = var.billing_account == "" ? 0 : 1
  billing_account = var.billing_account
  project_number  = data.google_project.this.number
  name            = local.name
  amount          = var.monthly_budget
}
