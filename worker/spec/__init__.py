"""What was asked for: the job document, parsed and checked. Nothing here awaits or does I/O."""
