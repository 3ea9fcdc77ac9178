"""The laboratory: guest kernel, topology and nodes for the lab tests, the demo and the bench."""
