"""What `tools/test` adds to pytest: the checks beside the tests, the branch floor, the times."""
