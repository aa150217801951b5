"""The Kubernetes manifests, as package data: applied by hand with `kubectl apply -k`, read by
rollout/ as parsed objects. See README.md here.
"""
