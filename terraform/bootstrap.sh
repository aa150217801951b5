#!/usr/bin/env bash
# From an empty project to a first gated promotion on GKE. What is there already is kept, so that it can be run again after whatever stopped it.
#   terraform/bootstrap.sh PROJECT_ID [dev|prod] [--yes]
# In the environment: OVERLAY (cpu, gpu or dev; default: dev for dev, gpu for prod), STATE_BUCKET, and whatever TF_VAR_… sets.
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
overlay=${OVERLAY:-$([ "$environment" = dev ] && echo dev || echo gpu)}
[ -d "k8s/overlays/$overlay" ] || { echo "OVERLAY is $overlay, and k8s/overlays has no such folder" >&2; exit 2; }
state=${STATE_BUCKET:-$project-greenlight-state}

builder=docker
docker info >/dev/null 2>&1 || builder=buildah
missing=''
for tool in gcloud terraform kubectl gke-gcloud-auth-plugin "$builder" make; do
  command -v "$tool" >/dev/null || missing+=" $tool"
done
[ -z "$missing" ] || { echo "not installed:$missing" >&2; exit 2; }
gcloud auth application-default print-access-token >/dev/null 2>&1 || { echo 'nobody is signed in: run `gcloud auth login` and `gcloud auth application-default login`' >&2; exit 2; }

say() { printf '\n== %s\n' "$*"; }
echo "Project $project, environment $environment, overlay $overlay, state in gs://$state."
echo "This makes a network, a GKE cluster, buckets and registries, which cost money until \`make destroy\`: docs/cloud.md says how much."
if [ -z "$yes" ]; then
  read -rp "Go on? [y/N] " answer || answer=
  [ "$answer" = y ] || { echo "nothing was done"; exit 1; }
fi

say "State"
region=$(sed -nE 's/^region *= *"(.*)"/\1/p' "terraform/environments/$environment.tfvars")
region=${TF_VAR_region:-$region}
gcloud services enable storage.googleapis.com cloudresourcemanager.googleapis.com serviceusage.googleapis.com --project "$project"
gcloud storage buckets describe "gs://$state" >/dev/null 2>&1 ||
  gcloud storage buckets create "gs://$state" --project "$project" --location "$region" --uniform-bucket-level-access --public-access-prevention
gcloud storage buckets update "gs://$state" --versioning # a state that is overwritten by mistake can be had back

say "Infrastructure (15 to 25 minutes the first time)"
terraform -chdir=terraform init -input=false -reconfigure -backend-config="bucket=$state" -backend-config="prefix=greenlight/$environment"
terraform -chdir=terraform apply -input=false -auto-approve -var-file="environments/$environment.tfvars" -var "project_id=$project"
output() { terraform -chdir=terraform output -raw "$1"; }
registry=$(output docker_registry) bucket=$(output model_storage_bucket) target=$(output target) cluster=$(output kubernetes_cluster_name)
account=$(output pipeline_service_account) number=$(output pipeline_service_account_unique_id)

say "Images"
kind=cpu
[ "$overlay" != gpu ] || kind=gpu
make "$([ $kind = cpu ] && echo image || echo image-gpu)"
"$builder" build --file Dockerfile.components --tag greenlight-components:0.1.0 .
gcloud auth print-access-token | "$builder" login --username oauth2accesstoken --password-stdin "https://${registry%%/*}"
# Prints the digest: what is deployed is named by it, and not by a tag that may move.
push() { # local tag, remote name
  "$builder" tag "$1" "$2" >&2
  "$builder" push "$2" >&2
  gcloud artifacts docker images describe "$2" --format 'value(image_summary.digest)'
}
serving=$(push "greenlight-serving:0.1.0-$kind" "$registry/serving:0.1.0-$kind")
components=$(push greenlight-components:0.1.0 "$registry/components:0.1.0")

say "Manifests"
folder=.greenlight/cloud/$project/$environment # ignored by git
mkdir -p "$folder"
export KUBECONFIG=$PWD/$folder/kubeconfig # yours stays as it is
gcloud container clusters get-credentials "$cluster" --location "$region" --project "$project" --dns-endpoint
cat > "$folder/kustomization.yaml" <<EOF
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../../../../k8s/overlays/$overlay]
images: # by the names that the overlay gives them
  - {name: REGION-docker.pkg.dev/PROJECT/greenlight/serving, newName: $registry/serving, digest: $serving}
  - {name: REGION-docker.pkg.dev/PROJECT/greenlight/components, newName: $registry/components, digest: $components}
EOF
kubectl apply -k "$folder"
# A pipeline on Vertex or in a workflow is a Google account to the cluster: by its address, or by its number where its token has no email scope.
kubectl -n llm-serving create rolebinding greenlight-pipeline-google --role greenlight-pipeline --user "$account" --user "$number" --dry-run=client -o yaml |
  kubectl apply -f -

say "A first promotion"
make install
on_cluster=(--target "$target" --namespace llm-serving --history "gs://$bucket/greenlight")
if [ "$kind" = cpu ]; then
  # The image without torch cannot serve the baseline, so what is live first is a quantized model.
  live=$(.venv/bin/greenlight status --target "$target" --namespace llm-serving --json | .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)["live"] or "")')
  if [ -z "$live" ]; then
    .venv/bin/greenlight download --model-id builtin:tiny --output-path "$folder/baseline"
    .venv/bin/greenlight quantize --input-model "$folder/baseline" --output-model "$folder/int8" --method optimum --bits 8
    .venv/bin/greenlight deploy --model-path "$folder/int8" --auto-switch "${on_cluster[@]}"
  fi
  method=(--method optimum --bits 8)
else
  method=(--method gptq --bits 8)
fi
verdict=0
.venv/bin/greenlight run --model builtin:tiny "${method[@]}" --gate quick "${on_cluster[@]}" || verdict=$?
case $verdict in
  0 | 3) ;; # the gate has judged, whichever way
  *) exit $verdict ;;
esac

say "Done"
echo "greenlight status --target $target --namespace llm-serving"
echo "KUBECONFIG=$KUBECONFIG kubectl -n llm-serving get pods"
echo "It costs money until \`make destroy PROJECT_ID=$project ENVIRONMENT=$environment\`."
