"""Programs that the host lends to a box: each is copied there as it stands, and needs the standard library only."""
