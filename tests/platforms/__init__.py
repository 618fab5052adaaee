"""Deployment files, turned into components and run as their platform would run them."""
