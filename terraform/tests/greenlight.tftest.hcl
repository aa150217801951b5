# What must not be lost in a change, planned and applied against mocks. `make test-terraform` runs it.

mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
  mock_resource "google_service_account" {
    defaults = {
      email     = "mock@mock-project.iam.gserviceaccount.com"
      member    = "serviceAccount:mock@mock-project.iam.gserviceaccount.com"
      name      = "projects/mock-project/serviceAccounts/mock@mock-project.iam.gserviceaccount.com"
      unique_id = "100000000000000000001"
    }
  }
  mock_resource "google_project_iam_custom_role" {
    defaults = { name = "projects/mock-project/roles/mock" }
  }
  mock_resource "google_iam_workload_identity_pool" {
    defaults = { name = "projects/123456789012/locations/global/workloadIdentityPools/mock" }
  }
  mock_resource "google_compute_network" {
    defaults = { id = "projects/mock-project/global/networks/mock" }
  }
  mock_resource "google_compute_subnetwork" {
    defaults = { id = "projects/mock-project/regions/us-central1/subnetworks/mock" }
  }
}

mock_provider "google-beta" {
  mock_resource "google_project_service_identity" {
    defaults = { member = "serviceAccount:service-123456789012@gcp-sa-aiplatform.iam.gserviceaccount.com" }
  }
}

variables {
  project_id = "mock-project"
}

run "defaults" {
  command = apply

  assert {
    condition = (
      output.kubernetes_cluster_name == "greenlight-dev" && output.region == "us-central1" && output.project_id == "mock-project" &&
      output.model_storage_bucket == "mock-project-greenlight-dev-models"
    )
    error_message = "The outputs that existing users read must keep their names and meaning."
  }
  assert {
    condition     = output.target == "projects/mock-project/locations/us-central1/clusters/greenlight-dev"
    error_message = "target must be what `greenlight --target` takes."
  }
  assert {
    condition     = output.docker_registry == "us-central1-docker.pkg.dev/mock-project/greenlight-dev" && output.kfp_registry == "https://us-central1-kfp.pkg.dev/mock-project/greenlight-dev-pipelines"
    error_message = "The registries must be addressed as docker and KFP do."
  }
  assert {
    condition     = output.github == null && length(module.budget) == 0
    error_message = "No workflow and no budget unless they are asked for."
  }
  assert {
    condition     = toset(keys(module.cluster.pools)) == toset(["cpu"])
    error_message = "By default there is neither a GPU pool nor a Spot pool."
  }
}

run "network_is_closed" {
  command = apply
  module {
    source = "./modules/network"
  }
  variables {
    region = "us-central1"
    name   = "greenlight-dev"
  }
  assert {
    condition     = !google_compute_network.this.auto_create_subnetworks && google_compute_subnetwork.nodes.private_ip_google_access
    error_message = "The subnet must be ours alone and reach Google's APIs from within."
  }
  assert {
    condition     = google_compute_firewall.deny_ingress.direction == "INGRESS" && length(google_compute_firewall.deny_ingress.deny) == 1 && length(google_compute_firewall.deny_ingress.allow) == 0
    error_message = "Nothing may come in from outside."
  }
  assert {
    condition     = toset(google_compute_subnetwork.nodes.secondary_ip_range[*].range_name) == toset(["pods", "services"]) && output.pods_range == "pods" && output.services_range == "services"
    error_message = "Pods and Services need ranges of their own."
  }
}

