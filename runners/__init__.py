"""What trains: data, splits, samplers, models, the solo and the fleet runner, metrics and records."""
