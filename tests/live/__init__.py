"""Whole runs on real databases while an application keeps writing."""