run "cluster_is_private" {
  command = apply
  module {
    source = "./modules/cluster"
  }
  variables {
    region              = "us-central1"
    zones               = []
    name                = "greenlight-prod"
    labels              = {}
    network             = "projects/mock-project/global/networks/mock"
    subnetwork          = "projects/mock-project/regions/us-central1/subnetworks/mock"
    pods_range          = "pods"
    services_range      = "services"
    min_nodes           = 1
    max_nodes           = 4
    machine_type        = "n2-standard-8"
    spot                = true
    spot_machine_type   = "n2-standard-8"
    gpu_type            = "nvidia-l4"
    gpu_count           = 1
    gpu_machine_type    = "g2-standard-8"
    gpu_max_nodes       = 2
    gpu_spot            = true
    docker_repository   = { project = "mock-project", location = "us-central1", name = "greenlight-prod" }
    deletion_protection = true
  }

  assert {
    condition = (
      google_container_cluster.this.private_cluster_config[0].enable_private_nodes &&
      alltrue([for pool in google_container_node_pool.pool : pool.network_config[0].enable_private_nodes])
    )
    error_message = "No node may have an address outside."
  }
  assert {
    condition = (
      google_container_cluster.this.control_plane_endpoints_config[0].dns_endpoint_config[0].allow_external_traffic &&
      !google_container_cluster.this.control_plane_endpoints_config[0].ip_endpoints_config[0].enabled &&
      google_container_cluster.this.private_cluster_config[0].enable_private_endpoint
    )
    error_message = "The control plane must be reached by its DNS name, and by no IP address."
  }
  assert {
    condition = (
      google_container_cluster.this.workload_identity_config[0].workload_pool == "mock-project.svc.id.goog" &&
      alltrue([for pool in google_container_node_pool.pool : pool.node_config[0].workload_metadata_config[0].mode == "GKE_METADATA"]) &&
      google_container_cluster.this.node_config[0].workload_metadata_config[0].mode == "GKE_METADATA"
    )
    error_message = "Pods must have identities of their own on every pool."
  }
  assert {
    condition     = alltrue([for pool in google_container_node_pool.pool : pool.node_config[0].service_account == google_service_account.nodes.email])
    error_message = "No pool may run as the project's default account, which is an editor."
  }
  assert {
    condition     = google_project_iam_member.nodes.role == "roles/container.defaultNodeServiceAccount" && google_artifact_registry_repository_iam_member.nodes.role == "roles/artifactregistry.reader"
    error_message = "Nodes may write logs and metrics and pull images, and nothing else."
  }
  assert {
    condition = (
      google_container_cluster.this.gateway_api_config[0].channel == "CHANNEL_STANDARD" &&
      google_container_cluster.this.addons_config[0].gcs_fuse_csi_driver_config[0].enabled &&
      google_container_cluster.this.monitoring_config[0].managed_prometheus[0].enabled &&
      google_container_cluster.this.datapath_provider == "ADVANCED_DATAPATH"
    )
    error_message = "k8s/ needs the Gateway API, the GCS FUSE driver, Managed Prometheus, and a datapath that enforces NetworkPolicies."
  }
  assert {
    condition = (
      google_container_cluster.this.deletion_protection && google_container_cluster.this.remove_default_node_pool &&
      !google_container_cluster.this.enable_legacy_abac && !google_container_cluster.this.master_auth[0].client_certificate_config[0].issue_client_certificate
    )
    error_message = "No default pool, no ABAC, no client certificate, and no deletion by accident."
  }
  assert {
    condition     = google_container_node_pool.pool["cpu"].autoscaling[0].min_node_count == 1 && google_container_node_pool.pool["cpu"].autoscaling[0].max_node_count == 4 && !google_container_node_pool.pool["cpu"].node_config[0].spot
    error_message = "The CPU pool must grow from gke_num_nodes, on machines that stay."
  }
  assert {
    condition = (
      google_container_node_pool.pool["gpu"].autoscaling[0].min_node_count == 0 && google_container_node_pool.pool["gpu"].initial_node_count == 0 &&
      google_container_node_pool.pool["gpu"].node_config[0].guest_accelerator[0].type == "nvidia-l4" && google_container_node_pool.pool["gpu"].node_config[0].guest_accelerator[0].count == 1 &&
      google_container_node_pool.pool["gpu"].node_config[0].spot
    )
    error_message = "The GPU pool must start from 0 with gpu_count of gpu_type per node, on Spot where asked."
  }
  assert {
    condition = (
      google_container_node_pool.pool["spot"].autoscaling[0].min_node_count == 0 && google_container_node_pool.pool["spot"].node_config[0].spot &&
      google_container_node_pool.pool["spot"].node_config[0].taint[0].key == "cloud.google.com/gke-spot" && google_container_node_pool.pool["spot"].node_config[0].taint[0].value == "true" &&
      google_container_node_pool.pool["spot"].node_config[0].taint[0].effect == "NO_SCHEDULE"
    )
    error_message = "The Spot pool must start from 0 and carry the taint that k8s/overlays/dev tolerates."
  }
}

