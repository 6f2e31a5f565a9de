"""The stack on Kubernetes: kustomize's base and overlays, and the work pool whose job template requests GPUs."""
