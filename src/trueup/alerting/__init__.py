"""Alerts carried out: what is known of projections and databases, when somebody is told, and how it gets there."""
