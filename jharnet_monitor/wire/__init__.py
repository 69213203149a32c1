"""Communication between our own programs: the hub-agent protocol and the API's client."""
