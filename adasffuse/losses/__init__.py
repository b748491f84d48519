"""Training losses: the paper's terms and differentiable forms of the metrics."""
