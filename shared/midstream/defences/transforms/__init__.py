"""Defences that transform the images and need no training."""
