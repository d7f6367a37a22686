"""Raw files and services, each read into one xarray Dataset per data set."""
