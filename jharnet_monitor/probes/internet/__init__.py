"""The bandwidth probe's way to the Internet: speedtest-cli in a process of its own."""
