# Three zones, so that the loss of one leaves servers in two, and GPUs from 0. Nothing on Spot: a node that is taken back cuts streams.
environment         = "prod"
region              = "us-central1"
gke_num_nodes       = 1
gke_max_nodes       = 6
machine_type        = "n2-standard-8"
spot                = false
gpu_type            = "nvidia-l4"
gpu_count           = 1
gpu_machine_type    = "g2-standard-8"
gpu_max_nodes       = 4
gpu_spot            = false
runs_kept_days      = 90
deletion_protection = true
monthly_budget      = 3000