run "buckets_keep_what_is_lost" {
  command = apply
  module {
    source = "./modules/storage"
  }
  variables {
    region         = "us-central1"
    name           = "greenlight-dev"
    labels         = {}
    runs_kept_days = 90
    force_destroy  = false
  }
  assert {
    condition     = alltrue([for bucket in [google_storage_bucket.models, google_storage_bucket.runs] : bucket.versioning[0].enabled])
    error_message = "Buckets must keep versions."
  }
  assert {
    condition     = alltrue([for bucket in [google_storage_bucket.models, google_storage_bucket.runs] : bucket.public_access_prevention == "enforced" && bucket.uniform_bucket_level_access])
    error_message = "No object may be made public."
  }
  assert {
    condition     = alltrue([for rule in google_storage_bucket.models.lifecycle_rule : one(rule.action).type != "Delete" || one(rule.condition).with_state == "ARCHIVED"])
    error_message = "What is live lies in the bucket of the models: only old versions may expire there."
  }
  assert {
    condition     = anytrue([for rule in google_storage_bucket.runs.lifecycle_rule : one(rule.condition).age == 90 && one(rule.condition).with_state == "LIVE"])
    error_message = "Working files of runs must expire."
  }
  assert {
    condition     = !google_storage_bucket.models.force_destroy
    error_message = "A bucket that holds something must not be deleted by accident."
  }
}

run "roles_are_few" {
  command = apply
  module {
    source = "./modules/identity"
  }
  variables {
    name              = "greenlight-dev"
    environment       = "dev"
    project_number    = "123456789012"
    workload_pool     = "mock-project.svc.id.goog"
    namespace         = "llm-serving"
    models_bucket     = "models"
    runs_bucket       = "runs"
    docker_repository = { project = "mock-project", location = "us-central1", name = "greenlight-dev" }
    kfp_repository    = { project = "mock-project", location = "us-central1", name = "greenlight-dev-pipelines" }
  }
  assert {
    condition     = toset([for binding in google_project_iam_member.vertex : binding.role]) == toset(["roles/aiplatform.user", "roles/logging.logWriter"])
    error_message = "On the project the pipeline runs on Vertex and logs, and has no other role of Google's."
  }
  assert {
    condition     = toset(google_project_iam_custom_role.cluster_user.permissions) == toset(["container.clusters.get", "container.clusters.connect"])
    error_message = "To reach the cluster takes two permissions; what may be done in it is up to RBAC."
  }
  assert {
    condition = alltrue([
      for binding in google_storage_bucket_iam_member.this : binding.role == "roles/storage.objectViewer" if endswith(binding.member, "/ns/llm-serving/sa/llm-inference")
    ]) && length([for binding in google_storage_bucket_iam_member.this : binding if endswith(binding.member, "/ns/llm-serving/sa/llm-inference")]) == 2
    error_message = "Servers read models and change none."
  }
  assert {
    condition = [
      for binding in google_storage_bucket_iam_member.this : binding.bucket if endswith(binding.member, "/ns/llm-serving/sa/greenlight-benchmark")
    ] == ["models"]
    error_message = "The benchmark gets at the history and at nothing else."
  }
  assert {
    condition = alltrue([
      for binding in google_storage_bucket_iam_member.this : startswith(binding.member, "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/mock-project.svc.id.goog/subject/ns/llm-serving/sa/") ||
      binding.member == "principal://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/mock-project.svc.id.goog/subject/ns/kubeflow/sa/greenlight-pipeline" ||
      binding.member == google_service_account.pipeline.member
    ])
    error_message = "Buckets are open to four Kubernetes service accounts and the pipeline's, by name."
  }
  assert {
    condition     = google_artifact_registry_repository_iam_member.images.role == "roles/artifactregistry.reader"
    error_message = "The pipeline runs images and pushes none."
  }
}

