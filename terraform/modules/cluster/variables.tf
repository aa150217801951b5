variable "project_id" { type = string }
variable "region" { type = string }
variable "zones" { type = list(string) }
variable "name" { type = string }
variable "labels" { type = map(string) }
variable "network" { type = string }
variable "subnetwork" { type = string }
variable "pods_range" { type = string }
variable "services_range" { type = string }
variable "min_nodes" { type = number }
variable "max_nodes" { type = number }
variable "machine_type" { type = string }
variable "spot" { type = bool }
variable "spot_machine_type" { type = string }
variable "gpu_type" { type = string }
variable "gpu_count" { type = number }
variable "gpu_machine_type" { type = string }
variable "gpu_max_nodes" { type = number }
variable "gpu_spot" { type = bool }
variable "docker_repository" {
  description = "The repository whose images the nodes pull: project, location and name."
  type        = object({ project = string, location = string, name = string })
}
variable "deletion_protection" { type = bool }
