"""The Kubernetes target: each color a Deployment, the stable endpoint a Service whose selector is
switched by one conditional write.
"""
