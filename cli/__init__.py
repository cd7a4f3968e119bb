"""`maitred` and `maitred-broker`: the global options in `global_options`, each command in a file of its name."""
