"""Deployment of the service: images, monitoring, Kubernetes."""
