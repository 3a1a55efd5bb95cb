"""Configuration, read by Hydra as `pkg://mien.conf`."""
