"""Containers: learned sources of images whose size can be counted. A file here that defines one adds it."""
