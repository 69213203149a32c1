"""Utilisation: the traffic on the router's interface, by SNMP."""
