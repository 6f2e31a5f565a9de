"""What the three stages that align a model share: records, templates, training with checkpoints, sampled answers."""
