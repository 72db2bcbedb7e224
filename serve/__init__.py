"""Online serving (Ray Serve). Empty until the endpoints are built."""
