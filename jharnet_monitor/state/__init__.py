"""The state level: collects signed weekly results of the districts' hubs, and reports on them."""
