"""What runs the service: images, monitoring, a cluster."""
