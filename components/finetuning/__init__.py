"""What the fine-tuning stages share: records, templates, training with checkpoints, sampled answers, scores."""
