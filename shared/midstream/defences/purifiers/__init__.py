"""Generative defences: a network, pretrained on Dval, remakes each image."""
