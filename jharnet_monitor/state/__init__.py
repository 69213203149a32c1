"""The state above the districts: signed weeks of their hubs, one table, one report."""
