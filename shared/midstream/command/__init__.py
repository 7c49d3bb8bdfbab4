"""The commands. They compose the services, which never import each other."""
