"""The Internet route of the bandwidth probe: speedtest-cli in a process of its own."""

COUNTS_HEADER = "X-Jharnet-Speedtest"
"""Header of a speed-test server that counts the bytes of each run (`lab.speedtest_server`)."""
