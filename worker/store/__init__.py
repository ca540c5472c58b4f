"""Versioned storage: repos, branches, commits, trees and blobs. Blocking code; nothing awaits."""