run "workflows_come_without_keys" {
  command = apply
  module {
    source = "./modules/ci"
  }
  variables {
    name                     = "greenlight-prod"
    environment              = "prod"
    github_repository        = "example/greenlight"
    state_bucket             = "mock-state"
    docker_repository        = { project = "mock-project", location = "us-central1", name = "greenlight-prod" }
    pipeline_service_account = "projects/mock-project/serviceAccounts/pipeline@mock-project.iam.gserviceaccount.com"
    node_service_account     = "projects/mock-project/serviceAccounts/nodes@mock-project.iam.gserviceaccount.com"
  }
  assert {
    condition     = google_iam_workload_identity_pool_provider.github.attribute_condition == "assertion.repository == 'example/greenlight'"
    error_message = "One repository may come in."
  }
  assert {
    condition     = startswith(google_iam_workload_identity_pool_provider.github.attribute_mapping["attribute.job"], "assertion.event_name.startsWith('pull_request') ? 'pull-request'")
    error_message = "A pull request must never pass for anything else, whatever environment it names."
  }
  assert {
    condition = { for name, binding in google_service_account_iam_member.federation : name => element(split("/attribute.job/", binding.member), 1) } == {
      images = "main", plan_proposed = "pull-request", plan_merged = "main", apply = "environment-infrastructure-prod"
    }
    error_message = "A pull request plans and no more, main plans and pushes images, an approved environment applies."
  }
  assert {
    condition     = endswith(google_service_account_iam_member.deploy.member, "/attribute.job/environment-prod")
    error_message = "Only a job in the environment may deploy."
  }
  assert {
    condition = alltrue([for binding in google_project_iam_member.plan : can(regex("([vV]iewer|[rR]eader|[rR]eviewer|browser)$", binding.role))]) && (
      google_storage_bucket_iam_member.state["plan"].role == "roles/storage.objectViewer"
    )
    error_message = "A plan reads and changes nothing."
  }
  assert {
    condition = length(setintersection(
      [for binding in google_project_iam_member.apply : binding.role],
      ["roles/owner", "roles/editor", "roles/viewer", "roles/resourcemanager.projectIamAdmin", "roles/iam.serviceAccountAdmin", "roles/iam.serviceAccountKeyAdmin", "roles/iam.serviceAccountTokenCreator", "roles/iam.serviceAccountUser", "roles/iam.roleAdmin"],
    )) == 0
    error_message = "The workflow that applies must not be able to become anything else."
  }
}

run "all_on_request" {
  command = apply
  variables {
    gpu_count         = 1
    spot              = true
    github_repository = "example/greenlight"
    state_bucket      = "mock-state"
    billing_account   = "000000-AAAAAA-000000"
    monthly_budget    = 300
  }
  assert {
    condition     = toset(keys(output.github)) == toset(["WORKLOAD_IDENTITY_PROVIDER", "IMAGES_SERVICE_ACCOUNT", "PLAN_SERVICE_ACCOUNT", "APPLY_SERVICE_ACCOUNT"]) && length(module.budget) == 1
    error_message = "The workflows' variables must come out, and the budget must be made."
  }
  assert {
    condition     = toset(keys(module.cluster.pools)) == toset(["cpu", "gpu", "spot"]) && module.cluster.pools["gpu"].min == 0
    error_message = "gpu_count makes the GPU pool, spot the Spot pool."
  }
}

