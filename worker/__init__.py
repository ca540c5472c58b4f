"""A job-runner agent for data pipelines whose code speaks S3."""

__version__ = "0.1.0"
