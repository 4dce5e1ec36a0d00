"""Eyes under near-infrared light as a head-mounted device sees them, and drops of them."""
