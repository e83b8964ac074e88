"""Studies of the theory as pages: figures, and what is predicted beside what is seen."""
