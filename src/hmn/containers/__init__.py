"""Containers: learned sources of images whose size can be counted."""

from hmn.containers.base import Container
from hmn.containers.hmn import Hmn

__all__ = ["Container", "Hmn"]
