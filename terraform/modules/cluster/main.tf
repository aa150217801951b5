# A private cluster: nodes without addresses outside, and a control plane that answers by its DNS name alone, where Google's IAM stands before it. Vertex
# steps, workflows and people reach it from anywhere without a way into the network, and a stranger gets no further than IAM.

resource "google_container_cluster" "this" {
  #checkov:skip=CKV_GCP_12:NetworkPolicies are enforced by Dataplane V2 (datapath_provider); the add-on this asks for is what it replaced
  #checkov:skip=CKV_GCP_20:There is no IP endpoint for which networks could be authorized: access is by DNS name and IAM
  #checkov:skip=CKV_GCP_65:Google Groups need a Workspace domain; accounts are bound one by one in k8s/base/rbac.yaml
  #checkov:skip=CKV_GCP_66:Binary Authorization needs attestors of its own; images are signed by the images workflow and referenced by digest
  #checkov:skip=CKV_GCP_69:The node pools below set GKE_METADATA; the default pool is removed
  project  = var.project_id
  name     = var.name
  location = var.region # the control plane lies in three zones, whatever the nodes do

  node_locations           = length(var.zones) > 0 ? var.zones : null # null, and not none: then Google picks
  remove_default_node_pool = true
  initial_node_count       = 1
  deletion_protection      = var.deletion_protection
  resource_labels          = var.labels

  network           = var.network
  subnetwork        = var.subnetwork
  networking_mode   = "VPC_NATIVE"
  datapath_provider = "ADVANCED_DATAPATH" # enforces k8s/base/networkpolicy.yaml; without it those are only words

  enable_intranode_visibility = true
  enable_shielded_nodes       = true
  enable_legacy_abac          = false

  ip_allocation_policy {
    cluster_secondary_range_name  = var.pods_range
    services_secondary_range_name = var.services_range
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = true # follows from the endpoints below; unsaid, every plan would want to change it
  }
  control_plane_endpoints_config {
    dns_endpoint_config {
      allow_external_traffic = true
    }
    ip_endpoints_config {
      enabled = false
    }
  }

  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }
  workload_identity_config {
    workload_pool = "${var.project_id}.svc.id.goog"
  }

  gateway_api_config {
    channel = "CHANNEL_STANDARD"
  }
  addons_config {
    gcs_fuse_csi_driver_config {
      enabled = true
    }
    horizontal_pod_autoscaling {
      disabled = false
    }
    http_load_balancing {
      disabled = false # the Gateway's controller
    }
    dns_cache_config {
      enabled = true
    }
  }
  vertical_pod_autoscaling {
    enabled = true # recommends; nothing in k8s/ lets it change pods
  }

  logging_config {
    enable_components = ["SYSTEM_COMPONENTS", "WORKLOADS"]
  }
  monitoring_config {
    enable_components = ["SYSTEM_COMPONENTS", "POD", "DEPLOYMENT", "HPA"]
    managed_prometheus {
      enabled = true
    }
  }
  cost_management_config {
    enabled = true # what each namespace costs, on the bill
  }
  security_posture_config {
    mode = "BASIC" # images are scanned where they lie, in the registry
  }

  release_channel {
    channel = "REGULAR"
  }
  # Upgrades drain nodes, and a drain under a benchmark spoils it: on weekend nights only. GKE wants 48 hours of window in any 32 days.
  maintenance_policy {
    recurring_window {
      start_time = "2026-01-03T00:00:00Z"
      end_time   = "2026-01-03T08:00:00Z"
      recurrence = "FREQ=WEEKLY;BYDAY=SA,SU"
    }
  }

  # The default pool lives for minutes, and yet with the least that a node may be.
  node_config {
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }
  lifecycle {
    ignore_changes = [node_config, initial_node_count] # of a pool that is gone
  }

  depends_on = [google_project_iam_member.nodes]
}

locals {
  # Every pool alike but for these. `min` and `max` are nodes a zone.
  pools = merge(
    { cpu = { machine_type = var.machine_type, min = var.min_nodes, max = var.max_nodes, spot = false, gpus = 0, taint = false, disk_gb = 100 } },
    # Tainted, so that only what says it can bear it (k8s/overlays/dev) gets there.
    var.spot ? { spot = { machine_type = var.spot_machine_type, min = 0, max = var.max_nodes, spot = true, gpus = 0, taint = true, disk_gb = 100 } } : {},
    # GKE taints GPU nodes itself. The disk holds vLLM's image, 40 GB of model and its caches.
    var.gpu_count > 0 ? {
      gpu = { machine_type = var.gpu_machine_type, min = 0, max = var.gpu_max_nodes, spot = var.gpu_spot, gpus = var.gpu_count, taint = false, disk_gb = 200 }
    } : {},
  )
}

resource "google_container_node_pool" "pool" {
  for_each = local.pools

  project            = var.project_id
  name               = each.key
  cluster            = google_container_cluster.this.name
  location           = var.region
  initial_node_count = each.value.min

  autoscaling {
    min_node_count = each.value.min
    max_node_count = each.value.max
    # A GPU is taken where there is one; else zones are kept even.
    location_policy = each.value.gpus > 0 || each.value.spot ? "ANY" : "BALANCED"
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  # A new node first where that is cheap; where the quota has no GPU to spare, the old one first.
  upgrade_settings {
    max_surge       = each.value.gpus > 0 ? 0 : 1
    max_unavailable = each.value.gpus > 0 ? 1 : 0
  }
  network_config {
    enable_private_nodes = true
  }

  node_config {
    machine_type    = each.value.machine_type
    spot            = each.value.spot
    image_type      = "COS_CONTAINERD"
    disk_type       = "pd-balanced"
    disk_size_gb    = each.value.disk_gb
    service_account = google_service_account.nodes.email
    # The scope is wide and the account narrow: IAM alone decides.
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels          = { pool = each.key }
    resource_labels = var.labels
    metadata        = { disable-legacy-endpoints = "true" }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
    workload_metadata_config {
      mode = "GKE_METADATA" # pods get their own identity, never the node's
    }
    gcfs_config {
      enabled = true # image streaming: a pod starts before all of a 10 GB image is there
    }
    dynamic "guest_accelerator" {
      for_each = each.value.gpus > 0 ? [each.value.gpus] : []
      content {
        type  = var.gpu_type
        count = guest_accelerator.value
        gpu_driver_installation_config {
          gpu_driver_version = "DEFAULT"
        }
      }
    }
    dynamic "taint" {
      for_each = each.value.taint ? ["true"] : []
      content {
        key    = "cloud.google.com/gke-spot"
        value  = taint.value
        effect = "NO_SCHEDULE"
      }
    }
  }
  lifecycle {
    ignore_changes = [initial_node_count] # the autoscaler's from then on; a change would make the pool anew
  }
}

resource "google_service_account" "nodes" {
  project      = var.project_id
  account_id   = "${var.name}-nodes"
  display_name = "Greenlight nodes: logs, metrics, and pulling images"
}

resource "google_project_iam_member" "nodes" {
  project = var.project_id
  role    = "roles/container.defaultNodeServiceAccount" # what GKE says a node needs at least
  member  = google_service_account.nodes.member
}

resource "google_artifact_registry_repository_iam_member" "nodes" {
  project    = var.docker_repository.project
  location   = var.docker_repository.location
  repository = var.docker_repository.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.nodes.member
}
