"""What is timed, each a process of its own that ends with one line of JSON."""
