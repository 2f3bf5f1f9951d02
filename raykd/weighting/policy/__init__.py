"""RL-KD's policy: its model and state, the weighting that acts by it, and the RLlib Learner that trains it."""
