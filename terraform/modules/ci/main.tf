# GitHub's workflows come without keys: GitHub signs who they are, and Google takes that for one repository. What a job may become follows from what it is:
#   a pull request                         plans the infrastructure, read-only
#   main, environment infrastructure-ENV   applies it, once a person has approved
#   main                                   builds and pushes images, and plans once more
#   main, environment ENV                  deploys models, once a person has approved where that is asked for

variable "project_id" { type = string }
variable "name" { type = string }
variable "environment" { type = string }
variable "github_repository" { type = string }
variable "state_bucket" { type = string }
variable "docker_repository" { type = object({ project = string, location = string, name = string }) }
variable "pipeline_service_account" { type = string }
variable "node_service_account" { type = string }

resource "google_iam_workload_identity_pool" "github" {
  project                   = var.project_id
  workload_identity_pool_id = "${var.name}-github"
  display_name              = "${var.name} GitHub"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  #checkov:skip=CKV_GCP_125:The condition below names the repository; checkov reads literals only, and it is a variable here
  project                            = var.project_id
  workload_identity_pool_id          = google_iam_workload_identity_pool.github.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"
  # Without it every repository of GitHub could come in.
  attribute_condition = "assertion.repository == '${var.github_repository}'"
  attribute_mapping = {
    "google.subject" = "assertion.sub"
    # One word that says what a job is. Pull requests come first: their code is not approved, whatever environment they name.
    "attribute.job" = "assertion.event_name.startsWith('pull_request') ? 'pull-request' : assertion.ref != 'refs/heads/main' ? 'branch' : has(assertion.environment) ? 'environment-' + assertion.environment : 'main'"
  }
  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

locals {
  job = {
    for job in ["pull-request", "main", "environment-${var.environment}", "environment-infrastructure-${var.environment}"] : job =>
    "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.github.name}/attribute.job/${job}"
  }
  accounts = {
    images = "push images"
    plan   = "plan the infrastructure"
    apply  = "apply the infrastructure"
  }
  # Who may become which account. A plan is read twice: before it is merged, and before it is approved.
  federation = {
    images        = { account = "images", job = "main" }
    plan_proposed = { account = "plan", job = "pull-request" }
    plan_merged   = { account = "plan", job = "main" }
    apply         = { account = "apply", job = "environment-infrastructure-${var.environment}" }
  }
}

locals {
  readers = ["roles/browser", "roles/iam.roleViewer", "roles/iam.securityReviewer", "roles/iam.serviceAccountViewer", "roles/iam.workloadIdentityPoolViewer"]
}

resource "google_service_account" "this" {
  for_each     = local.accounts
  project      = var.project_id
  account_id   = "${var.name}-${each.key}"
  display_name = "Greenlight workflows: ${each.value}"
}

resource "google_service_account_iam_member" "federation" {
  for_each           = local.federation
  service_account_id = google_service_account.this[each.value.account].name
  role               = "roles/iam.workloadIdentityUser"
  member             = local.job[each.value.job]
}

# A deployment is a run of the pipeline, and may do just what that may.
resource "google_service_account_iam_member" "deploy" {
  service_account_id = var.pipeline_service_account
  role               = "roles/iam.workloadIdentityUser"
  member             = local.job["environment-${var.environment}"]
}

resource "google_artifact_registry_repository_iam_member" "images" {
  project    = var.docker_repository.project
  location   = var.docker_repository.location
  repository = var.docker_repository.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.this["images"].member
}

resource "google_storage_bucket_iam_member" "state" {
  for_each = { plan = "roles/storage.objectViewer", apply = "roles/storage.objectUser" }
  bucket   = var.state_bucket
  role     = each.value
  member   = google_service_account.this[each.key].member
}

# A plan reads the resources that are managed here and their policies, and no object and no secret. (roles/viewer would read much else of the project.)
resource "google_project_iam_member" "plan" {
  for_each = toset(concat(local.readers, [
    "roles/artifactregistry.reader",
    "roles/compute.viewer",
    "roles/container.clusterViewer",
    "roles/serviceusage.serviceUsageViewer",
    "roles/storage.bucketViewer",
  ]))
  project = var.project_id
  role    = each.key
  member  = google_service_account.this["plan"].member
}

# It changes the network, the cluster, the buckets and the registries. It can neither make accounts nor give roles on the project: whoever can do that can become
# anything, so a change of modules/identity or modules/ci is applied by a person, and fails here.
resource "google_project_iam_member" "apply" {
  for_each = toset(concat(local.readers, [
    "roles/artifactregistry.admin",
    "roles/compute.networkAdmin",
    "roles/compute.securityAdmin", # firewall rules
    "roles/container.clusterAdmin",
    "roles/serviceusage.serviceUsageAdmin",
    "roles/storage.admin",
  ]))
  project = var.project_id
  role    = each.key
  member  = google_service_account.this["apply"].member
}

# Nodes get their account on behalf of who makes the pool.
resource "google_service_account_iam_member" "apply_nodes" {
  service_account_id = var.node_service_account
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.this["apply"].member
}

output "variables" {
  value = {
    WORKLOAD_IDENTITY_PROVIDER = google_iam_workload_identity_pool_provider.github.name
    IMAGES_SERVICE_ACCOUNT     = google_service_account.this["images"].email
    PLAN_SERVICE_ACCOUNT       = google_service_account.this["plan"].email
    APPLY_SERVICE_ACCOUNT      = google_service_account.this["apply"].email
  }
}
