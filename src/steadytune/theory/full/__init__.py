"""Full fine-tuning: curvature of the loss, terms of the bound along the path, Taylor expansion."""
