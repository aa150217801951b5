# Each message says what is wrong and what to write instead. What Google refuses late, after minutes, is refused here at once.

variable "project_id" {
  description = "Google Cloud project that all resources are created in."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be the project's id (6 to 30 lower-case letters, digits and hyphens), not its name or number. `gcloud projects list` shows it."
  }
}

variable "region" {
  description = "Region of the cluster, the buckets, the registries and the pipelines."
  type        = string
  default     = "us-central1"
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region must be a region such as us-central1, not a zone such as us-central1-a. Name zones in `zones`."
  }
}

variable "zones" {
  description = "Zones of the region that get nodes. Empty: three that Google picks. One zone costs a third and is gone when the zone is."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for zone in var.zones : startswith(zone, "${var.region}-")])
    error_message = "zones must all lie in region, for example [\"us-central1-a\"] for us-central1."
  }
}

variable "environment" {
  description = "Name of this installation; it starts the names of what is made, so that dev and prod may share a project."
  type        = string
  default     = "dev"
  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,7}$", var.environment))
    error_message = "environment must be 2 to 8 lower-case letters and digits, such as dev or prod: it becomes part of names that may hold 30 characters."
  }
}

variable "gke_num_nodes" {
  description = "Nodes per zone that the CPU pool starts with and never goes below."
  type        = number
  default     = 1
  validation {
    condition     = var.gke_num_nodes >= 1 && floor(var.gke_num_nodes) == var.gke_num_nodes
    error_message = "gke_num_nodes must be a whole number from 1: the cluster's own pods need a node. To spend nothing, destroy it."
  }
}

variable "gke_max_nodes" {
  description = "Nodes per zone that the CPU pool grows to. A rollout runs both colors and a benchmark at the same time."
  type        = number
  default     = 4
  validation {
    condition     = var.gke_max_nodes >= var.gke_num_nodes && floor(var.gke_max_nodes) == var.gke_max_nodes
    error_message = "gke_max_nodes must be a whole number and at least gke_num_nodes."
  }
}

variable "machine_type" {
  description = "Machine of the CPU pool. k8s/overlays/cpu is sized for one server per n2-standard-8."
  type        = string
  default     = "n2-standard-8"
  validation {
    condition     = can(regex("^[a-z][a-z0-9]*-[a-z]+(-[0-9]+)?(-[a-z]+)?$", var.machine_type)) && !can(regex("^(a2|a3|a4|g2|g4)-", var.machine_type))
    error_message = "machine_type must be a machine without GPUs, such as n2-standard-8. The GPU pool's is gpu_machine_type."
  }
}

variable "spot" {
  description = "Add a pool of Spot machines, from 0, for k8s/overlays/dev. Google takes them back whenever it likes; nothing else runs there."
  type        = bool
  default     = false
}

variable "spot_machine_type" {
  description = "Machine of the Spot pool. Empty: that of the CPU pool."
  type        = string
  default     = ""
}

variable "gpu_type" {
  description = "GPU of the GPU pool, as GKE names it. k8s/overlays/gpu asks for nvidia-l4."
  type        = string
  default     = "nvidia-l4"
  validation {
    condition     = startswith(var.gpu_type, "nvidia-")
    error_message = "gpu_type must be GKE's name of a GPU, such as nvidia-l4, nvidia-tesla-t4 or nvidia-a100-80gb. `gcloud compute accelerator-types list` has those of your zones."
  }
}

variable "gpu_count" {
  description = "GPUs per node of the GPU pool. 0: no such pool."
  type        = number
  default     = 0
  validation {
    condition     = contains([0, 1, 2, 4, 8, 16], var.gpu_count)
    error_message = "gpu_count is GPUs per node and must be 0 (no GPU pool), 1, 2, 4, 8 or 16, as the machine has them. How many nodes: gpu_max_nodes."
  }
}

variable "gpu_machine_type" {
  description = "Machine of the GPU pool. It must have gpu_count of gpu_type: g2-standard-8 has one L4."
  type        = string
  default     = "g2-standard-8"
  validation {
    condition     = var.gpu_count == 0 || !startswith(var.gpu_machine_type, "g2-") || var.gpu_type == "nvidia-l4"
    error_message = "gpu_machine_type g2-… has nvidia-l4 and no other GPU. Use a2-… for A100, a3-… for H100, n1-… for T4 and V100."
  }
}

variable "gpu_max_nodes" {
  description = "Nodes per zone that the GPU pool grows to, from 0. Two colors that run at the same time need two GPUs, and as much quota."
  type        = number
  default     = 2
  validation {
    condition     = var.gpu_max_nodes >= 1 && floor(var.gpu_max_nodes) == var.gpu_max_nodes
    error_message = "gpu_max_nodes must be a whole number from 1. For no GPU pool set gpu_count = 0."
  }
}

variable "gpu_spot" {
  description = "Make the GPU pool of Spot machines: a third of the price or less, and streams are cut when one is taken back."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Refuse to delete the cluster and buckets that hold something. `make destroy` turns it off after asking."
  type        = bool
  default     = true
}

variable "runs_kept_days" {
  description = "Days that the working files of Vertex runs are kept. The history and what is live lie in the bucket of the models, which nothing expires."
  type        = number
  default     = 90
  validation {
    condition     = var.runs_kept_days >= 7
    error_message = "runs_kept_days must be at least 7: a run that is resumed or rolled back needs its files."
  }
}

variable "github_repository" {
  description = "Repository whose workflows may work here, without keys, as owner/name. Empty: none."
  type        = string
  default     = ""
  validation {
    condition     = var.github_repository == "" || can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github_repository))
    error_message = "github_repository must be owner/name, such as example/greenlight, without https:// and .git."
  }
}

variable "state_bucket" {
  description = "Bucket of this configuration's state, which the terraform workflow reads and writes. Needed with github_repository."
  type        = string
  default     = ""
  validation {
    condition     = var.github_repository == "" || var.state_bucket != ""
    error_message = "state_bucket must be named with github_repository, so that the workflow's accounts get at it and at nothing else. It is the bucket of `terraform init -backend-config=bucket=…`."
  }
}

variable "billing_account" {
  description = "Billing account of the budget, such as 000000-AAAAAA-000000. Empty: no budget."
  type        = string
  default     = ""
  validation {
    condition     = var.billing_account == "" || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account must look like 000000-AAAAAA-000000. `gcloud billing accounts list` shows it."
  }
}

variable "monthly_budget" {
  description = "Budget per month, in the currency of the billing account. Mail is sent when half, nine tenths and all of it are spent. It stops nothing."
  type        = number
  default     = 500
  validation {
    condition     = var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "monthly_budget must be a whole amount from 1."
  }
}

variable "alert_emails" {
  description = "Who is told when something is wrong. Empty: alerts are seen in the console alone."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:]]+$", address))])
    error_message = "alert_emails must be addresses such as [\"oncall@example.com\"]."
  }
}

variable "daily_runs" {
  description = "A schedule runs the pipeline every day: alert when none has ended for 23 hours."
  type        = bool
  default     = false
}
