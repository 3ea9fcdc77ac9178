"""Drives strongSwan's charon over VICI: brings wanted SAs up, and reports all SAs."""
