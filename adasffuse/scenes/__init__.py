"""Rendered scenes with a known truth: night streets, glare, head phantoms."""
