"""Where images come from, looked at before the engine sees them: names, registries, manifests, archives, the shelf."""
