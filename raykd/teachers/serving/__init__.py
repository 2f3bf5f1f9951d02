"""Serving soft targets: a service actor per teacher, its replicas, the store, and the student's client."""
