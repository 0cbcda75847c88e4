"""Time formats of the admin: to the second and with the zone, because operators compare times."""
