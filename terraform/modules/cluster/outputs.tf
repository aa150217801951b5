output "name" { value = google_container_cluster.this.name }
output "node_service_account_name" { value = google_service_account.nodes.name }

# Read from the cluster, so that bindings wait for it: the pool does not exist before the project's first cluster.
output "workload_pool" { value = one(google_container_cluster.this.workload_identity_config[*].workload_pool) }
output "pools" { value = local.pools }
