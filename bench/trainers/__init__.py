"""What runs in a process of its own for one measurement: our stage, the peers, the probe and the score."""
