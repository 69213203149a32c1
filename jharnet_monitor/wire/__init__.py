"""What crosses the network between our own programs: the hub-agent protocol, the API's client."""
