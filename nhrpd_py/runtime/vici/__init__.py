"""strongSwan's charon, driven over VICI: SAs that are wanted, SAs that there are."""
