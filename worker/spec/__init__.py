"""The job document: from text to a validated `JobSpec`. Pure computation, no I/O."""
