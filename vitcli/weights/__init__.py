"""Weights as files: safetensors, first weights, layouts."""
