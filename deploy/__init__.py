"""What a promoted model is served with."""
