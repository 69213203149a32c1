"""The whole product on one machine: a district whose truth is known, measured and reported."""
