"""What the trainers of all components share: schedules, checkpoints, pruning."""
