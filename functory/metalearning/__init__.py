"""Inner solvers, the outer loop, and the fit of whole data sets."""
