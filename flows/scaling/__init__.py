"""A ladder of small trainings, the scaling law fitted to them, and what it predicts."""
