"""Repos, branches, commits, trees and blobs. Plain blocking code; nothing here awaits."""
