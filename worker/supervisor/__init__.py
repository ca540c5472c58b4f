"""Supervision of a command: process tree, cgroup, container, signals, resource usage."""