run "registries" {
  command = apply
  module {
    source = "./modules/registry"
  }
  variables {
    region = "us-central1"
    name   = "greenlight-dev"
    labels = {}
  }
  assert {
    condition     = google_artifact_registry_repository.docker.format == "DOCKER" && google_artifact_registry_repository.kfp.format == "KFP"
    error_message = "One repository for images, one for pipeline templates."
  }
  assert {
    condition = alltrue([
      for repository in [google_artifact_registry_repository.docker, google_artifact_registry_repository.kfp] :
      anytrue([for policy in repository.cleanup_policies : policy.action == "KEEP"]) && anytrue([for policy in repository.cleanup_policies : policy.action == "DELETE"])
    ])
    error_message = "Old versions must go, and the newest stay."
  }
}

# Values that are refused, every one of them. A rule about two values says nothing while one of them is wrong by itself, hence the second run.
run "wrong_values" {
  command = plan
  variables {
    project_id        = "My Project"
    region            = "us-central1-a"
    environment       = "Production"
    gke_num_nodes     = 0
    machine_type      = "g2-standard-8"
    gpu_type          = "l4"
    gpu_count         = 3
    gpu_max_nodes     = 0
    runs_kept_days    = 1
    github_repository = "https://github.com/example/greenlight"
    state_bucket      = "mock-state"
    billing_account   = "mine"
    monthly_budget    = 0
  }
  expect_failures = [
    var.project_id, var.region, var.environment, var.gke_num_nodes, var.machine_type, var.gpu_type, var.gpu_count,
    var.gpu_max_nodes, var.runs_kept_days, var.github_repository, var.billing_account, var.monthly_budget,
  ]
}

run "values_that_do_not_go_together" {
  command = plan
  variables {
    zones             = ["europe-west4-a"]
    gke_num_nodes     = 5
    gke_max_nodes     = 4
    gpu_count         = 1
    gpu_type          = "nvidia-tesla-t4"
    github_repository = "example/greenlight"
  }
  expect_failures = [var.zones, var.gke_max_nodes, var.gpu_machine_type, var.state_bucket]
}

run "alerts_are_the_files" {
  command = apply
  module {
    source = "./modules/monitoring"
  }
  variables {
    environment  = "prod"
    alert_emails = ["oncall@example.com"]
    daily_runs   = false
  }
  assert {
    condition     = toset(keys(google_monitoring_alert_policy.this)) == toset(["bake-failed", "errors-fast", "errors-slow", "gpu-memory", "latency-fast", "latency-slow", "no-ready-pods", "queue", "run-failed"])
    error_message = "Each file is a policy; that of missing runs is for daily schedules alone."
  }
  assert {
    condition     = alltrue([for policy in google_monitoring_alert_policy.this : length(policy.notification_channels) == 1 && strcontains(policy.documentation[0].content, "docs/monitoring.md#")])
    error_message = "Every alert is sent, and says what to do."
  }
  assert {
    condition     = google_monitoring_alert_policy.this["errors-fast"].conditions[0].condition_prometheus_query_language[0].duration == "120s" && google_monitoring_alert_policy.this["bake-failed"].conditions[0].condition_matched_log[0].filter != ""
    error_message = "Conditions are those of the files."
  }
  assert {
    condition     = length(jsondecode(google_monitoring_dashboard.this.dashboard_json).mosaicLayout.tiles) == 10
    error_message = "The dashboard is the file."
  }
}

run "daily_runs_are_missed" {
  command = apply
  module {
    source = "./modules/monitoring"
  }
  variables {
    environment  = "dev"
    alert_emails = []
    daily_runs   = true
  }
  assert {
    condition     = google_monitoring_alert_policy.this["run-missing"].conditions[0].condition_absent[0].duration == "82800s" && length(google_monitoring_alert_policy.this["queue"].notification_channels) == 0
    error_message = "A daily schedule is watched; without addresses nothing is sent."
  }
}
