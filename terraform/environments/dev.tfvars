# Small and cheap: one zone, a small pool for the cluster's own pods, servers on Spot machines that are there only while a pod wants one.
environment         = "dev"
region              = "us-central1"
zones               = ["us-central1-a"]
gke_num_nodes       = 1
gke_max_nodes       = 3
machine_type        = "e2-standard-4"
spot                = true
spot_machine_type   = "n2-standard-8"
gpu_count           = 0
runs_kept_days      = 14
deletion_protection = false
monthly_budget      = 300
