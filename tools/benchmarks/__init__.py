"""The benchmark: our daemon and FRR's under the same load, one after the other in one kernel."""
