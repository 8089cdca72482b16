"""Labelled images: the types that everything trains on, and the readers of data sets."""
