"""The configuration: YAML files, one a choice, and the dataclasses that check them."""
