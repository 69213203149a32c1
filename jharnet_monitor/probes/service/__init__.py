"""The service probe: how long a web service takes from the office, and from headquarters."""
