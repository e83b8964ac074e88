"""Which recipes will be unstable over seeds, from what one run or none gives; and whether that can be known at all."""
