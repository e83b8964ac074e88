"""Many RunSpecs: what is missing, who does it, and what is told meanwhile."""
