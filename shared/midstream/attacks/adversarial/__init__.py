"""Attacks that make adversarial examples of the live model, batch by batch."""
