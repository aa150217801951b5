#!/usr/bin/env bash
# Take away all that terraform/bootstrap.sh made: pods, cluster, images, models and their history. Asks first.
#   terraform/destroy.sh PROJECT_ID [dev|prod] [--yes]
# In the environment: STATE_BUCKET, and whatever TF_VAR_… was set when it was made.
set -euo pipefail
cd "$(dirname "$0")/.."

yes='' words=()
for word in "$@"; do
  case $word in
    --yes) yes=1 ;;
    -*) echo "unknown option $word" >&2; exit 2 ;;
    *) words+=("$word") ;;
  esac
done
project=${words[0]:-} environment=${words[1]:-dev}
[ -n "$project" ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
[ -f "terraform/environments/$environment.tfvars" ] || { echo "there is no terraform/environments/$environment.tfvars" >&2; exit 2; }
state=${STATE_BUCKET:-$project-greenlight-state}
missing=''
for tool in gcloud terraform kubectl gke-gcloud-auth-plugin; do
  command -v "$tool" >/dev/null || missing+=" $tool"
done
[ -z "$missing" ] || { echo "not installed:$missing" >&2; exit 2; }

say() { printf '\n== %s\n' "$*"; }
terraform -chdir=terraform init -input=false -reconfigure -backend-config="bucket=$state" -backend-config="prefix=greenlight/$environment" >/dev/null
output() { terraform -chdir=terraform output -raw "$1" 2>/dev/null || true; }
cluster=$(output kubernetes_cluster_name) region=$(output region) bucket=$(output model_storage_bucket) root=$(output pipeline_root) registry=$(output docker_registry)
runs=${root#gs://} runs=${runs%%/*}

echo "This deletes, in project $project, environment $environment, for good:"
echo "  the cluster ${cluster:-(none)} and what is served by it"
echo "  every model, run and report in gs://${bucket:-(none)} and gs://${runs:-(none)}, old versions too"
echo "  every image in ${registry:-(none)}, and the pipeline templates"
echo "  the network, the service accounts and their roles"
if [ -z "$yes" ]; then
  read -rp "Type the project's id to go on: " answer || answer=
  [ "$answer" = "$project" ] || { echo "nothing was deleted"; exit 1; }
fi

if [ -n "$cluster" ]; then
  say "Serving"
  folder=.greenlight/cloud/$project/$environment
  mkdir -p "$folder"
  export KUBECONFIG=$PWD/$folder/kubeconfig
  # Load balancers that the cluster made are not in the state of terraform, and would keep the network from going: the cluster must take them away itself.
  if gcloud container clusters get-credentials "$cluster" --location "$region" --project "$project" --dns-endpoint; then
    kubectl -n llm-serving patch cronjob llm-inference-recover -p '{"spec": {"suspend": true}}' || true # it would bring them up again
    kubectl -n llm-serving scale deployment --all --replicas 0 || true
    kubectl delete namespace llm-serving --ignore-not-found --timeout 15m
  else
    echo "the cluster does not answer: load balancers that it made may be left"
  fi
fi

say "Protection off"
terraform -chdir=terraform apply -input=false -auto-approve -var-file="environments/$environment.tfvars" -var "project_id=$project" -var deletion_protection=false

say "Buckets"
for name in $bucket $runs; do # many times faster than terraform, which deletes object by object
  gcloud storage rm --recursive --all-versions "gs://$name/**" || echo "gs://$name is empty"
done

say "Everything else, the images with their repositories"
terraform -chdir=terraform destroy -input=false -auto-approve -var-file="environments/$environment.tfvars" -var "project_id=$project" -var deletion_protection=false

say "What is left"
echo "gs://$state, the state: \`gcloud storage rm --recursive gs://$state\` once nothing else of yours has its state there"
echo "the APIs that were enabled, which cost nothing; logs and metrics until they expire"
echo "the federation's pool and the custom role, deleted but kept by Google for 30 and 7 days: within those, \`undelete\` them before the same name can be made again"
left=$(gcloud compute disks list --project "$project" --filter "labels.goog-k8s-cluster-name=${cluster:-none}" --format 'value(name)' || true)
[ -z "$left" ] || echo "disks: $left"
left=$(gcloud compute forwarding-rules list --project "$project" --format 'value(name)' || true)
[ -z "$left" ] || echo "load balancers of this project, ours or others': $left"
