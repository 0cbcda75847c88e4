"""How the admin writes times: to the second and with their zone, because operators compare them."""
