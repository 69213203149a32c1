"""Utilisation: what the router's interface carried, by SNMP."""
