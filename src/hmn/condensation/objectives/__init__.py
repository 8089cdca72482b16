"""Objectives: how the generated images should change, one a file."""
