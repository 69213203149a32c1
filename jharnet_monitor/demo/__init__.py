"""The demo: the whole product on one machine, measuring a district whose links are known."""
